"""Commands that make versions: fine-tune, import."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.options import AsJson, Connection, Key, Model, Reason, Timeout, Wait
from registry.cli.output import interactive, print_json, show_fields, show_list
from registry.cli.session import opened
from registry.cli.versions import finish, present
from registry.domain.errors import BadInputError

if TYPE_CHECKING:
    from registry.application.views import EstimateView

TRAINS_ON = (
    "What was asked for is recorded and a training that has started goes on by itself; "
    "see `tenure show {model}`, stop it with `tenure cancel`."
)


def fine_tune(
    model: Model,
    connection: Connection,
    base_model: Annotated[str, typer.Option("--base-model", metavar="NAME", help="What is fine-tuned.")],
    train: Annotated[Path, typer.Option("--train", metavar="FILE", help="CSV, JSON Lines or Parquet.")],
    validation: Annotated[
        Path | None, typer.Option("--validation", metavar="FILE", help="Its loss is drawn beside the training loss.")
    ] = None,
    prompt_column: Annotated[str, typer.Option("--prompt-column", metavar="NAME", show_default=True)] = "prompt",
    completion_column: Annotated[
        str, typer.Option("--completion-column", metavar="NAME", show_default=True)
    ] = "completion",
    system_column: Annotated[
        str | None, typer.Option("--system-column", metavar="NAME", help="A column with the system text.")
    ] = None,
    system: Annotated[
        str | None, typer.Option("--system", metavar="TEXT", help="One system text for every row.")
    ] = None,
    method: Annotated[
        str, typer.Option("--method", metavar="NAME", help="As the provider names it.", show_default=True)
    ] = "supervised",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A hyperparameter, as in --set num_train_epochs=2; repeat it."),
    ] = None,
    code: Annotated[
        Path | None, typer.Option("--code", metavar="FILE", help="Your own training script, run instead of ours.")
    ] = None,
    activate: Annotated[bool, typer.Option("--activate", help="Make it active when it is trained.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also of a base model that its provider is about to take away.")
    ] = False,
    wait: Wait = False,
    timeout: Timeout = None,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Check the data, say what training will take, and stop.")
    ] = False,
    reason: Reason = None,
    idempotency_key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Fine-tune a base model on your data, as the next version of MODEL.

    The data are checked before anything is sent or spent. Without --wait the command returns when training has
    begun; it goes on by itself.

    Example: tenure fine-tune support-bot --connection local --base-model smollm2-135m-instruct --train train.csv
    --validation validation.csv --set num_train_epochs=2 --wait
    """
    wanted: dict[str, object] = {
        "connection": connection,
        "base_model": base_model,
        "train": train,
        "validation": validation,
        "prompt_column": prompt_column,
        "completion_column": completion_column,
        "system_column": system_column,
        "system": system,
        "method": method,
        "hyperparameters": dict(parse_setting(one) for one in settings or ()),
        "code": code,
        "activate": activate,
        "force": force,
    }
    if estimate:
        with opened() as tenure:
            show_estimate(tenure.estimate(model, **wanted), as_json=as_json)  # pyright: ignore[reportArgumentType]
        return
    with opened(interrupted=TRAINS_ON.format(model=model)) as tenure:
        version = tenure.fine_tune(model, **wanted, reason=reason, idempotency_key=idempotency_key)  # pyright: ignore[reportArgumentType]
        present(finish(tenure, version, wait=wait, timeout_s=timeout), as_json=as_json)


def import_(
    connection: Connection,
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="The model it becomes a version of.")] = None,
    artifact: Annotated[
        str | None, typer.Option("--artifact", metavar="ID", help="The provider's id or ARN of it, or a folder here.")
    ] = None,
    base_model: Annotated[str | None, typer.Option("--base-model", metavar="NAME", help="If you know it.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Only list what could be imported.")] = False,
    reason: Reason = None,
    idempotency_key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Take a model that was trained elsewhere into the registry, as the next version of MODEL.

    Example: tenure import support-bot --connection openai-prod --artifact ft:gpt-4.1-mini:acme::abc123
    """
    if list_:
        from registry.cli.columns import of_mappings

        with opened() as tenure:
            rows = tenure.importable(connection)
        show_list(rows, of_mappings(rows), as_json=as_json, empty=f"Nothing to import at {connection}.")
        return
    if model is None or artifact is None:
        missing = "MODEL" if model is None else "--artifact ID"
        raise BadInputError(
            f"{missing} is missing.", hint="`tenure import --list --connection NAME` lists what is there."
        )
    folder = Path(artifact).expanduser()
    with opened() as tenure:
        version = tenure.import_version(
            model,
            connection=connection,
            artifact=str(folder.absolute()) if folder.is_dir() else artifact,
            base_model=base_model,
            reason=reason,
            idempotency_key=idempotency_key,
        )
        present(finish(tenure, version), as_json=as_json)


def parse_setting(text: str) -> tuple[str, object]:
    """`lr=1e-4` -> ("lr", 0.0001): the value as TOML has it, else as it stands. Raises BadInputError without a key."""
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise BadInputError(f"--set {text!r}: write KEY=VALUE, as in --set learning_rate=1e-4.", field="--set")
    try:
        parsed = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return key, value.strip()
    return key, parsed["value"] if len(parsed) == 1 else value.strip()


def show_estimate(view: EstimateView, *, as_json: bool) -> None:
    if as_json:
        print_json(view.as_json())
        return
    for one in (*view.warnings, *view.notes) if interactive() else view.warnings:
        typer.echo(f"note: {one}", err=True)
    show_fields({key: getattr(view, key) for key in view.as_json() if key not in {"notes", "warnings"}})
