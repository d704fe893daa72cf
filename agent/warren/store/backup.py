"""Backup archives: a cluster's whole state, encrypted and checksummed, as a stream of bytes.

    b"warren-backup\\n", format (u16), header length (u32), header (`backup.proto`),
    chunks: length (u32), AES-256-GCM of at most 1 MiB,
    0 (u32), SHA-256 of all before

The key comes from a passphrase by scrypt, whose parameters are in the header. Every chunk is bound
to the header, to its place, and to whether it is the last one, so nothing can be left out, moved,
or taken from another archive. The checksum tells damage from a wrong passphrase, and finds damage
without one. The state inside is a `warren.v1.ClusterState`, the cluster's keys with it; the header
can be read by anybody and holds no secret. Errors are one line and name the file.
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import DecodeError

from warren.api import convert, warren_pb2
from warren.model.errors import InvalidInput
from warren.model.services import Secret
from warren.model.views import BackupHead
from warren.state.cluster import ClusterState
from warren.store import backup_pb2, passphrases
from warren.store.passphrases import Cost

FORMAT = 1
CHUNK_BYTES = 1 << 20
CHANCE_BYTES = 23
_MAGIC = b"warren-backup\n"
_PREAMBLE = struct.Struct("<14sHI")
_LENGTH = struct.Struct("<I")
_DIGEST_BYTES = 32
_TAG_BYTES = 16
_HEADER_BYTES_MAX = 1 << 16
_SALT_BYTES = passphrases.SALT_BYTES


def write(
    head: BackupHead,
    pieces: Iterable[bytes],
    passphrase: Secret,
    *,
    chance: bytes,
    cost: Cost = passphrases.USUAL,
) -> Iterator[bytes]:
    """The archive, in parts as they come. `chance` is `CHANCE_BYTES` fresh random bytes."""
    check_passphrase(passphrase)
    assert len(chance) == CHANCE_BYTES
    header = backup_pb2.ArchiveHeader(
        head=convert.to_message(head).SerializeToString(deterministic=True),
        scrypt_log_n=cost.log_n,
        scrypt_r=cost.r,
        scrypt_p=cost.p,
        salt=chance[:_SALT_BYTES],
        nonce=chance[_SALT_BYTES:],
    )
    cipher = AESGCM(_key(header, passphrase))
    header.key_check = cipher.encrypt(_check_nonce(header), b"", _unchecked(header))
    preamble = _preamble(header)
    digest, bound = hashlib.sha256(), hashlib.sha256(preamble).digest()
    digest.update(preamble)
    yield preamble
    for number, chunk, last in _numbered(_even(pieces)):
        sealed = cipher.encrypt(_nonce(header, number, last=last), chunk, bound)
        part = _LENGTH.pack(len(sealed)) + sealed
        digest.update(part)
        yield part
    end = _LENGTH.pack(0)
    digest.update(end)
    yield end + digest.digest()


def check_passphrase(passphrase: Secret) -> None:
    """InvalidInput when it is too short to protect anything."""
    passphrases.check(passphrase, "backup passphrase")


class Archive:
    """An archive in a file that can be sought in."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        """Reads the head. InvalidInput when this is no archive, or one of a newer format."""
        self._file = file
        self._name = name
        data = file.read(_PREAMBLE.size)
        if not data.startswith(_MAGIC):
            raise self._refusal("is not a backup of Warren")
        if len(data) < _PREAMBLE.size:
            raise self._cut_off()
        _, version, size = _PREAMBLE.unpack(data)
        if version != FORMAT:
            message = f"has format {version}, and this version of Warren reads format {FORMAT}"
            raise self._refusal(f"{message}: use a newer Warren" if version > FORMAT else message)
        if size > _HEADER_BYTES_MAX:
            raise self._damaged()
        raw = file.read(size)
        if len(raw) < size:
            raise self._cut_off()
        self._preamble = data + raw
        self._header, self.head = self._parse_header(raw)

    def check(self) -> str:
        """Compare the checksum; answers it in hexadecimal. InvalidInput: cut off, or damaged."""
        digest = hashlib.sha256(self._preamble)
        self._file.seek(len(self._preamble))
        while sealed := self._next_chunk():
            digest.update(_LENGTH.pack(len(sealed)) + sealed)
        digest.update(_LENGTH.pack(0))
        stored = self._file.read(_DIGEST_BYTES + 1)
        if len(stored) < _DIGEST_BYTES:
            raise self._cut_off()
        if stored != digest.digest():
            raise self._damaged()
        return digest.hexdigest()

    def pieces(self, passphrase: Secret) -> Iterator[bytes]:
        """The state in pieces. Call `check` before: it tells damage from a wrong passphrase."""
        cipher = AESGCM(_key(self._header, passphrase))
        try:
            cipher.decrypt(
                _check_nonce(self._header), self._header.key_check, _unchecked(self._header)
            )
        except InvalidTag:
            raise self._refusal("the passphrase is not the one it was made with") from None
        bound = hashlib.sha256(self._preamble).digest()
        self._file.seek(len(self._preamble))
        for number, sealed, last in _numbered(iter(self._next_chunk, b"")):
            try:
                yield cipher.decrypt(_nonce(self._header, number, last=last), sealed, bound)
            except InvalidTag:
                message = f"was altered: part {number + 1} is not what was written"
                raise self._refusal(message) from None

    def state(self, passphrase: Secret) -> ClusterState:
        """The whole state. What `check` does is done first."""
        self.check()
        data = b"".join(self.pieces(passphrase))
        try:
            message = warren_pb2.ClusterState.FromString(data)
        except DecodeError:
            raise self._refusal("holds no cluster's state") from None
        state = convert.from_message(message, ClusterState)
        if state.cluster is None or state.cluster.id != self.head.cluster_id:
            raise self._refusal("holds no cluster's state")
        return state

    def _parse_header(self, raw: bytes) -> tuple[backup_pb2.ArchiveHeader, BackupHead]:
        try:
            header = backup_pb2.ArchiveHeader.FromString(raw)
            head = convert.from_message(warren_pb2.BackupHead.FromString(header.head), BackupHead)
        except (DecodeError, InvalidInput):
            raise self._damaged() from None
        if not _cost(header).is_bearable:
            raise self._damaged()
        if len(header.nonce) != CHANCE_BYTES - _SALT_BYTES or not header.salt:
            raise self._damaged()
        return header, head

    def _next_chunk(self) -> bytes:
        """b"" at the end mark."""
        data = self._file.read(_LENGTH.size)
        if len(data) < _LENGTH.size:
            raise self._cut_off()
        size = _LENGTH.unpack(data)[0]
        if size > CHUNK_BYTES + _TAG_BYTES:
            raise self._damaged()
        sealed = self._file.read(size)
        if len(sealed) < size:
            raise self._cut_off()
        return sealed

    def _cut_off(self) -> InvalidInput:
        return self._refusal("is cut off: it was not written to its end")

    def _damaged(self) -> InvalidInput:
        return self._refusal("is damaged: its checksum does not match")

    def _refusal(self, message: str) -> InvalidInput:
        return InvalidInput(message, path=self._name)


def _key(header: backup_pb2.ArchiveHeader, passphrase: Secret) -> bytes:
    return passphrases.key_from(passphrase, header.salt, _cost(header))


def _cost(header: backup_pb2.ArchiveHeader) -> Cost:
    return Cost(log_n=header.scrypt_log_n, r=header.scrypt_r, p=header.scrypt_p)


def _preamble(header: backup_pb2.ArchiveHeader) -> bytes:
    raw = header.SerializeToString(deterministic=True)
    return _PREAMBLE.pack(_MAGIC, FORMAT, len(raw)) + raw


def _unchecked(header: backup_pb2.ArchiveHeader) -> bytes:
    """The header before its key check was made."""
    before = backup_pb2.ArchiveHeader()
    before.CopyFrom(header)
    before.ClearField("key_check")
    return before.SerializeToString(deterministic=True)


def _nonce(header: backup_pb2.ArchiveHeader, number: int, *, last: bool) -> bytes:
    return header.nonce + struct.pack("<IB", number, last)


def _check_nonce(header: backup_pb2.ArchiveHeader) -> bytes:
    return header.nonce + struct.pack("<IB", 0xFFFFFFFF, 2)


def _even(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of `CHUNK_BYTES`, but for the last; at least one."""
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        while len(waiting) > CHUNK_BYTES:
            yield bytes(waiting[:CHUNK_BYTES])
            del waiting[:CHUNK_BYTES]
    yield bytes(waiting)


def _numbered(chunks: Iterable[bytes]) -> Iterator[tuple[int, bytes, bool]]:
    """(number, chunk, whether it is the last)."""
    before: bytes | None = None
    number = -1
    for chunk in chunks:
        if before is not None:
            yield number, before, False
        before, number = chunk, number + 1
    if before is not None:
        yield number, before, True
