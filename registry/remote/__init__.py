"""`registry.connect(url, token)`: the methods of an embedded registry, spoken over HTTP to one that a server owns."""

from __future__ import annotations

from registry.remote.client import Remote, connect

__all__ = ["Remote", "connect"]
