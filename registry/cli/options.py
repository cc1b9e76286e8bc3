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

BaseModel = Annotated[str, typer.Option("--base-model", metavar="NAME", help="What is fine-tuned.")]
Train = Annotated[Path, typer.Option("--train", metavar="FILE", help="CSV, JSON Lines or Parquet.")]
Validation = Annotated[
    Path | None, typer.Option("--validation", metavar="FILE", help="Its loss is drawn beside the training loss.")
]
PromptColumn = Annotated[str, typer.Option("--prompt-column", metavar="NAME", show_default=True)]
CompletionColumn = Annotated[str, typer.Option("--completion-column", metavar="NAME", show_default=True)]
SystemColumn = Annotated[
    str | None, typer.Option("--system-column", metavar="NAME", help="A column with the system text.")
]
System = Annotated[str | None, typer.Option("--system", metavar="TEXT", help="One system text for every row.")]
Method = Annotated[str, typer.Option("--method", metavar="NAME", help="As the provider names it.", show_default=True)]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A hyperparameter, as in --set num_train_epochs=2; repeat it."),
]
Code = Annotated[
    Path | None, typer.Option("--code", metavar="FILE", help="Your own training script, run instead of ours.")
]
Activate = Annotated[bool, typer.Option("--activate", help="Make it active when it is trained.")]
Force = Annotated[bool, typer.Option("--force", help="Also of a base model that its provider is about to take away.")]
Estimate = Annotated[bool, typer.Option("--estimate", help="Check the data, say what training will take, and stop.")]
