"""A file system that is soon full, for a script that is run in another process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def run_on_small_disk(script: str, folder: Path, *, size: str) -> subprocess.CompletedProcess[str]:
    """`folder` is its first argument. Skips where nobody may mount one."""
    try:
        tried = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", folder], check=False, timeout=60)
    except FileNotFoundError:
        tried = None
    if tried is None or tried.returncode:
        pytest.skip("this machine lets nobody mount a small file system")
    mounted = f'mount -t tmpfs -o size={size} tmpfs {folder} && exec {sys.executable} -c "$0" {folder}'
    return subprocess.run(
        ["unshare", "-rm", "sh", "-c", mounted, script], check=False, capture_output=True, text=True, timeout=120
    )
