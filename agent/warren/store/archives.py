"""Archives: anything, encrypted and checksummed, as a stream of bytes.

    magic (14 bytes), format (u16), header length (u32), header (`backup.proto`),
    chunks: length (u32), AES-256-GCM of at most 1 MiB,
    0 (u32), SHA-256 of all before

The magic says what is inside: see backup.py and volume_backup.py. The key comes from a passphrase
by scrypt, whose parameters are in the header. Every chunk is bound to the header, to its place, and
to whether it is the last one, so nothing can be left out, moved, or taken from another archive. The
checksum tells damage from a wrong passphrase, and finds damage without one. The header can be read
by anybody and holds no secret. Errors are one line and name the file.
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import DecodeError

from warren.model.errors import InvalidInput
from warren.model.services import Secret
from warren.store import backup_pb2, passphrases
from warren.store.passphrases import Cost

FORMAT = 1
CHUNK_BYTES = 1 << 20
CHANCE_BYTES = 23
_PREAMBLE = struct.Struct("<14sHI")
_LENGTH = struct.Struct("<I")
_DIGEST_BYTES = 32
_TAG_BYTES = 16
_HEADER_BYTES_MAX = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What is inside: the first 14 bytes, and what people call it."""

    magic: bytes
    noun: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """The header and the key of one archive. Salt and nonce are its own, so that the key opens
    nothing else, and whoever has the content may have it; write no second archive with it."""

    kind: Kind
    header: bytes
    key: bytes = field(repr=False)


def new_seal(
    kind: Kind, head: bytes, passphrase: Secret, *, chance: bytes, cost: Cost = passphrases.USUAL
) -> Seal:
    """For an archive that begins with `head`. `chance` is `CHANCE_BYTES` fresh random bytes."""
    check_passphrase(passphrase)
    assert len(chance) == CHANCE_BYTES
    header = backup_pb2.ArchiveHeader(
        head=head,
        scrypt_log_n=cost.log_n,
        scrypt_r=cost.r,
        scrypt_p=cost.p,
        salt=chance[: passphrases.SALT_BYTES],
        nonce=chance[passphrases.SALT_BYTES :],
    )
    key = _key(header, passphrase)
    header.key_check = AESGCM(key).encrypt(_check_nonce(header), b"", _unchecked(header))
    return Seal(kind=kind, header=header.SerializeToString(deterministic=True), key=key)


def write(seal: Seal, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The archive, in parts as they come."""
    cipher, header = AESGCM(seal.key), backup_pb2.ArchiveHeader.FromString(seal.header)
    preamble = _PREAMBLE.pack(seal.kind.magic, FORMAT, len(seal.header)) + seal.header
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
    """An archive in a file. `read` needs no more of the file than that it can be read; the rest
    seeks in it."""

    def __init__(self, file: BinaryIO, name: str, kind: Kind) -> None:
        """Reads the head. InvalidInput when this is no such archive, or one of a newer format."""
        self._file = file
        self._name = name
        self._kind = kind
        data = file.read(_PREAMBLE.size)
        if not data.startswith(kind.magic):
            raise self.refusal(f"is not {kind.noun}")
        if len(data) < _PREAMBLE.size:
            raise self._cut_off()
        _, version, size = _PREAMBLE.unpack(data)
        if version != FORMAT:
            message = f"has format {version}, and this version of Warren reads format {FORMAT}"
            raise self.refusal(f"{message}: use a newer Warren" if version > FORMAT else message)
        if size > _HEADER_BYTES_MAX:
            raise self.damaged()
        self._raw = file.read(size)
        if len(self._raw) < size:
            raise self._cut_off()
        self._preamble = data + self._raw
        self._header = self._parse_header(self._raw)

    @property
    def head(self) -> bytes:
        """What was written as such."""
        return self._header.head

    def check(self) -> str:
        """Compare the checksum; answers it in hexadecimal. InvalidInput: cut off, or damaged."""
        digest = hashlib.sha256(self._preamble)
        self._rewind()
        for _ in self._chunks(digest):
            pass
        return self._compare(digest)

    def seal(self, passphrase: Secret) -> Seal:
        """With its key. Call `check` before: it tells damage from a wrong passphrase."""
        header, key = self._header, _key(self._header, passphrase)
        try:
            AESGCM(key).decrypt(_check_nonce(header), header.key_check, _unchecked(header))
        except InvalidTag:
            raise self.refusal("the passphrase is not the one it was made with") from None
        return Seal(kind=self._kind, header=self._raw, key=key)

    def pieces(self, passphrase: Secret) -> Iterator[bytes]:
        """The content in pieces."""
        return self.content(self.seal(passphrase))

    def content(self, seal: Seal) -> Iterator[bytes]:
        """The same for whoever has the seal already: to make its key takes a third of a second."""
        self._rewind()
        return self.read(seal.key)

    def read(self, key: bytes) -> Iterator[bytes]:
        """The content in pieces, from just behind the head, with the checksum at the end."""
        cipher, digest = AESGCM(key), hashlib.sha256(self._preamble)
        bound = digest.digest()
        for number, sealed, last in _numbered(self._chunks(digest)):
            try:
                yield cipher.decrypt(_nonce(self._header, number, last=last), sealed, bound)
            except InvalidTag:
                message = f"was altered: part {number + 1} is not what was written"
                raise self.refusal(message) from None
        self._compare(digest)

    def refusal(self, message: str) -> InvalidInput:
        """An error that names the file."""
        return InvalidInput(message, path=self._name)

    def damaged(self) -> InvalidInput:
        """The error of a file that a disk or a transfer changed."""
        return self.refusal("is damaged: its checksum does not match")

    def _parse_header(self, raw: bytes) -> backup_pb2.ArchiveHeader:
        try:
            header = backup_pb2.ArchiveHeader.FromString(raw)
        except DecodeError:
            raise self.damaged() from None
        if not _cost(header).is_bearable:
            raise self.damaged()
        if len(header.nonce) != CHANCE_BYTES - passphrases.SALT_BYTES or not header.salt:
            raise self.damaged()
        return header

    def _rewind(self) -> None:
        self._file.seek(len(self._preamble))

    def _chunks(self, digest: "hashlib._Hash") -> Iterator[bytes]:
        """Up to the end mark; all of it goes into the digest."""
        while sealed := self._next_chunk():
            digest.update(_LENGTH.pack(len(sealed)) + sealed)
            yield sealed
        digest.update(_LENGTH.pack(0))

    def _compare(self, digest: "hashlib._Hash") -> str:
        stored = self._file.read(_DIGEST_BYTES + 1)
        if len(stored) < _DIGEST_BYTES:
            raise self._cut_off()
        if stored != digest.digest():
            raise self.damaged()
        return digest.hexdigest()

    def _next_chunk(self) -> bytes:
        """b"" at the end mark."""
        data = self._file.read(_LENGTH.size)
        if len(data) < _LENGTH.size:
            raise self._cut_off()
        size = _LENGTH.unpack(data)[0]
        if size > CHUNK_BYTES + _TAG_BYTES:
            raise self.damaged()
        sealed = self._file.read(size)
        if len(sealed) < size:
            raise self._cut_off()
        return sealed

    def _cut_off(self) -> InvalidInput:
        return self.refusal("is cut off: it was not written to its end")


def _key(header: backup_pb2.ArchiveHeader, passphrase: Secret) -> bytes:
    return passphrases.key_from(passphrase, header.salt, _cost(header))


def _cost(header: backup_pb2.ArchiveHeader) -> Cost:
    return Cost(log_n=header.scrypt_log_n, r=header.scrypt_r, p=header.scrypt_p)


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
