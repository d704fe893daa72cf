"""Apply, Get, List and Delete of configs, over the fake log: what differs from secrets."""

import pytest
from warren.api import convert, warren_pb2
from warren.manager.authorization import ROOT
from warren.manager.configs_api import ConfigsApi
from warren.model.errors import FailedPrecondition, InvalidInput
from warren.model.secrets import ConfigReference, ConfigSpec
from warren.model.views import Change, ConfigApplied, ConfigView
from warren.testing.builders import a_config, a_service, a_state

from tests.unit.manager.manager_kit import Kit, a_cluster_state, a_kit

USED = a_cluster_state(
    configs=[a_config()],
    services=[a_service("web", configs=(ConfigReference(name="nginx", template=True, pinned=1),))],
)


def an_apply(value: bytes, *, dry_run: bool = False) -> warren_pb2.ApplyConfigRequest:
    spec = convert.to_message(ConfigSpec(name="nginx"))
    return warren_pb2.ApplyConfigRequest(spec=spec, value=value, dry_run=dry_run)


async def apply(kit: Kit, request: warren_pb2.ApplyConfigRequest) -> ConfigApplied:
    answer = await ConfigsApi(kit.context).apply_config(request, ROOT)
    return convert.from_message(answer, ConfigApplied)


async def test_a_change_is_shown_as_it_is() -> None:
    async with a_kit(a_cluster_state(configs=[a_config()])) as kit:
        answer = await apply(kit, an_apply(b"listen 81;"))

        assert answer == ConfigApplied(
            changed=True,
            before=ConfigSpec(name="nginx"),
            after=ConfigSpec(name="nginx"),
            changes=(Change(path="value", before="version 1", after="version 2"),),
            version=101,
            number=2,
            data_before=b"listen 80;",
            data_after=b"listen 81;",
        )


async def test_what_is_the_same_changes_nothing() -> None:
    async with a_kit(a_cluster_state(configs=[a_config()])) as kit:
        assert not (await apply(kit, an_apply(b"listen 80;"))).changed


async def test_a_config_may_be_empty() -> None:
    async with a_kit(a_state()) as kit:
        assert (await apply(kit, an_apply(b""))).changed


async def test_is_read_back() -> None:
    async with a_kit(a_cluster_state(configs=[a_config()])) as kit:
        api = ConfigsApi(kit.context)

        message = await api.get_config(warren_pb2.GetConfigRequest(name="nginx"), ROOT)
        listed = await api.list_configs(warren_pb2.ListConfigsRequest(), ROOT)

        assert convert.from_message(message, ConfigView).versions[0].data == b"listen 80;"
        assert [each.versions[0].data for each in listed.configs] == [b""]


async def test_a_new_version_is_rolled_out() -> None:
    async with a_kit(USED) as kit:
        answer = await apply(kit, an_apply(b"{{ node.name }}"))

        rollout = kit.state.services["web"].rollout
        assert rollout is not None
        assert answer.rollouts == {"web": rollout.id}


async def test_what_cannot_be_filled_in_where_it_has_to_be_is_refused() -> None:
    async with a_kit(USED) as kit:
        with pytest.raises(InvalidInput, match=r"^nginx\.value: has \{\{ x \}\}, .*service web"):
            await apply(kit, an_apply(b"{{ x }}"))


async def test_what_is_in_use_is_not_removed() -> None:
    async with a_kit(USED) as kit:
        with pytest.raises(FailedPrecondition, match=r"^config nginx is used by service web$"):
            await ConfigsApi(kit.context).delete_config(
                warren_pb2.DeleteConfigRequest(name="nginx"), ROOT
            )
