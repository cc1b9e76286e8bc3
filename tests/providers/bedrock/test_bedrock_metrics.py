from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from providers.bedrock import metrics
from providers.errors import RejectedError, UnauthorizedError, UnavailableError
from tests.providers.cloud_harness import NOON, CloudHarness
from tests.providers.cloud_metrics import CloudMetrics


class TestProvisionedMetrics(CloudMetrics):
    @pytest.fixture
    def harness(self, harness: CloudHarness) -> CloudHarness:
        return harness


class TestOnDemandMetrics(CloudMetrics):
    @pytest.fixture
    def harness(self, harness: CloudHarness) -> CloudHarness:
        harness.set(serving="on-demand")
        return harness


def test_where_bedrock_is_elsewhere_and_cloudwatch_is_not_named_nothing_is_asked(harness: CloudHarness) -> None:
    harness.set(cloudwatch_endpoint_url=None)
    provider = harness.connect()
    assert provider.capabilities.use_lag is None
    assert provider.deployments.last_used({"arn:aws:bedrock:::x": NOON}) == {}
    harness.set(rehearsal=True)
    assert harness.connect().capabilities.use_lag is None, "a rehearsal that was declared before there were metrics"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://monitoring.example.org", "plain http is accepted for loopback only"),
        ("ftp://127.0.0.1", "not an address that begins with https://"),
    ],
)
def test_cloudwatchs_address_is_checked_as_every_other(harness: CloudHarness, url: str, words: str) -> None:
    harness.set(cloudwatch_endpoint_url=url)
    with pytest.raises(RejectedError, match=f"cloudwatch_endpoint_url.*{words}"):
        harness.connect()


def test_a_rehearsal_asks_no_real_cloudwatch(harness: CloudHarness) -> None:
    harness.set(rehearsal=True, cloudwatch_endpoint_url="https://monitoring.us-east-1.amazonaws.com")
    with pytest.raises(RejectedError, match="cloudwatch_endpoint_url is not an address of `tenure rehearse`"):
        harness.connect()


def page(*results: tuple[str, list[Any], str], after: str | None = None) -> dict[str, Any]:
    found = [
        {"Id": query, "Timestamps": hours, "Values": [1.0] * len(hours), "StatusCode": code}
        for query, hours, code in results
    ]
    return {"MetricDataResults": found, "NextToken": after} if after else {"MetricDataResults": found}


def whole(query: str) -> tuple[str, list[Any], str]:
    return query, [], "Complete"


ALL = tuple(whole(f"d0m{n}") for n in range(4))


class Pages:
    """CloudWatch's client, with answers given beforehand."""

    def __init__(self, *pages: dict[str, Any]) -> None:
        self.pages = list(pages)
        self.asked: list[dict[str, Any]] = []

    def get(self, service: str, *, read_timeout_s: float) -> Pages:
        assert (service, read_timeout_s) == ("cloudwatch", metrics.READ_TIMEOUT_S)
        return self

    def get_metric_data(self, **arguments: Any) -> dict[str, Any]:
        self.asked.append(dict(arguments))
        return self.pages.pop(0) if len(self.pages) > 1 else self.pages[0]


def read(pages: Pages, count: int = 1) -> dict[str, Any]:
    door = metrics.BedrockMetrics(pages, now=lambda: NOON)  # pyright: ignore[reportArgumentType]
    return dict(door.last_used({f"arn-{n}": NOON - timedelta(days=1) for n in range(count)}))


def test_pages_are_followed_and_calls_that_were_throttled_count() -> None:
    early, late = NOON - timedelta(hours=9), NOON - timedelta(hours=5)
    rest = (ALL[0], *ALL[2:])
    pages = Pages(page(("d0m0", [early], "PartialData"), after="2"), page(("d0m1", [late], "Complete"), *rest))
    assert read(pages) == {"arn-0": late + timedelta(hours=1)}
    assert [one.get("NextToken") for one in pages.asked] == [None, "2"]
    assert {query["MetricStat"]["Metric"]["MetricName"] for query in pages.asked[0]["MetricDataQueries"]} == {
        "Invocations", "InvocationThrottles", "InvocationClientErrors", "InvocationServerErrors",
    }  # fmt: skip


def test_no_call_takes_more_queries_than_cloudwatch_does() -> None:
    pages = Pages(page(*(whole(f"d{at}m{n}") for at in range(125) for n in range(4))))
    assert len(read(pages, count=250)) == 250
    assert [len(one["MetricDataQueries"]) for one in pages.asked] == [500, 500]


@pytest.mark.parametrize(
    "answer",
    [
        page(*ALL[1:], ("d0m0", [], "InternalError")),
        page(*ALL[1:], ("d0m0", [NOON], "PartialData")),
        page(*ALL[1:]),
        page(*ALL, after="again"),
        page(*ALL, whole("e1")),
        {"MetricDataResults": [{"Id": "d0m0", "Timestamps": [NOON], "Values": []}]},
        {"Messages": []},
    ],
    ids=["an-error", "a-part", "one-less", "pages-without-end", "another-id", "counts-left-out", "a-proxys-page"],
)
def test_an_answer_that_is_not_whole_proves_nothing_and_is_asked_for_again(answer: dict[str, Any]) -> None:
    with pytest.raises(UnavailableError, match="CloudWatch"):
        read(Pages(answer))


def test_what_cloudwatch_may_not_tell_is_a_permission_that_is_missing() -> None:
    with pytest.raises(UnauthorizedError):
        read(Pages(page(*ALL[1:], ("d0m0", [], "Forbidden"))))
