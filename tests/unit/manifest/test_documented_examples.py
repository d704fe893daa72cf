"""The examples in the docs are manifests that the cluster would take."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from warren.core import services
from warren.model.manifest import parse_service
from warren.testing.builders import a_state

DOCS = Path(__file__).parents[3] / "docs"
_BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)


def manifests(page: str) -> list[dict[str, Any]]:
    """What stands under `service` in the YAML blocks of a page."""
    blocks = (yaml.safe_load(text) for text in _BLOCK.findall((DOCS / page).read_text()))
    return [block["service"] for block in blocks if isinstance(block, dict) and "service" in block]


@pytest.mark.parametrize("page", ["health.md", "services.md"])
def test_the_services_in_the_docs_would_be_taken(page: str) -> None:
    found = manifests(page)

    assert found
    for manifest in found:
        spec, _ = parse_service(manifest)
        services.check(spec, a_state())
