"""What holds for all tests."""

from __future__ import annotations

import signal

# A shell without job control starts what goes to the background with Ctrl-C ignored, and children inherit that: those
# that a test interrupts would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)
