"""A new fine-tune: the data and its checks, the price, and only then the start."""

from __future__ import annotations

from starlette.responses import Response

from registry.web.page import Page


def form(page: Page) -> Response:
    connections = [one for one in page.registry.reading.connections(page.as_of)]
    able = [one for one in connections if one.fine_tuning and not one.error]
    return page.html("tuning.html", connections=able, others=[one for one in connections if one not in able])


def start(page: Page) -> Response:
    return page.go("/", said="fine-tune")
