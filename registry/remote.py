"""`registry.connect(url, token)`: the methods of an embedded registry, spoken over HTTP."""

from __future__ import annotations

SERVER_FILE = "server.json"
"""In a home that a server owns: its url, its pid, and a secret for commands on this machine."""
