"""The manifests in the pages under docs/, for tests that hold the pages to what they say."""

import re
from pathlib import Path
from typing import Any

import yaml

DOCS = Path(__file__).parents[1] / "docs"
_BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)


def services_in(page: str) -> list[dict[str, Any]]:
    """What stands under `service` in the YAML blocks of a page."""
    blocks = (yaml.safe_load(text) for text in _BLOCK.findall((DOCS / page).read_text()))
    return [block["service"] for block in blocks if isinstance(block, dict) and "service" in block]
