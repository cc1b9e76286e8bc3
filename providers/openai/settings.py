"""An OpenAI connection's settings, checked once, when the connection is opened."""

from __future__ import annotations

from dataclasses import dataclass

from providers.cloud_settings import SettingsReader
from providers.ports import Connection

KEYS = frozenset({"provider", "api_key_env", "base_url", "fine_tuning", "rehearsal"})
API_KEY_ENV = "OPENAI_API_KEY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`base_url` None: the SDK's own."""

    api_key_env: str
    base_url: str | None
    fine_tuning: bool
    rehearsal: bool


def settings_of(connection: Connection) -> Settings:
    """Raises RejectedError that names every fault."""
    given = SettingsReader(connection, KEYS)
    base_url = given.url("base_url")
    settings = Settings(
        api_key_env=given.variable("api_key_env") or API_KEY_ENV,
        base_url=base_url,
        fine_tuning=given.flag("fine_tuning", default=True),
        rehearsal=given.rehearsal({"base_url": base_url}),
    )
    given.finish()
    return settings
