"""Azure Monitor's and CloudWatch's counts of calls, from the emulators' own truth, as late as the real ones are."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from providers.rehearsal import bedrock_parts as aws
from providers.rehearsal.http import Reply, json_reply
from providers.rehearsal.service import Exchange, RefusalError
from providers.rehearsal.truth import Json, Thing, table, tables
from providers.rehearsal.world import World

AZURE_METRIC, AZURE_DIMENSION = "AzureOpenAIRequests", "modeldeploymentname"
TOP_DEFAULT = 10
AWS_TARGET = "GraniteServiceVersion20100801.GetMetricData"
BEDROCK_SERVING = ("bedrock.provisioned", "bedrock.deployment")
_HOUR = timedelta(hours=1)


def _counted(world: World, call: Exchange, thing: Thing, from_: datetime, to: datetime) -> dict[datetime, int]:
    shown = min(to, call.view - timedelta(seconds=world.pace.metrics_lag_s))
    return thing.used_by_hour(from_, shown)


class AzureMonitor:
    def __init__(self, world: World) -> None:
        self._world = world

    def metrics(self, call: Exchange) -> Reply:
        """Of all deployments by name; those without a call in the time have no series."""
        query = call.request
        if query.first("metricnames") != AZURE_METRIC or query.first("interval") != "PT1H":
            raise RefusalError(400, "BadRequest", f"Only {AZURE_METRIC} by PT1H is rehearsed.")
        if query.first("$filter").lower() != f"{AZURE_DIMENSION} eq '*'":
            raise RefusalError(400, "BadRequest", "Only a filter by ModelDeploymentName eq '*' is rehearsed.")
        start, _, end = query.first("timespan").partition("/")
        from_, to = datetime.fromisoformat(start), datetime.fromisoformat(end)
        series = list(self._series(call, from_, to))[: int(query.first("top") or TOP_DEFAULT)]
        metric: Json = {
            "id": f"{query.path}/{AZURE_METRIC}",
            "type": "Microsoft.Insights/metrics",
            "name": {"value": AZURE_METRIC, "localizedValue": "Azure OpenAI Requests"},
            "unit": "Count",
            "timeseries": series,
            "errorCode": "Success",
        }
        return json_reply({"cost": 0, "timespan": query.first("timespan"), "interval": "PT1H", "value": [metric]})

    def _series(self, call: Exchange, from_: datetime, to: datetime) -> Iterator[Json]:
        by_name: dict[str, dict[datetime, int]] = {}
        for thing in self._world.truth.ever("azure.deployment"):
            for hour, count in _counted(self._world, call, thing, from_, to).items():
                hours = by_name.setdefault(thing.name, {})
                hours[hour] = hours.get(hour, 0) + count
        label = {"value": AZURE_DIMENSION, "localizedValue": AZURE_DIMENSION}
        for name, hours in by_name.items():
            data: list[Json] = []
            hour = from_
            while hour < to:
                stamp = hour.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                data.append({"timeStamp": stamp, "total": float(hours.get(hour, 0))})
                hour += _HOUR
            yield {"metadatavalues": [{"name": label, "value": name}], "data": data}


class CloudWatch:
    """It answers where Bedrock does: the SDK names the operation in a header, and asks for `/`."""

    def __init__(self, world: World) -> None:
        self._world = world

    def get_metric_data(self, call: Exchange) -> Reply:
        if call.request.headers.get("x-amz-target") != AWS_TARGET:
            raise aws.invalid("Only GetMetricData is rehearsed.")
        from_, to = (datetime.fromtimestamp(float(call.body[key]), UTC) for key in ("StartTime", "EndTime"))
        found = [self._result(call, query, from_, to) for query in tables(call.body.get("MetricDataQueries"))]
        return json_reply({"MetricDataResults": found, "Messages": []})

    def _result(self, call: Exchange, query: Json, from_: datetime, to: datetime) -> Json:
        stat = table(query.get("MetricStat"))
        metric = table(stat.get("Metric"))
        if (metric.get("Namespace"), stat.get("Period"), stat.get("Stat")) != ("AWS/Bedrock", 3600, "Sum"):
            raise aws.invalid("Only sums of AWS/Bedrock by the hour are rehearsed.")
        model = next((str(one["Value"]) for one in tables(metric.get("Dimensions")) if one["Name"] == "ModelId"), "")
        hours: dict[datetime, int] = {}
        for kind in BEDROCK_SERVING if metric.get("MetricName") == "Invocations" else ():
            thing = next((one for one in self._world.truth.ever(kind) if one.id == model), None)
            if thing is not None:
                hours = _counted(self._world, call, thing, from_, to)
        newest = sorted(hours, reverse=True)
        return {
            "Id": query["Id"],
            "Label": metric.get("MetricName"),
            "Timestamps": [int(hour.timestamp()) for hour in newest],
            "Values": [float(hours[hour]) for hour in newest],
            "StatusCode": "Complete",
        }
