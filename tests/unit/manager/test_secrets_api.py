"""Apply, Get, List and Delete of secrets, over the fake log."""

import logging
from dataclasses import replace
from datetime import timedelta

import pytest
from warren.api import convert, warren_pb2
from warren.manager.authorization import ROOT, Caller
from warren.manager.secrets_api import SecretsApi
from warren.manager.services_api import ServicesApi
from warren.model.errors import Conflict, FailedPrecondition, InvalidInput, NotFound
from warren.model.secrets import SecretReference, SecretSpec
from warren.model.services import ServiceSpec
from warren.model.views import (
    Change,
    SecretApplied,
    SecretVersionView,
    SecretView,
    ServiceApplied,
)
from warren.store import sealing
from warren.store.store import pieces
from warren.testing.builders import NOON, a_node, a_spec

from tests.unit.manager.manager_kit import Kit, a_cluster_state, a_kit

ONE, TWO = b"marker-one-3f9a", b"marker-two-77c1"


def an_apply(
    name: str = "db",
    value: bytes | None = None,
    *,
    expected_version: int = 0,
    dry_run: bool = False,
    **spec: object,
) -> warren_pb2.ApplySecretRequest:
    return warren_pb2.ApplySecretRequest(
        spec=convert.to_message(SecretSpec(name=name, **spec)),  # type: ignore[arg-type]
        fields=list(spec),
        value=value,
        expected_version=expected_version,
        dry_run=dry_run,
    )


async def apply(
    kit: Kit, request: warren_pb2.ApplySecretRequest, caller: Caller = ROOT
) -> SecretApplied:
    return convert.from_message(
        await SecretsApi(kit.context).apply_secret(request, caller), SecretApplied
    )


async def apply_service(kit: Kit, spec: ServiceSpec, *fields: str) -> ServiceApplied:
    request = warren_pb2.ApplyServiceRequest(spec=convert.to_message(spec), fields=fields)
    return convert.from_message(
        await ServicesApi(kit.context).apply_service(request, ROOT), ServiceApplied
    )


def opened(kit: Kit, name: str = "db") -> list[bytes]:
    """All versions, as a node would be given them."""
    keys = kit.state.secret_keys
    assert keys is not None
    sealer = sealing.Sealer("c1", keys)
    return [sealer.open(name, version) for version in kit.state.secrets[name].versions]


async def test_creates_a_secret() -> None:
    async with a_kit() as kit:
        answer = await apply(kit, an_apply(value=ONE, labels={"team": "a"}))

        assert answer == SecretApplied(
            changed=True,
            before=None,
            after=SecretSpec(name="db", labels={"team": "a"}),
            changes=(
                Change(path="name", before="", after="db"),
                Change(path="labels.team", before="", after="a"),
                Change(path="value", before="", after="version 1 (hidden)"),
            ),
            version=102,
            number=1,
        )
        assert opened(kit) == [ONE]


async def test_the_value_is_nowhere_in_what_is_stored_or_answered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    async with a_kit() as kit:
        api = SecretsApi(kit.context)
        applied = await api.apply_secret(an_apply(value=ONE), ROOT)
        view = await api.get_secret(warren_pb2.GetSecretRequest(name="db"), ROOT)
        listed = await api.list_secrets(warren_pb2.ListSecretsRequest(), ROOT)

        answers = [each.SerializeToString() for each in (applied, view, listed)]
        texts = [*answers, b"".join(pieces(kit.state)), repr(kit.state).encode()]
        texts.append(caplog.text.encode())
        assert not [text for text in texts if ONE in text]


async def test_an_unchanged_value_makes_no_version() -> None:
    async with a_kit() as kit:
        await apply(kit, an_apply(value=ONE))
        index = kit.state.index

        dry = await apply(kit, an_apply(value=ONE, dry_run=True))
        again = await apply(kit, an_apply(value=ONE))

        assert (dry.changed, again.changed, again.number) == (False, False, 1)
        assert again.changes == ()
        assert kit.state.index == index


async def test_another_value_makes_the_next_version() -> None:
    async with a_kit() as kit:
        await apply(kit, an_apply(value=ONE))

        answer = await apply(kit, an_apply(value=TWO))

        assert answer.changes == (
            Change(path="value", before="version 1 (hidden)", after="version 2 (hidden)"),
        )
        assert opened(kit) == [ONE, TWO]


async def test_a_dry_run_changes_nothing_and_tells_the_same() -> None:
    async with a_kit() as kit:
        before = kit.state

        dry = await apply(kit, an_apply(value=ONE, dry_run=True))
        assert kit.state == before
        real = await apply(kit, an_apply(value=ONE))

        assert replace(dry, version=real.version) == real


async def test_labels_change_without_the_value() -> None:
    async with a_kit() as kit:
        await apply(kit, an_apply(value=ONE))

        answer = await apply(kit, an_apply(labels={"a": "b"}))

        assert answer.changes == (Change(path="labels.a", before="", after="b"),)
        assert opened(kit) == [ONE]


async def test_a_new_version_is_rolled_out_to_those_who_follow() -> None:
    async with a_kit(a_cluster_state(nodes=[a_node("w1")])) as kit:
        await apply(kit, an_apply(value=ONE))
        spec = a_spec(secrets=(SecretReference(name="db"),))
        created = await apply_service(kit, spec, "image", "secrets")
        assert created.after.secrets[0].pinned == 1

        dry = await apply(kit, an_apply(value=TWO, dry_run=True))
        real = await apply(kit, an_apply(value=TWO))

        rollout = kit.state.services["web"].rollout
        assert rollout is not None
        assert real.rollouts == {"web": rollout.id}
        assert set(dry.rollouts) == {"web"}
        assert kit.state.services["web"].spec.secrets[0].pinned == 2
        same = await apply_service(kit, spec, "image", "secrets")
        assert not same.changed


