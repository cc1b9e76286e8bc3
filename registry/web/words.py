"""What happened, what a policy says and why a move is not open, as sentences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from registry.application.views import EventView, VersionView
from registry.domain.events import Json
from registry.domain.versions import COMMANDS
from statemachine import VERSION

TONES: Mapping[str, str] = {
    **dict.fromkeys(("active", "serving"), "good"),
    **dict.fromkeys(("failed", "lost"), "bad"),
    **dict.fromkeys(("queued", "training", "deploying", "requested", "provisioning", "deleting"), "moving"),
    "trained": "ready",
    **dict.fromkeys(("retired", "cancelled", "deleted"), "over"),
}
"""State -> how it is coloured; the word always stands beside the colour."""

_Data = Mapping[str, Any]


def tone(state: str) -> str:
    return TONES.get(state, "over")


# Events


def _short(text: object, length: int = 48) -> str:
    words = str(text)
    return words if len(words) <= length else f"{words[: length - 1]}…"


def _data(value: object) -> str:
    data = cast("Json", value)
    return f"{data.get('name') or 'data'}, {int(str(data.get('rows', 0))):,} rows"


def _price(value: object) -> str:
    price = cast("Json", value)
    hourly = price.get("hourly")
    return "at an unknown price" if hourly is None else f"at up to {hourly} {price.get('currency', '')} an hour"


def _trained(data: _Data) -> str:
    figures = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in data.get("metrics", {}).items())
    return f"Trained{': ' + figures if figures else ''}"


def _pointer(data: _Data) -> str:
    version, previous = data.get("version"), data.get("previous")
    if version is None:
        return f"No version is active any more (it was version {previous})"
    return f"Version {version} is the active one" + (f", version {previous} no longer" if previous else "")


def _fine_tune(data: _Data) -> str:
    validation = f"; validated on {_data(data['validation'])}" if data.get("validation") else ""
    return f"Fine-tune of {data['base_model']} at {data['connection']} asked for, on {_data(data['train'])}{validation}"


def _sign_in(settings: _Data) -> str:
    return f"People sign in at {settings['issuer']}" if settings else "People sign in with tokens alone"


def _settings(data: _Data) -> str:
    policy = cast("Json", data.get("policy") or {})
    written = ", ".join(f"{key} = {value}" for key, value in policy.items())
    return f"Policy changed: {written or 'the defaults'}"


SENTENCES: Mapping[str, Callable[[_Data], str]] = {
    "registry-created": lambda data: f"Registry {data['registry']} created",
    "scheduler-configured": lambda _: "Scheduler configured",
    "sign-in-configured": lambda data: _sign_in(data["settings"]),
    "prices-changed": lambda data: f"Price book changed: {len(data.get('prices', ()))} prices",
    "connection-declared": lambda data: f"Connection {data['connection']} to {data['provider']} declared",
    "connection-changed": lambda data: f"Connection {data['connection']} changed",
    "connection-removed": lambda data: f"Connection {data['connection']} removed",
    "connection-failed": lambda data: f"Connection {data['connection']} does not answer: {data['error']}",
    "connection-recovered": lambda data: f"Connection {data['connection']} answers again",
    "model-declared": lambda data: f"Model {data['model']} declared",
    "policy-changed": _settings,
    "version-numbered": lambda data: f"Version number {data['version']} given out",
    "active-version-changed": _pointer,
    "fine-tune-requested": _fine_tune,
    "version-imported": lambda data: f"{_short(data['artifact']['id'])} imported from {data['connection']}",
    "own-training-started": lambda _: "Trained by your own code, in a folder of the registry",
    "training-submitted": lambda data: f"About to create job {data['name']} (attempt {data['attempt']})",
    "training-outcome-unknown": lambda data: f"Nobody knows whether the job was made: {data['error']}",
    "training-resubmitted": lambda data: f"No job was to be seen: asked for again (attempt {data['attempt']})",
    "training-started": lambda data: f"The provider took the job: {_short(data['job']['id'])}",
    "duplicate-job-found": lambda data: f"A duplicate job was found and is cancelled: {_short(data['job']['id'])}",
    "job-status-changed": lambda data: f"Job status: {data['status']}",
    "version-trained": _trained,
    "version-failed": lambda data: f"Failed: {data['error']}",
    "version-cancelled": lambda _: "Cancelled",
    "job-stopped": lambda data: f"Its job was seen to stop: {data['status']}",
    "version-retried": lambda data: f"Queued again, attempt {data['attempt']}",
    "activation-requested": lambda _: "Activation asked for",
    "version-activated": lambda data: (
        "Active" + (f", in place of version {data['replaced']}" if data["replaced"] else "")
    ),
    "activation-abandoned": lambda data: f"Activation abandoned: {data['error']}",
    "version-retired": lambda data: (
        "Retired"
        + (f": version {data['replaced_by']} serves now" if data["replaced_by"] else " by hand, without a successor")
    ),
    "serving-lost": lambda _: "The provider dropped its deployment; it is deployed again",
    "deletion-requested": lambda _: "Deletion asked for",
    "version-deleted": lambda _: "Deleted: the artifact is gone for good",
    "version-approved": lambda _: "Approved",
    "retirement-announced": lambda data: (
        f"{data['base_model']} is taken away by its provider on {data['retires_on']}"
        if data["retires_on"]
        else f"{data['base_model']} stays: its retirement was called off"
    ),
    "default-policy-changed": _settings,
    "budget-exceeded": lambda data: (
        f"Over budget: {data['spent']} {data['currency']} in {data['month']}, of {data['limit']}"
    ),
    "foreign-found": lambda data: f"{data['name']} stands at {data['connection']} and is not provably ours: left alone",
    "foreign-gone": lambda data: f"Foreign {_short(data['provider_id'])} is no longer at {data['connection']}",
    "orphan-job-found": lambda data: (
        f"Training job {data['job']['name']} runs at {data['connection']}, and "
        + (f"{data['suspected']} has another one" if data["duplicate"] else "no version here knows it")
    ),
    "orphan-job-ended": lambda data: f"Training job {_short(data['job_id'])} runs no more: {data['status']}",
    "orphan-found": lambda data: f"Orphan {data['name']} found at {data['connection']}: billed, and no intent names it",
    "orphan-adopted": lambda data: f"Adopted: it belongs to {data['model']}@{data['version']} now",
    "deployment-reappeared": lambda _: (
        "It was believed gone and is there again: deleted once more, and billed throughout"
    ),
    "deployment-repointed": lambda data: (
        f"Somebody past the registry made it serve another model: {data['other_artifact']}"
        if data["other_artifact"]
        else "It serves its version's model again"
    ),
    "deployment-not-shown": lambda _: (
        "The provider no longer shows the deployment; it is looked at again before it is lost"
    ),
    "deployment-shown-again": lambda _: "The provider shows the deployment again",
    "deployment-repriced": lambda data: f"From now on it runs {_price(data['price'])}",
    "deployment-requested": lambda data: f"About to deploy {data['name']} {_price(data['price'])}",
    "deployment-attached": lambda data: f"Existing deployment {data['name']} attached, {_price(data['price'])}",
    "deployment-outcome-unknown": lambda data: (
        f"Nobody knows whether it was made, so it counts as billed: {data['error']}"
    ),
    "deployment-accepted": lambda _: "The provider has the deployment: it is billed from here",
    "deployment-serving": lambda _: "The deployment serves: it answered a probe",
    "deployment-failed": lambda data: f"The deployment failed: {data['error']}",
    "deployment-lost": lambda _: "The deployment is gone, and nobody here deleted it",
    "deployment-deletion-requested": lambda _: "Deletion of the deployment asked for",
    "deployment-deletion-accepted": lambda _: "The provider took the delete; not yet seen gone",
    "deployment-deleted": lambda data: f"The deployment is gone, absent in {data['reads']} reads: no longer billed",
}
"""Event type -> a sentence from its data. A type that is not here is shown by its name."""

_GOOD = {"version-activated", "deployment-serving", "version-trained", "connection-recovered", "version-approved"}
_SPEND = {"deployment-repriced", "deployment-accepted", "deployment-deleted", "deployment-attached"}
_BAD_WORDS = ("failed", "lost", "abandoned", "unknown", "duplicate", "orphan", "exceeded", "reappeared", "repointed")
_ASKED = {"fine-tune-requested", "activation-requested", "deletion-requested", "deployment-deletion-requested"}


def sentence(event: EventView) -> str:
    make = SENTENCES.get(event.type)
    if make is not None:
        try:
            return make(event.data)
        except (KeyError, TypeError, ValueError, AttributeError):
            pass  # An older or newer form of the event than this release writes: its name still says what happened.
    return event.type.replace("-", " ").capitalize()


def event_tone(type_: str) -> str:
    if any(word in type_ for word in _BAD_WORDS):
        return "bad"
    if type_ in _SPEND:
        return "spend"
    if type_ in _GOOD:
        return "good"
    return "asked" if type_ in _ASKED else "plain"


def actor_name(actor: str) -> str:
    """`user:ana` -> `ana`; what is not a person keeps its kind."""
    kind, _, name = actor.partition(":")
    return name if kind == "user" and name else actor.replace(":", " ")


# Moves

MOVE_WORDS: Mapping[str, tuple[str, str]] = {
    "activate": ("Activate", "It is deployed, and takes over once it has answered a probe; the active one retires."),
    "retire": ("Retire", "Nothing answers for the model any more until another version is activated."),
    "cancel": ("Cancel", "The job at the provider is stopped. What it has cost so far stays spent."),
    "pause": ("Pause", "The job at the provider rests, and can be resumed. What it has cost so far stays spent."),
    "resume": ("Resume", "The job at the provider goes on where it rested."),
    "retry": ("Retry", "The same data and settings, as another attempt under another name."),
    "delete": ("Delete", "Its deployments go first, then the artifact, for good. Its history stays."),
}  # fmt: skip
"""Command -> (the button, what follows)."""
ACTIVATED_AS_IT_IS = "Its provider serves it as it is: it takes over at once, and the active one retires."


def why_not(version: VersionView, command: str) -> str:
    """Why a move is not open from here, and what would open it."""
    if version.state == "deleted":
        return "it is deleted, for good"
    if not version.legal and command in COMMANDS:
        return "it is being deleted"
    triggers = {move.trigger: move for move in VERSION.moves}
    if command not in triggers:
        return "not in this state"
    if command == "activate" and version.state in {"active", "deploying"}:
        return f"it is {version.state} already"
    sources = " or ".join(triggers[command].sources)
    return f"only a version that is {sources} can {command}; this one is {version.state}"


# Policy


def policy_sentences(policy: Json) -> list[str]:
    """A policy as one would tell it to a colleague."""
    keep = policy["superseded"] == "keep"
    grace = policy["superseded_grace"]
    told = [
        {
            "on-trained": "Every version is deployed as soon as it is trained.",
            "on-activate": "A version is deployed when it is activated.",
            "manual": "Nothing is deployed unless somebody asks for it.",
        }[str(policy["deploy"])],
        {
            "manual": "People decide what is active.",
            "on-trained": "A version becomes active as soon as it is trained.",
            "if-better": "A version becomes active when its validation loss is better than the active one's.",
        }[str(policy["activate"])],
        "The deployment of a version that is no longer active stays until somebody deletes it."
        if keep
        else f"The deployment of a version that is no longer active is deleted {_after(grace)}.",
    ]
    if policy["idle_delete"]:
        told.append(f"A standby that nobody called for {policy['idle_delete']} is deleted.")
    if policy["keep_artifacts"] is not None:
        kept = int(str(policy["keep_artifacts"]))
        newest = "the newest retired version" if kept == 1 else f"the {kept} newest retired versions"
        told.append(
            f"The artifacts of {newest} are kept, older ones deleted."
            if kept
            else "The artifacts of retired versions are deleted."
        )
    told.append(
        {
            "report": "Deployments that the registry does not know are reported.",
            "adopt": "Deployments of ours that the registry does not know are adopted.",
            "delete": "Deployments of ours that the registry does not know are deleted.",
        }[str(policy["orphans"])]
    )
    approvals = int(str(policy["approvals"]))
    if approvals:
        people = "one other person" if approvals == 1 else f"{approvals} other people"
        told.append(f"Activation needs the approval of {people}.")
    for key, span in (("max_hourly_cost", "an hour"), ("max_monthly_cost", "a month")):
        if policy[key] is not None:
            told.append(f"It may cost at most {policy[key]} {span}; a deployment above that is refused.")
    return told


def _after(grace: object) -> str:
    return "at once" if str(grace) in {"0s", "0ms", "0m"} else f"after {grace}"
