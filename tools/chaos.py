#!/usr/bin/env python3
"""Hurt the managers of a real cluster and check every answer: `tests/chaos`, from anywhere."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.chaos.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
