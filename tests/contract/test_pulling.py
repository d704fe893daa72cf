"""Images from a real registry, and what the user reads when one cannot be had."""

import http.server
import json
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import jinja2
import pytest
from warren.api import convert, warren_pb2
from warren.core.placeholders import NodeFacts
from warren.drivers.containerd import Containerd
from warren.drivers.task_files import HostTaskFiles
from warren.model.errors import CredentialsRefused, ImageUnavailable
from warren.model.registries import credentials
from warren.model.secrets import FileKey, FileKind, TaskFile
from warren.model.services import PullPolicy, RegistryAuth, Secret, TaskTemplate
from warren.worker.images import Images
from warren.worker.task_files import TaskFiles

from tests.contract import images, namespaces, registries
from tests.contract.private_containerd import PrivateContainerd
from tests.contract.registries import Settings

_OPEN, _GUARDED, _DOWN, _TLS = 5000, 5001, 5002, 5003
_SETTINGS = {
    _OPEN: Settings(port=_OPEN),
    _GUARDED: Settings(port=_GUARDED, htpasswd=registries.HTPASSWD),
    _TLS: Settings(port=_TLS, htpasswd=registries.HTPASSWD, tls=True, images_of=_GUARDED),
}
_IN_TLS = f"localhost:{_TLS}/busybox:1"
_HOSTS_TOML = Path(__file__).parents[2] / "roles/containerd/templates/hosts.toml.j2"
_AUTH = RegistryAuth(username=registries.USER, password=Secret(registries.PASSWORD))


