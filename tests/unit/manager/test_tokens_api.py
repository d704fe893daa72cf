"""Join tokens: one call makes one token, however often it is attempted."""

from dataclasses import replace
from datetime import timedelta

import pytest
from warren.api import warren_pb2
from warren.bootstrap import tokens
from warren.manager.authorization import ROOT
from warren.manager.tokens_api import TokensApi
from warren.model.errors import FailedPrecondition, OutcomeUnknown

from tests.unit.manager.manager_kit import Kit, a_kit

REQUEST = warren_pb2.CreateJoinTokenRequest(role=warren_pb2.NODE_ROLE_WORKER)


async def create(kit: Kit, call: str = "", attempt: int = 1) -> warren_pb2.JoinTokenView:
    caller = replace(ROOT, call=call, attempt=attempt)
    return await TokensApi(kit.context).create_join_token(REQUEST, caller)


async def delete(kit: Kit, token_id: str, call: str, attempt: int = 1) -> bool:
    request = warren_pb2.DeleteJoinTokenRequest(id=token_id)
    caller = replace(ROOT, call=call, attempt=attempt)
    return (await TokensApi(kit.context).delete_join_token(request, caller)).changed


async def test_a_repeated_call_answers_the_token_that_the_first_attempt_made() -> None:
    async with a_kit() as kit:
        first = await create(kit, "c1")
        kit.clock.advance(timedelta(seconds=5))
        again = await create(kit, "c1", 2)

        assert again == first
        assert list(kit.state.tokens) == [first.id]
        assert tokens.parse(first.token).secret_hash == kit.state.tokens[first.id].secret_hash


async def test_a_call_whose_first_attempt_got_lost_makes_one_token() -> None:
    async with a_kit() as kit:
        kit.log.fail_next(outcome_unknown=True)
        with pytest.raises(OutcomeUnknown):
            await create(kit, "c1")
        made = await create(kit, "c1", 2)

        assert list(kit.state.tokens) == [made.id]


async def test_two_calls_make_two_tokens() -> None:
    async with a_kit() as kit:
        made = [await create(kit, call) for call in ("c1", "c2", "", "")]

        assert len({token.token for token in made}) == len(kit.state.tokens) == 4


async def test_a_token_that_was_revoked_since_is_not_answered() -> None:
    async with a_kit() as kit:
        first = await create(kit, "c1")
        await delete(kit, first.id, "c2")
        with pytest.raises(FailedPrecondition, match="was revoked since"):
            await create(kit, "c1", 2)

        assert not kit.state.tokens


async def test_a_repeated_revocation_says_whether_it_was_the_one() -> None:
    async with a_kit() as kit:
        token = await create(kit, "c1")
        first = await delete(kit, token.id, "c2")
        own, others = await delete(kit, token.id, "c2", 2), await delete(kit, token.id, "c3", 2)

        assert (first, own, others) == (True, True, False)
