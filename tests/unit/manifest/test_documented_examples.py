"""The examples in the docs are manifests that the cluster would take."""

import pytest
from warren.core import file_references, services
from warren.model.manifest import parse_service
from warren.model.services import ServiceSpec
from warren.testing.builders import a_config, a_secret, a_state

from tests.documented import services_in


@pytest.mark.parametrize(
    "page", ["health.md", "registries.md", "rollouts.md", "secrets.md", "services.md"]
)
def test_the_services_in_the_docs_would_be_taken(page: str) -> None:
    found = services_in(page)

    assert found
    for manifest in found:
        spec, _ = parse_service(manifest)
        state = a_state(
            secrets=[a_secret(name) for name in _secrets_of(spec)],
            configs=[a_config(each.name) for each in spec.configs],
        )
        services.check(file_references.resolve(spec, None, (), state), state)


def _secrets_of(spec: ServiceSpec) -> set[str]:
    return {each.name for each in spec.secrets} | ({spec.registry_secret} - {""})
