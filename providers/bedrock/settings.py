"""A Bedrock connection's settings, checked once, when the connection is opened."""

from __future__ import annotations

from dataclasses import dataclass

from providers.cloud_settings import SettingsReader
from providers.ports import Connection

KEYS = frozenset(
    {
        "provider", "region", "profile", "role_arn", "s3_uri", "serving", "model_units", "commitment", "endpoint_url",
        "runtime_endpoint_url", "s3_endpoint_url", "cloudwatch_endpoint_url", "fine_tuning", "rehearsal",
    }
)  # fmt: skip
SERVINGS = frozenset({"provisioned-throughput", "on-demand"})
COMMITMENTS = frozenset({"none", "OneMonth", "SixMonths"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`bucket` and `prefix` (without slashes at its ends) come from `s3_uri`; `commitment` None: by the hour."""

    region: str
    profile: str | None
    role_arn: str
    bucket: str
    prefix: str
    provisioned: bool
    model_units: int
    commitment: str | None
    endpoint_url: str | None
    runtime_endpoint_url: str | None
    s3_endpoint_url: str | None
    cloudwatch_endpoint_url: str | None
    fine_tuning: bool
    rehearsal: bool

    @property
    def metrics(self) -> bool:
        """Whether CloudWatch is asked: not the real one about what an endpoint of one's own serves."""
        return self.endpoint_url is None or self.cloudwatch_endpoint_url is not None


def settings_of(connection: Connection) -> Settings:
    """Raises RejectedError that names every fault."""
    given = SettingsReader(connection, KEYS)
    fine_tuning = given.flag("fine_tuning", default=True)
    uri = given.needed("s3_uri") if fine_tuning else given.text("s3_uri") or ""
    if uri and not uri.startswith("s3://"):
        given.fault(f"s3_uri is {uri!r}, not s3://bucket/prefix")
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    commitment = given.choice("commitment", COMMITMENTS, "none")
    urls = {key: given.url(key) for key in ("endpoint_url", "runtime_endpoint_url", "s3_endpoint_url")}
    metrics_url = given.url("cloudwatch_endpoint_url")
    settings = Settings(
        region=given.needed("region"),
        profile=given.text("profile"),
        role_arn=given.needed("role_arn") if fine_tuning else given.text("role_arn") or "",
        bucket=bucket,
        prefix=prefix.strip("/"),
        provisioned=given.choice("serving", SERVINGS, "provisioned-throughput") == "provisioned-throughput",
        model_units=given.count("model_units", 1),
        commitment=None if commitment == "none" else commitment,
        **urls,
        cloudwatch_endpoint_url=metrics_url,
        fine_tuning=fine_tuning,
        rehearsal=given.rehearsal(urls if metrics_url is None else {**urls, "cloudwatch_endpoint_url": metrics_url}),
    )
    given.finish()
    return settings