async def test_a_repeated_call_makes_one_version_and_one_rollout() -> None:
    async with a_kit(a_cluster_state(nodes=[a_node("w1")])) as kit:
        await apply(kit, an_apply(value=ONE))
        spec = a_spec(secrets=(SecretReference(name="db"),))
        await apply_service(kit, spec, "image", "secrets")
        caller = replace(ROOT, call="call-1")

        first = await apply(kit, an_apply(value=TWO), caller)
        again = await apply(kit, an_apply(value=TWO), replace(caller, attempt=2))

        assert (first.changed, again.changed) == (True, True)
        assert opened(kit) == [ONE, TWO]
        assert len(kit.state.services["web"].rollouts) == 1


@pytest.mark.parametrize(
    ("request_", "refusal"),
    [
        (an_apply(value=b""), "db.value: must not be empty"),
        (an_apply(), "db.value: is required"),
        (an_apply(value=b"x" * 512_001), "db.value: 512001 bytes are more than 500 KiB"),
        (an_apply("DB", ONE), "secret.name: 'DB' is not a DNS label"),
        (an_apply(value=ONE, keep_versions=0), "db.keep_versions: 0 is not between 1 and 100"),
    ],
)
async def test_bad_input_is_one_clear_line(
    request_: warren_pb2.ApplySecretRequest, refusal: str
) -> None:
    async with a_kit() as kit:
        with pytest.raises(InvalidInput) as error:
            await apply(kit, request_)

        assert str(error.value).startswith(refusal)
        assert ONE.decode() not in str(error.value)
        assert kit.state.secrets == {}


async def test_the_largest_value_is_taken() -> None:
    async with a_kit() as kit:
        await apply(kit, an_apply(value=b"x" * 512_000))

        assert len(opened(kit)[0]) == 512_000


async def test_a_version_that_is_not_expected_is_a_conflict() -> None:
    async with a_kit() as kit:
        with pytest.raises(NotFound, match=r"^there is no secret db$"):
            await apply(kit, an_apply(value=ONE, expected_version=5))
        await apply(kit, an_apply(value=ONE))
        with pytest.raises(Conflict, match=r"^secret db was changed: version 102, not 5$"):
            await apply(kit, an_apply(value=TWO, expected_version=5))


async def test_a_service_cannot_refer_to_a_secret_that_does_not_exist() -> None:
    async with a_kit() as kit:
        with pytest.raises(FailedPrecondition, match=r"^web\.secrets\[0\]\.name: there is no"):
            await apply_service(
                kit, a_spec(secrets=(SecretReference(name="db"),)), "image", "secrets"
            )

        assert kit.state.services == {}


async def test_shows_versions_and_users() -> None:
    async with a_kit(a_cluster_state(nodes=[a_node("w1")])) as kit:
        await apply(kit, an_apply(value=ONE))
        await apply_service(
            kit, a_spec(secrets=(SecretReference(name="db", version=1),)), "image", "secrets"
        )
        kit.clock.advance(timedelta(seconds=9))
        await apply(kit, an_apply(value=TWO))

        api = SecretsApi(kit.context)
        message = await api.get_secret(warren_pb2.GetSecretRequest(name="db"), ROOT)
        later = NOON + timedelta(seconds=9)
        assert convert.from_message(message, SecretView) == SecretView(
            spec=SecretSpec(name="db"),
            version=kit.state.secrets["db"].version,
            created_at=NOON,
            updated_at=later,
            versions=(
                SecretVersionView(number=1, created_at=NOON, size=len(ONE), services=("web",)),
                SecretVersionView(number=2, created_at=later, size=len(TWO)),
            ),
            services=("web",),
        )
        with pytest.raises(NotFound, match=r"^there is no secret x$"):
            await api.get_secret(warren_pb2.GetSecretRequest(name="x"), ROOT)


async def test_removes_what_nobody_uses_once() -> None:
    async with a_kit() as kit:
        await apply(kit, an_apply(value=ONE))
        api = SecretsApi(kit.context)

        dry = await api.delete_secret(warren_pb2.DeleteSecretRequest(name="db", dry_run=True), ROOT)
        assert set(kit.state.secrets) == {"db"}
        first = await api.delete_secret(warren_pb2.DeleteSecretRequest(name="db"), ROOT)
        again = await api.delete_secret(warren_pb2.DeleteSecretRequest(name="db"), ROOT)

        assert (dry.changed, first.changed, again.changed) == (True, True, False)
        assert kit.state.secrets == {}


async def test_what_is_in_use_is_not_removed() -> None:
    async with a_kit(a_cluster_state(nodes=[a_node("w1")])) as kit:
        await apply(kit, an_apply(value=ONE))
        spec = a_spec(secrets=(SecretReference(name="db"),))
        await apply_service(kit, spec, "image", "secrets")

        for dry_run in (True, False):
            with pytest.raises(FailedPrecondition, match=r"^secret db is used by service web$"):
                await SecretsApi(kit.context).delete_secret(
                    warren_pb2.DeleteSecretRequest(name="db", dry_run=dry_run), ROOT
                )
