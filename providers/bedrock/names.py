"""Names, tokens and tags as AWS takes them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

NAME_MAX = 63
PREFIX_MAX = 50
REGISTRY_TAG = "tenure_registry"


def aws_name(name: str) -> str:
    """At most 63 letters, digits and hyphens, and no two names the same: a changed one bears a digest."""
    plain = re.sub(r"[^0-9A-Za-z]+", "-", name).strip("-")
    if plain == name and len(name) <= NAME_MAX:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:10]
    return f"{plain[: NAME_MAX - 11].rstrip('-')}-{digest}"


def job_prefix(name: str) -> str:
    """What a job's name begins with."""
    return aws_name(name)[:PREFIX_MAX].rstrip("-")


def token_mark(token: str) -> str:
    """What a job's name ends with."""
    return hashlib.sha256(token.encode()).hexdigest()[:12]


def aws_token(token: str) -> str:
    """A clientRequestToken: 1 to 256 letters, digits and hyphens."""
    return f"tenure-{hashlib.sha256(token.encode()).hexdigest()}"


def tags_of(tags: Mapping[str, str], registry: str) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in {**tags, REGISTRY_TAG: registry}.items()]
