"""Options that many commands share, so that they read the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name, as in support-bot.")]
Version = Annotated[str, typer.Argument(metavar="MODEL@N", help="The version, as in support-bot@3.")]
Ref = Annotated[str, typer.Argument(metavar="MODEL[@N]", help="A model, or one of its versions.")]
Deployment = Annotated[
    str, typer.Argument(metavar="ID", help="The deployment: dep_…, or the provider's own name or id.")
]
Connection = Annotated[str, typer.Option("--connection", metavar="NAME", help="The account to use.")]

AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON, in the shapes of the REST interface.")]
AsOf = Annotated[
    str | None,
    typer.Option("--as-of", metavar="T", help="As it stood then: an ISO 8601 time, or a position in the log."),
]
Reason = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why; kept with the event for good.")]
Key = Annotated[
    str | None,
    typer.Option("--idempotency-key", metavar="KEY", help="Said again with the same key, it is done once."),
]
Wait = Annotated[bool, typer.Option("--wait", help="Drive it to its end, showing progress on stderr.")]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", min=0, help="With --wait: give up waiting after so long; it goes on."),
]
Plan = Annotated[bool, typer.Option("--plan", help="Only say what would be done.")]
File = Annotated[Path, typer.Argument(metavar="FILE")]
