"""The stand-in interpreter of the local provider's tests, told what to do by a file beside its `python`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "providers" / "huggingface"))

import stand_in  # pyright: ignore[reportMissingImports]


def main(behaviour: str, arguments: list[str]) -> None:
    """`arguments` are those that a Python interpreter is given: `-m training SPEC OUT`, `-m … serve …` or `-c CODE`."""
    if arguments[1] == "training":
        given = json.loads(Path(arguments[2]).read_text())
        train = Path(arguments[3]) / "behaviour.jsonl"
        train.write_text(json.dumps({"behaviour": behaviour}) + "\n")
        spec = train.with_suffix(".spec")
        spec.write_text(json.dumps({**given, "train": str(train)}))
        arguments = [*arguments[:2], str(spec), arguments[3]]
    stand_in.main(arguments)  # pyright: ignore[reportUnknownMemberType]


if __name__ == "__main__":
    told = Path(sys.argv[1])
    main(told.read_text().strip() if told.is_file() else "succeed", sys.argv[2:])
