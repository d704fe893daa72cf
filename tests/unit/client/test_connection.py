"""Where to connect: the order of what may say so, and what is said when nothing does."""

from pathlib import Path

import pytest
from warren.client import connection, contexts
from warren.client.connection import Connection, Credentials, Wanted, resolve
from warren.client.contexts import Context
from warren.model.errors import InvalidInput, NotFound

DEMO = Context(
    cluster="demo",
    endpoints=("10.77.0.11:7443", "10.77.0.12"),
    ca_cert="CA\n",
    client_cert="CERT\n",
    client_key="KEY\n",
)
DEMO_CONNECTION = Connection(
    endpoints=("10.77.0.11:7443", "10.77.0.12:7443"),
    credentials=Credentials(ca_cert="CA\n", client_cert="CERT\n", client_key="KEY\n"),
    source="context demo",
)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The three PEM files, by option."""
    paths = {name: str(tmp_path / name) for name in ("ca_cert", "client_cert", "client_key")}
    for name, path in paths.items():
        Path(path).write_text(name)
    return paths


@pytest.fixture
def environment(files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the environment's variables."""
    monkeypatch.setenv("WARREN_ENDPOINTS", "a:1, b")
    monkeypatch.setenv("WARREN_CONTEXT", "other")
    for name, path in files.items():
        monkeypatch.setenv(f"WARREN_{name.upper()}", path)


def test_given_endpoints_come_first(environment: None) -> None:
    contexts.save("demo", DEMO)

    found = resolve(Wanted(endpoints=["c"], context="demo"))

    assert found == Connection(
        endpoints=("c:7443",),
        credentials=Credentials(
            ca_cert="ca_cert", client_cert="client_cert", client_key="client_key"
        ),
        source="the given endpoints",
    )


def test_then_a_given_context(environment: None) -> None:
    contexts.save("demo", DEMO)

    assert resolve(Wanted(context="demo")) == DEMO_CONNECTION


def test_then_endpoints_of_the_environment(environment: None) -> None:
    assert resolve(Wanted()).endpoints == ("a:1", "b:7443")


def test_then_the_context_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    contexts.save("demo", DEMO)
    contexts.save("other", DEMO)
    contexts.use("other")
    monkeypatch.setenv("WARREN_CONTEXT", "demo")

    assert resolve(Wanted()) == DEMO_CONNECTION


def test_then_the_current_context() -> None:
    contexts.save("demo", DEMO)
    contexts.use("demo")

    assert resolve(Wanted()) == DEMO_CONNECTION


def test_then_the_socket_of_a_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    socket = tmp_path / "warren.sock"
    socket.touch()
    monkeypatch.setattr(connection, "SOCKET", socket)

    assert resolve(Wanted()) == Connection(
        endpoints=(f"unix://{socket}",), credentials=None, source=str(socket)
    )


def test_else_says_what_may_be_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(connection, "SOCKET", tmp_path / "away.sock")

    with pytest.raises(InvalidInput, match=r"^no cluster to talk to: give endpoints or a context"):
        resolve(Wanted())


def test_endpoints_need_certificates() -> None:
    with pytest.raises(InvalidInput, match=r"^ca_cert: is needed with endpoints"):
        resolve(Wanted(endpoints=["a"]))


def test_a_file_that_cannot_be_read_is_named(files: dict[str, str]) -> None:
    wanted = Wanted(endpoints=["a"], **{**files, "client_key": "/nowhere/key.pem"})

    with pytest.raises(
        InvalidInput, match=r"^client_key: cannot read /nowhere/key.pem: No such file or directory$"
    ):
        resolve(wanted)


@pytest.mark.parametrize("text", ["a b", "a:0", "a:65536", "a:b", "", "https://a"])
def test_refuses_what_is_no_endpoint(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not an endpoint"):
        connection.normalise_endpoint(text)


def test_an_ipv6_endpoint_stands_in_brackets() -> None:
    assert connection.normalise_endpoint("[fd00::1]") == "[fd00::1]:7443"


def test_a_context_is_private_and_comes_back(config_dir: Path) -> None:
    contexts.save("demo", DEMO)

    assert contexts.load("demo") == DEMO
    assert contexts.path_of("demo").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (config_dir / "contexts").iterdir()] == ["demo.yml"]


def test_an_unknown_context_names_those_that_are_known(config_dir: Path) -> None:
    contexts.save("demo", DEMO)

    with pytest.raises(NotFound) as missing:
        contexts.load("dmeo")

    assert str(missing.value) == f"there is no context dmeo in {config_dir} (known: demo)"


def test_a_removed_context_is_no_longer_in_use() -> None:
    contexts.save("demo", DEMO)
    contexts.use("demo")

    assert contexts.remove("demo")
    assert (contexts.names(), contexts.current(), contexts.remove("demo")) == ((), "", False)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[", "is not YAML"),
        ("a", "is not a context file"),
        ("cluster: demo\nendpoints: a:1\nca_cert: x\n", "endpoints is not a list of host:port"),
        ("cluster: demo\nendpoints: [a]\n", "ca_cert is missing"),
    ],
)
def test_a_broken_context_file_is_named(text: str, reason: str) -> None:
    path = contexts.path_of("demo")
    path.parent.mkdir(parents=True)
    path.write_text(text)

    with pytest.raises(InvalidInput) as broken:
        contexts.load("demo")

    assert str(broken.value).startswith(f"{path}: {reason}")


def test_a_context_name_is_no_path() -> None:
    with pytest.raises(InvalidInput, match="is not a context's name"):
        contexts.path_of("../demo")