@pytest.fixture(scope="module")
def directory(
    containerd: PrivateContainerd, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """Of three registries that run, each with `busybox:1`: an open one, one with a password, and
    one with a password and a certificate of its own."""
    namespaces.require("docker-registry")
    directory = tmp_path_factory.mktemp("registries")
    with ExitStack() as stack:
        for settings in _SETTINGS.values():
            stack.enter_context(registries.running(directory, settings))
            if settings.images_of:
                continue  # ctr would speak plain http to it, as it is on localhost
            name = f"{settings.address}/busybox:1"
            ctr = ["ctr", "-a", str(containerd.socket), "-n", "k8s.io", "images"]
            user = f"{registries.USER}:{registries.PASSWORD}"
            for command in (
                ["tag", images.BUSYBOX, name],
                ["push", "--plain-http", "--user", user, name],
                ["rm", name],
            ):
                subprocess.run([*ctr, *command], check=True, capture_output=True)
        yield directory


@pytest.fixture
def runtime(directory: Path, containerd: PrivateContainerd, real_runtime: Containerd) -> Containerd:
    """Without the registries' images, and without a word on how to reach them."""
    for path in containerd.registries_dir.iterdir():
        shutil.rmtree(path)
    for port in _SETTINGS:
        namespaces.run(f"ctr -a {containerd.socket} -n k8s.io images rm localhost:{port}/busybox:1")
    return real_runtime


class Mirror(http.server.BaseHTTPRequestHandler):
    """Wants credentials, and notes what it is sent."""

    url = ""
    asked: ClassVar[list[str | None]] = []

    def do_HEAD(self) -> None:
        self.asked.append(self.headers.get("Authorization"))
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="mirror"')
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""


@pytest.fixture
def mirror(private_network: None) -> Iterator[type[Mirror]]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    Mirror.url, Mirror.asked = f"http://127.0.0.1:{server.server_port}", []
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    yield Mirror
    server.shutdown()
    serving.join()
    server.server_close()


def trust(containerd: PrivateContainerd, **authority: str) -> None:
    """As the role writes it: the authority as `ca`, a file, or as `ca_certificate`, its text."""
    registry = {"host": f"localhost:{_TLS}", **authority}
    place = containerd.registries_dir / registry["host"]
    place.mkdir()
    template = jinja2.Environment(autoescape=False).from_string(_HOSTS_TOML.read_text())
    values = {"registry": registry, "__containerd_registry_dir": str(place)}
    (place / "hosts.toml").write_text(template.render(values, ansible_managed="test"))
    (place / "ca.pem").write_text(registry.get("ca_certificate", ""))


def held(password: str) -> RegistryAuth:
    """Credentials as a secret holds them."""
    value = json.dumps({"username": registries.USER, "password": password}).encode()
    answer = credentials(value, _IN_TLS)
    assert isinstance(answer, RegistryAuth)
    return answer


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


async def test_pulls_over_tls_with_what_a_secret_holds(
    runtime: Containerd, containerd: PrivateContainerd, directory: Path
) -> None:
    certificate = registries.certificate_of(directory, _SETTINGS[_TLS]).read_text()
    trust(containerd, ca_certificate=certificate)

    digest = await runtime.ensure_image(_IN_TLS, PullPolicy.MISSING, held(registries.PASSWORD))

    assert digest == await runtime.ensure_image(_IN_TLS, PullPolicy.NEVER, None)


async def test_a_registry_whose_authority_is_not_known_gets_no_credentials(
    runtime: Containerd, containerd: PrivateContainerd
) -> None:
    trust(containerd, ca="/etc/ssl/certs/ca-certificates.crt")

    said = await refusal(runtime, _IN_TLS, held(registries.PASSWORD))

    assert said == (
        f"image {_IN_TLS} cannot be pulled: registry localhost:{_TLS} "
        "has a certificate of an unknown authority"
    )


async def test_the_password_that_counts_is_that_of_the_moment(
    runtime: Containerd, containerd: PrivateContainerd, directory: Path
) -> None:
    settings = _SETTINGS[_TLS]
    trust(containerd, ca=str(registries.certificate_of(directory, settings)))
    old, new = held(registries.PASSWORD), held(registries.NEXT_PASSWORD)
    await runtime.ensure_image(_IN_TLS, PullPolicy.ALWAYS, old)

    registries.set_accounts(directory, settings, registries.NEXT_HTPASSWD)
    try:
        with pytest.raises(CredentialsRefused):
            await runtime.ensure_image(_IN_TLS, PullPolicy.ALWAYS, old)
        await runtime.ensure_image(_IN_TLS, PullPolicy.ALWAYS, new)
    finally:
        registries.set_accounts(directory, settings, registries.HTPASSWD)


async def test_a_mirror_is_not_sent_the_credentials_of_its_registry(
    runtime: Containerd, containerd: PrivateContainerd, mirror: type[Mirror]
) -> None:
    place = containerd.registries_dir / f"localhost:{_GUARDED}"
    place.mkdir()
    (place / "hosts.toml").write_text(
        f'server = "http://localhost:{_GUARDED}"\n[host."{mirror.url}"]\n'
        'capabilities = ["pull", "resolve"]\n'
    )

    await runtime.ensure_image(f"localhost:{_GUARDED}/busybox:1", PullPolicy.MISSING, _AUTH)

    assert mirror.asked
    assert set(mirror.asked) == {None}


def test_no_password_is_in_what_the_runtime_logs(
    runtime: Containerd, containerd: PrivateContainerd
) -> None:
    said = (containerd.directory / "containerd.log").read_text()

    assert "PullImage" in said
    assert registries.PASSWORD not in said


async def test_a_task_is_pulled_with_the_secret_of_the_moment(
    runtime: Containerd,
    containerd: PrivateContainerd,
    directory: Path,
    memory: Path,
    tmp_path: Path,
) -> None:
    trust(containerd, ca=str(registries.certificate_of(directory, _SETTINGS[_TLS])))
    driver = HostTaskFiles(memory, tmp_path)
    files = TaskFiles(driver, a_node)
    images_of_host = Images(runtime, files)
    template = TaskTemplate(image=_IN_TLS, registry_secret="registry")
    waits: list[str] = []

    files.take(told(1, "wrong"))
    with pytest.raises(ImageUnavailable) as refused:
        await images_of_host.ensure(template, waits.append)
    files.take(told(2, registries.PASSWORD))
    kept = [file.key.number for file in driver.kept()]
    digest = await images_of_host.ensure(template, waits.append)
    files.retain([])

    assert str(refused.value) == (
        f"image {_IN_TLS} cannot be pulled: registry localhost:{_TLS} refused the credentials "
        "of secret registry"
    )
    assert digest == await runtime.ensure_image(_IN_TLS, PullPolicy.NEVER, None)
    assert (kept, waits) == ([2], [])
    assert driver.kept() == ()


@pytest.fixture
def memory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(dir="/dev/shm", prefix="warren-"))
    yield directory
    shutil.rmtree(directory)


def a_node() -> NodeFacts:
    return NodeFacts(id="n1", name="w1")


def told(number: int, password: str) -> warren_pb2.TaskFiles:
    """As a manager tells the secret to pull with."""
    file = TaskFile(
        key=FileKey(kind=FileKind.SECRET, name="registry", number=number),
        data=json.dumps({"username": registries.USER, "password": password}).encode(),
        for_pulls=True,
    )
    return warren_pb2.TaskFiles(files=[convert.to_message(file)])
