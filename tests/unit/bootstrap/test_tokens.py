"""A join token says what is wrong with it before anyone is asked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from warren.bootstrap import tokens
from warren.bootstrap.tokens import Token
from warren.model.errors import InvalidInput
from warren.model.nodes import NodeRole
from warren.model.services import Secret

TOKEN = Token(role=NodeRole.WORKER, ca_digest=bytes(range(32)), secret=bytes(range(32, 64)))
TEXT = TOKEN.text()


@given(
    role=st.sampled_from(NodeRole),
    digest=st.binary(min_size=32, max_size=32),
    secret=st.binary(min_size=32, max_size=32),
)
def test_reads_what_it_wrote(role: NodeRole, digest: bytes, secret: bytes) -> None:
    token = Token(role=role, ca_digest=digest, secret=secret)

    assert tokens.parse(f"  {token.text()}\n") == token


@given(position=st.integers(0, len(TEXT) - 1), letter=st.sampled_from("abcdefgh234567mw-019"))
def test_one_wrong_letter_is_always_found(position: int, letter: str) -> None:
    mistyped = TEXT[:position] + letter + TEXT[position + 1 :]
    if mistyped == TEXT:
        return

    with pytest.raises(InvalidInput, match=r"^join token: "):
        tokens.parse(mistyped)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (TEXT[:-1] + "x", "is mistyped or cut off: one has 121 characters"),
        (TEXT[:30], "is mistyped or cut off: one has 121 characters"),
        (TEXT.replace("-w-", "-m-"), "is mistyped: check digits do not match"),
        ("warren-2-w-abc", "is of a kind that this version of Warren does not know"),
        ("SWMTKN-1-abc", "is not a join token: one begins with warren-1-"),
        ("", "is not a join token: one begins with warren-1-"),
    ],
)
def test_says_what_is_wrong(text: str, sentence: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        tokens.parse(text)

    assert str(refused.value) == f"join token: {sentence}"


def a_token(call: str = "c1", role: NodeRole = NodeRole.MANAGER, key: str = "key") -> Token:
    return tokens.new(role, b"d" * 32, key=Secret(key), call=call)


def test_tokens_of_two_calls_differ_in_their_secrets_alone() -> None:
    one, other = a_token("c1"), a_token("c2")

    assert one.secret != other.secret
    assert (one.role, one.ca_digest) == (other.role, other.ca_digest)
    assert one.id == one.secret_hash[:8]
    assert len(one.text()) == 121


def test_a_call_has_one_token_which_only_the_key_tells() -> None:
    assert a_token() == a_token()
    assert (
        len({a_token().secret, a_token(role=NodeRole.WORKER).secret, a_token(key="k").secret}) == 3
    )
