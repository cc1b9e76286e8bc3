"""When deployments were last called, by CloudWatch's counts of Bedrock's invocations.

https://docs.aws.amazon.com/bedrock/latest/userguide/monitoring-runtime-metrics.html: `ModelId` is what callers name, so
the ARN of what serves a custom model; `Invocations` counts what succeeded, so the others are asked for, too.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from providers.bedrock.clients import Clients
from providers.bedrock.errors import translated
from providers.errors import UnauthorizedError, UnavailableError
from providers.uses import HOUR, begin, last_use

NAMESPACE, DIMENSION = "AWS/Bedrock", "ModelId"
METRICS = ("Invocations", "InvocationThrottles", "InvocationClientErrors", "InvocationServerErrors")
TOGETHER_MAX = 500 // len(METRICS)
"""Deployments in one call, which takes 500 queries."""
PAGES_MAX = 100
KEPT = timedelta(days=455)
READ_TIMEOUT_S = 30.0


class BedrockMetrics:
    def __init__(self, clients: Clients, *, now: Callable[[], datetime]) -> None:
        self._clients = clients
        self._now = now

    def last_used(self, since: Mapping[str, datetime]) -> Mapping[str, datetime]:
        """`providers.ports.Deployments.last_used`, with one call for every `TOGETHER_MAX`, and one for each page."""
        now = self._now()
        asked_from = begin(since.values(), now=now, kept=KEPT)
        found: dict[str, datetime] = {}
        arns = list(since)
        for start in range(0, len(arns), TOGETHER_MAX):
            part = arns[start : start + TOGETHER_MAX]
            for arn, hours in zip(part, self._hours(part, asked_from, now), strict=True):
                found[arn] = last_use(since[arn], asked_from=asked_from, hours=hours)
        return found

    def _hours(self, arns: Sequence[str], from_: datetime, to: datetime) -> list[list[datetime]]:
        """Of each, the hours in which it was called. Raises UnavailableError where CloudWatch does not tell of all."""
        hours: list[list[datetime]] = [[] for _ in arns]
        whole: set[str] = set()
        arguments: dict[str, Any] = {
            "MetricDataQueries": [
                _query(f"d{at}m{n}", arn, name) for at, arn in enumerate(arns) for n, name in enumerate(METRICS)
            ],
            "StartTime": from_,
            "EndTime": to,
            "ScanBy": "TimestampDescending",
        }
        for _ in range(PAGES_MAX):
            with translated("read-metrics", now=self._now):
                client = self._clients.get("cloudwatch", read_timeout_s=READ_TIMEOUT_S)
                page: dict[str, Any] = client.get_metric_data(**arguments)
            try:
                for query, code, called in _results(page):
                    if code == "Forbidden":
                        raise UnauthorizedError("CloudWatch may not be read", operation="read-metrics", code=code)
                    if code == "Complete":  # `PartialData` goes on with the next page
                        whole.add(query)
                    hours[int(query.removeprefix("d").partition("m")[0])] += called
            except (KeyError, ValueError, IndexError) as exc:  # such as a proxy's page, which botocore reads as nothing
                raise UnavailableError("CloudWatch's answer cannot be read", operation="read-metrics") from exc
            if not page.get("NextToken"):
                break
            arguments["NextToken"] = page["NextToken"]
        else:
            whole.clear()
        if len(whole) < len(arguments["MetricDataQueries"]):
            raise UnavailableError("CloudWatch does not tell of all that was asked", operation="read-metrics")
        return hours


def _results(page: Mapping[str, Any]) -> Iterator[tuple[str, str, list[datetime]]]:
    """Of each query: its id, how far it is answered, and the hours with a call."""
    for one in page["MetricDataResults"]:
        counted = zip(one.get("Timestamps", ()), one.get("Values", ()), strict=True)
        yield one["Id"], one.get("StatusCode", "Complete"), [at.astimezone(UTC) for at, count in counted if count]


def _query(id: str, arn: str, metric: str) -> dict[str, Any]:
    what = {"Namespace": NAMESPACE, "MetricName": metric, "Dimensions": [{"Name": DIMENSION, "Value": arn}]}
    return {"Id": id, "MetricStat": {"Metric": what, "Period": int(HOUR.total_seconds()), "Stat": "Sum"}}
