"""When deployments were last called, by Azure Monitor's count of requests to the resource.

https://learn.microsoft.com/azure/ai-foundry/openai/monitor-openai-reference (AzureOpenAIRequests, by deployment)
https://learn.microsoft.com/rest/api/monitor/metrics/list
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any

from providers.azure.errors import translated
from providers.azure.resource import Resource
from providers.errors import UnavailableError
from providers.uses import begin, last_use

API_VERSION = "2024-02-01"
METRIC = "AzureOpenAIRequests"
DIMENSION = "ModelDeploymentName"
SERIES_MAX = 1000
"""Azure answers ten where it is not told how many."""
KEPT, TOGETHER_MAX = timedelta(days=92), timedelta(days=30)
"""Azure keeps 93 days, and shows at most 30 at a time."""
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 10.0, 30.0
_STAMP = "%Y-%m-%dT%H:%M:%SZ"


class AzureMetrics:
    def __init__(self, resource: Resource, *, now: Callable[[], datetime]) -> None:
        self._resource = resource
        self._now = now

    def last_used(self, since: Mapping[str, datetime]) -> Mapping[str, datetime]:
        """`providers.ports.Deployments.last_used`, with one call for every `TOGETHER_MAX`."""
        now = self._now()
        asked_from = begin(since.values(), now=now, kept=KEPT)
        try:
            hours = self._hours(asked_from, now)
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise UnavailableError(
                f"Azure Monitor's answer is not understood: {exc!r}", operation="read-metrics"
            ) from exc
        return {
            one: last_use(moment, asked_from=asked_from, hours=hours.get(one.rsplit("/", 1)[-1].lower(), ()))
            for one, moment in since.items()
        }

    def _hours(self, from_: datetime, to: datetime) -> dict[str, list[datetime]]:
        """By deployment in lower case (Azure does not tell names apart by case), the hours with requests."""
        found: dict[str, list[datetime]] = {}
        for number in range(ceil((to - from_) / TOGETHER_MAX) or 1):
            start = from_ + number * TOGETHER_MAX
            for series in self._series(start, min(start + TOGETHER_MAX, to)):
                labels = {str(one["name"]["value"]).lower(): str(one["value"]) for one in series["metadatavalues"]}
                hours = found.setdefault(labels.get(DIMENSION.lower(), "").lower(), [])
                hours += [_moment(str(point["timeStamp"])) for point in series["data"] if point.get("total")]
        return found

    def _series(self, from_: datetime, to: datetime) -> list[dict[str, Any]]:
        """Raises UnavailableError where Azure does not tell of all: what is missing would look unused."""
        with translated("read-metrics", now=self._now):
            answer = self._answer(from_, to)
        metrics: list[dict[str, Any]] = [one for one in answer.get("value", ()) if one["name"]["value"] == METRIC]
        if not metrics or metrics[0].get("errorCode", "Success") != "Success":
            raise UnavailableError(f"Azure Monitor does not tell of {METRIC} here", operation="read-metrics")
        series: list[dict[str, Any]] = metrics[0]["timeseries"]
        if len(series) >= SERIES_MAX:
            raise UnavailableError("Azure Monitor tells of some deployments only", operation="read-metrics")
        return series

    def _answer(self, from_: datetime, to: datetime) -> dict[str, Any]:
        from azure.core.rest import HttpRequest

        request = HttpRequest(
            "GET",
            f"{self._resource.account_id()}/providers/Microsoft.Insights/metrics",
            params={
                "api-version": API_VERSION,
                "metricnames": METRIC,
                "timespan": f"{from_.astimezone(UTC).strftime(_STAMP)}/{to.astimezone(UTC).strftime(_STAMP)}",
                "interval": "PT1H",
                "aggregation": "Total",
                "top": str(SERIES_MAX),
                "$filter": f"{DIMENSION} eq '*'",
            },
        )
        client: Any = self._resource.client()
        # The pipeline that is there, with its credential: generated management clients have no public name for it.
        response = client._send_request(  # noqa: SLF001
            request, connection_timeout=CONNECT_TIMEOUT_S, read_timeout=READ_TIMEOUT_S
        )
        response.raise_for_status()
        return response.json()


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
