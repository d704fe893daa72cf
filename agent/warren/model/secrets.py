"""Secrets and configs: versioned bytes that tasks are given as files.

The two live the same life. A secret's bytes are sealed wherever the cluster keeps them, see
`store/sealing.py`, and nobody reads them back; a config's are plain. What a spec says, users write;
versions are numbered from 1 and never change.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Annotated

from warren.model.constraints import DNS_LABEL, Pattern, Range

VALUE_BYTES_MAX = 500 * 1024
KEEP_VERSIONS = 5
SECRETS_ROOT = "/run/secrets"
CONFIGS_ROOT = "/run/configs"
_MODE = Pattern(r"0[0-7]{3}", 'a file mode in quotes, such as "0400"')
_ID_MAX = 2**31 - 1


class FileKind(Enum):
    """What a task's file is."""

    SECRET = "secret"
    CONFIG = "config"


# ------------------------------------------------------------------ what services refer to


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretReference:
    """A secret as a file of a service's tasks, in memory, gone with the task."""

    name: Annotated[str, DNS_LABEL]
    target: str = ""
    """Path under /run/secrets, relative or whole; empty: the secret's name."""
    uid: Annotated[int, Range(0, _ID_MAX)] = 0
    gid: Annotated[int, Range(0, _ID_MAX)] = 0
    mode: Annotated[str, _MODE] = "0400"
    version: Annotated[int, Range(0, _ID_MAX)] = 0
    """Of the secret; 0: the newest."""
    follow: bool = True
    """A new version begins a rollout. If not, it waits for the next change of the service."""
    pinned: Annotated[int, Range(0, _ID_MAX)] = 0
    """The version that this revision has. Written by the leader as the spec, or a new version of
    the secret, is stored; what users say here is ignored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigReference:
    """A config as a file of a service's tasks. Fields as those of `SecretReference`."""

    name: Annotated[str, DNS_LABEL]
    target: str = ""
    """Path in the container; a relative one is under /run/configs. Empty: the config's name."""
    uid: Annotated[int, Range(0, _ID_MAX)] = 0
    gid: Annotated[int, Range(0, _ID_MAX)] = 0
    mode: Annotated[str, _MODE] = "0444"
    template: bool = False
    """Placeholders such as `{{ node.name }}` are filled in for each task."""
    version: Annotated[int, Range(0, _ID_MAX)] = 0
    follow: bool = True
    pinned: Annotated[int, Range(0, _ID_MAX)] = 0


Reference = SecretReference | ConfigReference


# ------------------------------------------------------------------ what is stored


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSpec:
    """A secret as its user declares it, but for its value."""

    name: Annotated[str, DNS_LABEL]
    labels: Mapping[str, str] = field(default_factory=dict)
    keep_versions: Annotated[int, Range(1, 100)] = KEEP_VERSIONS
    """So many newest versions stay, and all that a service could still need."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigSpec:
    """A config as its user declares it, but for its contents."""

    name: Annotated[str, DNS_LABEL]
    labels: Mapping[str, str] = field(default_factory=dict)
    keep_versions: Annotated[int, Range(1, 100)] = KEEP_VERSIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedKey:
    """A key, encrypted with a key-encryption key."""

    kek: str
    """Id of that."""
    nonce: bytes
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretVersion:
    """One value of a secret, encrypted with a data key of its own."""

    number: int
    created_at: datetime
    size: int
    digest: bytes = field(repr=False)
    """Keyed hash of name and value: equal values are recognised without being read."""
    key: WrappedKey
    nonce: bytes
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionedSecret:
    """A secret as it is stored. `spec` by users, all else by the replicated state's `apply`."""

    spec: SecretSpec
    version: int
    """Log index of the last change: what `expected_version` is compared with."""
    created_at: datetime
    updated_at: datetime
    versions: tuple[SecretVersion, ...]
    """By number; at least one."""

    @property
    def newest(self) -> SecretVersion:
        """The version that counts where none is named."""
        return self.versions[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigVersion:
    """One text of a config."""

    number: int
    created_at: datetime
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionedConfig:
    """A config as it is stored."""

    spec: ConfigSpec
    version: int
    created_at: datetime
    updated_at: datetime
    versions: tuple[ConfigVersion, ...]

    @property
    def newest(self) -> ConfigVersion:
        """The version that counts where none is named."""
        return self.versions[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEncryptionKey:
    """Wraps data keys. Random; derived from nothing."""

    id: str
    key: bytes = field(default=b"", repr=False)
    """Empty under a lock."""
    created_at: datetime
    locked: WrappedKey | None = None
    """The key under a lock; `kek` is the lock's id."""

    def is_under(self, lock: "KeyLock | None") -> bool:
        """It is sealed with that lock; None: with none."""
        if lock is None:
            return self.locked is None
        return not self.key and self.locked is not None and self.locked.kek == lock.id


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLock:
    """What locks key-encryption keys: a random lock key, encrypted with one that is made from an
    operator's passphrase by scrypt. No disk has the passphrase, so none has the lock key."""

    id: str
    created_at: datetime
    salt: bytes
    scrypt_log_n: int
    scrypt_r: int
    scrypt_p: int
    nonce: bytes
    data: bytes = field(repr=False)
    """The lock key, encrypted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretKeys:
    """What the cluster's secrets are sealed with. Made with the first secret."""

    keys: tuple[KeyEncryptionKey, ...]
    """The last one wraps what is new; others, only while something is still wrapped by them."""
    hash_key: WrappedKey
    """Of the keyed hashes; never replaced, so that they stay comparable."""
    lock: KeyLock | None = None
    """Of all `keys`. None: autolock is off."""


# ------------------------------------------------------------------ what nodes are given


@dataclass(frozen=True, slots=True, kw_only=True)
class FileKey:
    """Names one version of a secret or config."""

    kind: FileKind
    name: str
    number: int

    def __str__(self) -> str:
        return f"{self.kind.value} {self.name} version {self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFile:
    """One version, as a node that runs a consumer of it is given it."""

    key: FileKey
    data: bytes = field(repr=False)
    error: str = ""
    """Why there are no data: the manager could not open it."""
    for_pulls: bool = False
    """By now, images are pulled with this version of the secret."""
