"""Makes this manager a member of the replicated log, and keeps its list of managers fresh on disk.

At each start the manager asks the others to add it, because it cannot know whether they did: its
own log may be empty, or end before the moment. Its engine listens already, so that the leader may
count on it from then on.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

import grpc

from warren.api import status, warren_pb2, warren_pb2_grpc
from warren.bootstrap import node_files
from warren.bootstrap.node_files import Credentials
from warren.manager.cluster import ManagerContext
from warren.manager.forwarding import open_channel
from warren.model.assignments import ManagerAddress
from warren.model.errors import PermissionDenied, WarrenError
from warren.model.nodes import Node, NodeRole

logger = logging.getLogger(__name__)

PAUSE = timedelta(seconds=0.5)
PAUSE_MAX = timedelta(seconds=30)
"""Of a host that was removed: each refusal doubles the pause, until a person resets the host."""
CALL_TIMEOUT = timedelta(seconds=15)


async def join_members(context: ManagerContext, credentials: Callable[[], Credentials]) -> None:
    """Ask until a manager says yes; returns at once on the only manager there is."""
    membership = context.membership
    others = [m for m in membership.managers if m.node_id != membership.node_id]
    said: set[str] = set()
    pause = PAUSE
    while others and not context.leads():
        refusals = []
        for manager in others:
            refusal = await _ask(context, manager, credentials())
            if refusal is None:
                logger.info("member of the log, says %s", manager.name)
                return
            refusals.append(refusal)
            if refusal.message not in said:
                said.add(refusal.message)
                logger.warning("not yet a member of the log: %s: %s", manager.name, refusal)
        pause = next_pause(pause, refusals)
        await asyncio.sleep(pause.total_seconds())


def next_pause(pause: timedelta, refusals: Sequence[WarrenError]) -> timedelta:
    """After one of `pause`. Only who is refused by whoever answers, and not put off, slows down."""
    is_final = any(isinstance(refusal, PermissionDenied) for refusal in refusals)
    return min(2 * pause, PAUSE_MAX) if is_final else PAUSE


async def refresh_managers(context: ManagerContext) -> None:
    """Until cancelled: note in node.json where the managers are."""
    written: tuple[ManagerAddress, ...] = ()
    looked_at: Mapping[str, Node] = {}
    while True:
        count = context.store.changes.count
        state = context.store.state
        if state.nodes is not looked_at and state.cluster is not None:
            looked_at, managers = state.nodes, context.managers()
            if managers != written:
                await _write(context, managers)
                written = managers
        await context.store.changes.wait_newer(count)


async def _write(context: ManagerContext, managers: tuple[ManagerAddress, ...]) -> None:
    try:
        await asyncio.to_thread(node_files.write_managers, context.config, managers)
    except OSError as error:
        logger.warning("cannot note the managers in node.json: %s", error)


async def wait_demoted(context: ManagerContext) -> None:
    """Until the state says that this node, a manager, is one no longer.

    What an old log says before the first news is not believed: it may have been promoted since.
    """
    was_manager = False
    while True:
        count = context.store.changes.count
        node = context.store.state.nodes.get(context.membership.node_id)
        is_manager = node is not None and NodeRole.MANAGER in node.spec.roles
        if was_manager and not is_manager:
            return
        was_manager |= is_manager
        await context.store.changes.wait_newer(count)


async def _ask(
    context: ManagerContext, manager: ManagerAddress, credentials: Credentials
) -> WarrenError | None:
    """None: this manager is a member now. Otherwise why it is not."""
    membership = context.membership
    request = warren_pb2.AddMemberRequest(node_id=membership.node_id, raft=membership.raft_address)
    async with open_channel(manager.api, credentials) as channel:
        stub = warren_pb2_grpc.ManagersStub(channel)
        try:
            await stub.AddMember(request, timeout=CALL_TIMEOUT.total_seconds())
        except grpc.aio.AioRpcError as error:
            return status.error_from_rpc(error)
    return None
