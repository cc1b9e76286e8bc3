"""The two lifecycles, as data. `docs/lifecycle.md` is generated from here; a test fails when it is stale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Move(NamedTuple):
    trigger: str
    sources: tuple[str, ...]
    target: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """`entries` are the states in which one may begin, with how it gets there."""

    name: str
    states: dict[str, str]
    entries: dict[str, str]
    moves: tuple[Move, ...]

    @property
    def triggers(self) -> tuple[str, ...]:
        return tuple(move.trigger for move in self.moves)


VERSION = Lifecycle(
    name="version",
    states={
        "queued": "asked for; no job at the provider yet",
        "training": "the provider's job is under way",
        "trained": "there is an artifact; nothing is active",
        "deploying": "activation asked for; its deployment does not serve yet",
        "active": "serves the model's requests",
        "retired": "was active; may be activated again",
        "failed": "training ended without an artifact",
        "cancelled": "stopped by hand before it was trained",
        "deleted": "the artifact is gone for good",
    },
    entries={"queued": "fine-tune", "training": "train it yourself", "trained": "import"},
    moves=(
        Move("start", ("queued",), "training", "the provider took the job"),
        Move("finish", ("training",), "trained", "the job succeeded and left an artifact"),
        Move("fail", ("queued", "training"), "failed", "the provider refused the job, or it failed"),
        Move("cancel", ("queued", "training"), "cancelled", "stopped by hand"),
        Move("retry", ("failed", "cancelled"), "queued", "another attempt, under another name"),
        Move("activate", ("trained", "retired"), "deploying", "to become the active version"),
        Move("serve", ("deploying",), "active", "its deployment answered a probe; the pointer moves"),
        Move("abandon", ("deploying",), "trained", "its deployment failed; the active version stays"),
        Move("retire", ("active",), "retired", "a successor serves, or it was retired by hand"),
        Move("lose", ("active",), "deploying", "the provider dropped its deployment; it is deployed again"),
        Move("delete", ("trained", "retired", "failed", "cancelled"), "deleted", "the artifact is gone for good"),
    ),
)

DEPLOYMENT = Lifecycle(
    name="deployment",
    states={
        "requested": "the intent is recorded; the provider may not know it yet",
        "provisioning": "the provider has it, and may bill it",
        "serving": "it answered a probe",
        "deleting": "asked to go; not yet seen gone",
        "deleted": "absent in repeated reads; no longer billed",
        "failed": "it will not serve; still deleted and verified, because it can be billed",
        "lost": "gone outside our hands",
    },
    entries={"requested": "deploy", "serving": "attach, or found"},
    moves=(
        Move("accept", ("requested",), "provisioning", "the provider has it"),
        Move("serve", ("provisioning",), "serving", "it answered a probe"),
        Move("fail", ("requested", "provisioning"), "failed", "refused, or it failed to come up"),
        Move("lose", ("serving",), "lost", "a read no longer shows it, and nobody here deleted it"),
        Move(
            "delete",
            ("requested", "provisioning", "serving", "failed", "lost"),
            "deleting",
            "by hand or by policy",
        ),
        Move("confirm", ("deleting",), "deleted", "absent in repeated reads"),
        Move("reappear", ("deleted", "lost"), "deleting", "a read shows it again: it is deleted again"),
    ),
)
