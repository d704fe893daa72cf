"""The archive: what goes in comes out, and nothing else does."""

import hashlib
import io
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from warren.api import convert
from warren.model.errors import InvalidInput
from warren.model.services import Secret
from warren.model.views import BackupHead
from warren.store import archives, backup
from warren.store.backup import Archive
from warren.store.passphrases import Cost
from warren.testing.builders import NOON, a_node, a_service, a_state

PASSPHRASE = Secret("correct horse battery")
CHEAP = Cost(log_n=1, r=1, p=1)
HEAD = BackupHead(
    cluster="demo",
    cluster_id="c1",
    created_at=NOON,
    index=7,
    nodes=1,
    services=1,
    commands_version=1,
    warren="0.1.0",
)
STATE = a_state(nodes=[a_node("m1")], services=[a_service("web")], name="demo")


def an_archive(content: bytes = b"state", *, passphrase: Secret = PASSPHRASE) -> bytes:
    parts = backup.write(HEAD, [content], passphrase, chance=bytes(range(23)), cost=CHEAP)
    return b"".join(parts)


def opened(data: bytes) -> Archive:
    return Archive(io.BytesIO(data), "demo.backup")


def refusal(data: bytes, passphrase: Secret = PASSPHRASE) -> str:
    """What is said of it by who checks it, and then reads it."""

    def read() -> None:
        archive = opened(data)
        archive.check()
        list(archive.pieces(passphrase))

    with pytest.raises(InvalidInput) as refused:
        read()
    return str(refused.value)


def test_a_state_comes_back_whole() -> None:
    content = convert.to_message(STATE).SerializeToString()

    archive = opened(an_archive(content))

    archive.check()
    assert archive.head == HEAD
    assert archive.state(PASSPHRASE) == STATE


@given(st.lists(st.integers(0, 3 * archives.CHUNK_BYTES // 2), max_size=4))
def test_pieces_of_any_size_come_back(sizes: list[int]) -> None:
    pieces = [bytes([65 + number]) * size for number, size in enumerate(sizes)]

    parts = backup.write(HEAD, pieces, PASSPHRASE, chance=bytes(23), cost=CHEAP)
    archive = opened(b"".join(parts))
    archive.check()

    assert b"".join(archive.pieces(PASSPHRASE)) == b"".join(pieces)


def test_the_content_cannot_be_seen() -> None:
    assert b"very secret" not in an_archive(b"very secret")


def test_a_wrong_passphrase_is_told_from_damage() -> None:
    said = refusal(an_archive(), Secret("wrong horse battery"))

    assert said == "demo.backup: the passphrase is not the one it was made with"


def test_a_short_passphrase_is_refused() -> None:
    with pytest.raises(InvalidInput, match="backup passphrase: must have at least 8 characters"):
        an_archive(passphrase=Secret("horse"))


def test_every_cut_is_noticed() -> None:
    whole = an_archive()

    said = {refusal(whole[:size]) for size in range(14, len(whole))}

    assert said == {"demo.backup: is cut off: it was not written to its end"}


def test_every_altered_byte_is_noticed() -> None:
    whole = an_archive()

    for place in range(len(whole)):
        altered = bytearray(whole)
        altered[place] ^= 1
        refusal(bytes(altered))


def test_an_alteration_that_minds_the_checksum_is_noticed() -> None:
    body = bytearray(an_archive(b"a" * 100)[:-32])
    body[-20] ^= 1
    said = refusal(bytes(body) + hashlib.sha256(body).digest())

    assert said == "demo.backup: was altered: part 1 is not what was written"


def test_a_part_that_was_left_out_is_noticed() -> None:
    whole = an_archive(b"a" * (archives.CHUNK_BYTES + 10))
    end = 10 + 16 + 4 + 4 + 32
    body = whole[:-end] + bytes(4)
    said = refusal(body + hashlib.sha256(body).digest())

    assert said == "demo.backup: was altered: part 1 is not what was written"


def test_something_after_the_end_is_noticed() -> None:
    assert refusal(an_archive() + b"x") == "demo.backup: is damaged: its checksum does not match"


def test_a_newer_format_asks_for_a_newer_warren() -> None:
    newer = bytearray(an_archive())
    newer[14] = 2

    said = refusal(bytes(newer))

    assert said == (
        "demo.backup: has format 2, and this version of Warren reads format 1: use a newer Warren"
    )


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04" + bytes(100), b"warren"])
def test_another_file_is_no_backup(data: bytes) -> None:
    assert refusal(data) == "demo.backup: is not a backup of Warren"


def test_a_header_that_asks_for_all_memory_is_refused() -> None:
    greedy = Cost(log_n=1, r=1, p=9)
    parts = backup.write(HEAD, [b""], PASSPHRASE, chance=bytes(23), cost=greedy)

    assert refusal(b"".join(parts)) == "demo.backup: is damaged: its checksum does not match"


def test_the_state_of_another_cluster_than_the_head_says_is_refused() -> None:
    assert STATE.cluster is not None
    other = replace(STATE, cluster=replace(STATE.cluster, id="c2"))
    data = an_archive(convert.to_message(other).SerializeToString())

    with pytest.raises(InvalidInput, match="holds no cluster's state"):
        opened(data).state(PASSPHRASE)
