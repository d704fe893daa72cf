"""Context files: how to reach a cluster from a control node, one file per cluster.

`~/.config/warren/contexts/<name>.yml` holds endpoints, the CA and the operator's certificate with
its key, so it is 0600; `~/.config/warren/current-context` holds the name of the one in use.
`WARREN_CONFIG_DIR` replaces the directory. The key is made here and never leaves: only a request
is carried to the cluster, and the certificate comes back.
"""

import os
import re
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from warren.model.errors import InvalidInput, NotFound, WarrenError


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """All that a client needs to reach a cluster and be known there. The last three are PEM."""

    cluster: str
    endpoints: tuple[str, ...]
    ca_cert: str
    client_cert: str
    client_key: str


def directory() -> Path:
    """Where contexts are kept."""
    override = os.environ.get("WARREN_CONFIG_DIR")
    return Path(override) if override else Path.home() / ".config" / "warren"


def path_of(name: str) -> Path:
    """The file of a context."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise InvalidInput(f"{name!r} is not a context's name")
    return directory() / "contexts" / f"{name}.yml"


def names() -> tuple[str, ...]:
    """Names of all contexts, sorted."""
    return tuple(sorted(path.stem for path in (directory() / "contexts").glob("*.yml")))


def current() -> str:
    """Name of the context in use, or empty text."""
    try:
        return (directory() / "current-context").read_text().strip()
    except OSError:
        return ""


def use(name: str) -> None:
    """Make a context the one in use."""
    if not path_of(name).exists():
        raise _missing(name)
    _write_private(directory() / "current-context", name + "\n")


def load(name: str) -> Context:
    """The context of that name; NotFound or InvalidInput name the file."""
    path = path_of(name)
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise _missing(name) from None
    except OSError as error:
        raise InvalidInput(f"cannot read: {error.strerror}", path=str(path)) from error
    return _parse(text, path)


def save(name: str, context: Context) -> None:
    """Write the context's file, whole or not at all."""
    import yaml

    text = yaml.safe_dump(
        {**asdict(context), "endpoints": list(context.endpoints)},
        sort_keys=False,
        default_style=None,
    )
    _write_private(path_of(name), text)


def remove(name: str) -> bool:
    """Remove a context and its unfinished request; False if there was neither."""
    found = False
    for path in (path_of(name), _pending_key(name)):
        if path.exists():
            path.unlink()
            found = True
    if current() == name:
        (directory() / "current-context").unlink()
    return found


def load_pending_key(name: str) -> str:
    """The key of a request that no certificate has answered yet, PEM, or empty text."""
    try:
        return _pending_key(name).read_text()
    except FileNotFoundError:
        return ""


def save_pending_key(name: str, key: str) -> None:
    """Keep the key of a request until its certificate comes."""
    _write_private(_pending_key(name), key)


def forget_pending_key(name: str) -> None:
    """The request was answered."""
    _pending_key(name).unlink(missing_ok=True)


def _pending_key(name: str) -> Path:
    return path_of(name).with_suffix(".key")


def _parse(text: str, path: Path) -> Context:
    import yaml

    try:
        data = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise InvalidInput(f"is not YAML: {error}".splitlines()[0], path=str(path)) from None
    if not isinstance(data, dict):
        raise InvalidInput("is not a context file", path=str(path))
    return Context(
        cluster=_text(data, "cluster", path),
        endpoints=_endpoints(data, path),
        ca_cert=_text(data, "ca_cert", path),
        client_cert=_text(data, "client_cert", path),
        client_key=_text(data, "client_key", path),
    )


def _text(data: dict[str, Any], key: str, path: Path) -> str:
    value = data.get(key)
    if not isinstance(value, str) or not value:
        raise InvalidInput(f"{key} is missing", path=str(path))
    return value


def _endpoints(data: dict[str, Any], path: Path) -> tuple[str, ...]:
    value = data.get("endpoints")
    if not isinstance(value, list) or not value or not all(isinstance(e, str) for e in value):
        raise InvalidInput("endpoints is not a list of host:port", path=str(path))
    return tuple(value)


def _missing(name: str) -> WarrenError:
    known = ", ".join(names()) or "none"
    return NotFound(f"there is no context {name} in {directory()} (known: {known})")


def _write_private(path: Path, text: str) -> None:
    """Readable by the owner only from its first byte, and never half written."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
