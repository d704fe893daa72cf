"""Images from a real registry, and what the user reads when one cannot be had."""

import subprocess
from collections.abc import Iterator

import pytest
from warren.drivers.containerd import Containerd
from warren.model.errors import ImageUnavailable
from warren.model.services import PullPolicy, RegistryAuth, Secret

from tests.contract import images, namespaces, registries
from tests.contract.private_containerd import PrivateContainerd

_OPEN, _GUARDED, _DOWN = 5000, 5001, 5002
_AUTH = RegistryAuth(username=registries.USER, password=Secret(registries.PASSWORD))


@pytest.fixture(scope="module")
def _registries(
    containerd: PrivateContainerd, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """An open registry and one with a password, each with `busybox:1`."""
    directory = tmp_path_factory.mktemp("registries")
    with (
        registries.running(directory, _OPEN, password=False),
        registries.running(directory, _GUARDED, password=True),
    ):
        for port in (_OPEN, _GUARDED):
            name = f"localhost:{port}/busybox:1"
            ctr = ["ctr", "-a", str(containerd.socket), "-n", "k8s.io", "images"]
            user = f"{registries.USER}:{registries.PASSWORD}"
            for command in (
                ["tag", images.BUSYBOX, name],
                ["push", "--plain-http", "--user", user, name],
                ["rm", name],
            ):
                subprocess.run([*ctr, *command], check=True, capture_output=True)
        yield


@pytest.fixture
def runtime(
    _registries: None, containerd: PrivateContainerd, real_runtime: Containerd
) -> Containerd:
    """Without the registries' images."""
    for port in (_OPEN, _GUARDED):
        namespaces.run(f"ctr -a {containerd.socket} -n k8s.io images rm localhost:{port}/busybox:1")
    return real_runtime


async def refusal(runtime: Containerd, image: str, auth: RegistryAuth | None = None) -> str:
    """The sentence that a user reads."""
    with pytest.raises(ImageUnavailable) as refused:
        await runtime.ensure_image(image, PullPolicy.MISSING, auth)
    return str(refused.value)


async def test_pulls_an_image_that_is_missing(runtime: Containerd) -> None:
    image = f"localhost:{_OPEN}/busybox:1"

    digest = await runtime.ensure_image(image, PullPolicy.MISSING, None)

    assert digest.startswith("sha256:")
    assert digest == await runtime.ensure_image(image, PullPolicy.NEVER, None)


async def test_pulls_with_credentials(runtime: Containerd) -> None:
    image = f"localhost:{_GUARDED}/busybox:1"

    digest = await runtime.ensure_image(image, PullPolicy.MISSING, _AUTH)

    assert digest == await runtime.ensure_image(image, PullPolicy.NEVER, None)


async def test_always_asks_the_registry_even_for_an_image_that_is_here(runtime: Containerd) -> None:
    image = f"localhost:{_GUARDED}/busybox:1"
    await runtime.ensure_image(image, PullPolicy.ALWAYS, _AUTH)

    with pytest.raises(ImageUnavailable):
        await runtime.ensure_image(image, PullPolicy.ALWAYS, None)


async def test_says_that_a_tag_does_not_exist(runtime: Containerd) -> None:
    image = f"localhost:{_OPEN}/busybox:9"

    assert await refusal(runtime, image) == f"image {image} does not exist in its registry"


async def test_says_that_a_repository_does_not_exist(runtime: Containerd) -> None:
    image = f"localhost:{_OPEN}/web:1"

    assert await refusal(runtime, image) == f"image {image} does not exist in its registry"


async def test_says_that_a_registry_is_down(runtime: Containerd) -> None:
    image = f"localhost:{_DOWN}/web:1"

    assert await refusal(runtime, image) == (
        f"image {image} cannot be pulled: registry localhost:{_DOWN} is down: connection refused"
    )


async def test_says_that_a_registry_refused_the_credentials(runtime: Containerd) -> None:
    image = f"localhost:{_GUARDED}/busybox:1"
    wrong = RegistryAuth(username=registries.USER, password=Secret("wrong"))

    assert await refusal(runtime, image, wrong) == (
        f"image {image} cannot be pulled: registry localhost:{_GUARDED} refused the credentials"
    )


async def test_says_that_a_registry_wants_credentials(runtime: Containerd) -> None:
    image = f"localhost:{_GUARDED}/busybox:1"

    assert await refusal(runtime, image) == (
        f"image {image} cannot be pulled: registry localhost:{_GUARDED} wants credentials"
    )


async def test_says_that_a_registry_has_no_name(runtime: Containerd) -> None:
    image = "registry.invalid/web:1"

    assert (await refusal(runtime, image)).startswith(
        f"image {image} cannot be pulled: registry registry.invalid is not "
    )


async def test_says_that_a_name_is_no_image(runtime: Containerd) -> None:
    assert await refusal(runtime, "Web:1") == "Web:1 is not the name of an image"
