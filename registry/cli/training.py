"""Commands that make versions: fine-tune, import."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.options import (
    Activate,
    AsJson,
    BaseModel,
    Code,
    CompletionColumn,
    Connection,
    Estimate,
    Force,
    Key,
    Method,
    Model,
    PromptColumn,
    Reason,
    Settings,
    System,
    SystemColumn,
    Timeout,
    Train,
    Validation,
    Wait,
)
from registry.cli.output import interactive, print_json, show_fields, show_list
from registry.cli.session import opened
from registry.cli.versions import finish, present
from registry.domain.errors import BadInputError

if TYPE_CHECKING:
    from registry.embedded import Wanted

TRAINS_ON = (
    "What was asked for is recorded and a training that has started goes on by itself; "
    "see `tenure show {model}`, stop it with `tenure cancel`."
)


def fine_tune(
    model: Model,
    connection: Connection,
    base_model: BaseModel,
    train: Train,
    validation: Validation = None,
    prompt_column: PromptColumn = "prompt",
    completion_column: CompletionColumn = "completion",
    system_column: SystemColumn = None,
    system: System = None,
    method: Method = "supervised",
    settings: Settings = None,
    code: Code = None,
    activate: Activate = False,
    force: Force = False,
    wait: Wait = False,
    timeout: Timeout = None,
    estimate: Estimate = False,
    reason: Reason = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Fine-tune a base model on your data, as the next version of MODEL.

    The data are checked before anything is sent or spent. Without --wait the command returns when training has
    begun; it goes on by itself.

    Example: tenure fine-tune support-bot --connection local --base-model smollm2-135m-instruct --train train.csv
    --validation validation.csv --set num_train_epochs=2 --wait
    """
    wanted: Wanted = {
        "connection": connection,
        "base_model": base_model,
        "train": train,
        "validation": validation,
        "prompt_column": prompt_column,
        "completion_column": completion_column,
        "system_column": system_column,
        "system": system,
        "method": method,
        "hyperparameters": dict(map(parse_setting, settings or ())),
        "code": code,
        "activate": activate,
        "force": force,
    }
    if estimate:
        show_estimate(model, wanted, as_json=as_json)
        return
    with opened(interrupted=TRAINS_ON.format(model=model)) as tenure:
        version = tenure.fine_tune(model, **wanted, reason=reason, idempotency_key=key)
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
        from registry.cli.columns import IMPORTABLE, of_mappings

        with opened() as tenure:
            rows = tenure.importable(connection)
        show_list(rows, of_mappings(rows, IMPORTABLE), as_json=as_json, empty=f"Nothing to import at {connection}.")
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


def show_estimate(model: str, wanted: Wanted, *, as_json: bool) -> None:
    with opened() as tenure:
        view = tenure.estimate(model, **wanted)
    if as_json:
        print_json(view.as_json())
        return
    for one in (*view.warnings, *view.notes) if interactive() else view.warnings:
        typer.echo(f"note: {one}", err=True)
    show_fields({key: getattr(view, key) for key in view.as_json() if key not in {"notes", "warnings"}})
