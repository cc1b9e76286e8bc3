from __future__ import annotations

import sys

from training.program import main

sys.exit(main(sys.argv[1:]))
