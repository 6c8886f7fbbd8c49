"""``python -m sinew``."""

from __future__ import annotations

import sys

from sinew.cli.main import main

sys.exit(main())
