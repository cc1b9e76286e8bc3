"""An Azure OpenAI connection's settings, checked once, when the connection is opened."""

from __future__ import annotations

from dataclasses import dataclass

from providers.cloud_settings import SettingsReader
from providers.ports import Connection

KEYS = frozenset(
    {
        "provider", "subscription_id", "resource_group", "workspace", "workspace_connection", "account", "endpoint",
        "api_key_env", "resource_manager", "token_env", "sku", "capacity", "training_type", "ca_bundle", "fine_tuning",
        "api_version", "rehearsal",
    }
)  # fmt: skip
SKUS = frozenset(
    {
        "Standard",
        "GlobalStandard",
        "DataZoneStandard",
        "DeveloperTier",
        "ProvisionedManaged",
        "GlobalProvisionedManaged",
    }
)
HOURLY_SKUS = SKUS - {"DeveloperTier"}
RESOURCE_MANAGER = "https://management.azure.com"
API_VERSION = "2024-10-21"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`account` or `workspace` with `workspace_connection` says which resource; `endpoint` None: ask that."""

    subscription_id: str
    resource_group: str
    workspace: str | None
    workspace_connection: str | None
    account: str | None
    endpoint: str | None
    api_key_env: str | None
    resource_manager: str
    token_env: str | None
    sku: str
    capacity: int
    training_type: str
    api_version: str
    ca_bundle: str | None
    fine_tuning: bool
    rehearsal: bool


def settings_of(connection: Connection) -> Settings:
    """Raises RejectedError that names every fault."""
    given = SettingsReader(connection, KEYS)
    urls = {key: given.url(key) for key in ("endpoint", "resource_manager")}
    settings = Settings(
        subscription_id=given.needed("subscription_id"),
        resource_group=given.needed("resource_group"),
        workspace=given.text("workspace"),
        workspace_connection=given.text("workspace_connection"),
        account=given.text("account"),
        endpoint=urls["endpoint"],
        api_key_env=given.variable("api_key_env"),
        resource_manager=urls["resource_manager"] or RESOURCE_MANAGER,
        token_env=given.variable("token_env"),
        sku=given.choice("sku", SKUS, "Standard"),
        capacity=given.count("capacity", 1),
        training_type=given.text("training_type") or "GlobalStandard",
        api_version=given.text("api_version") or API_VERSION,
        ca_bundle=given.text("ca_bundle"),
        fine_tuning=given.flag("fine_tuning", default=True),
        rehearsal=given.rehearsal(urls),
    )
    if settings.account is None and (settings.workspace is None or settings.workspace_connection is None):
        given.fault("account is missing, or workspace with workspace_connection")
    given.finish()
    return settings
