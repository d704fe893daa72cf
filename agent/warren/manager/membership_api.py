"""Membership and Managers: Join, AddMember, GetLeader.

Join admits a host as a node: its token is checked, its key certified, its place in the mesh given.
AddMember makes a manager that has joined and is listening a member of the replicated log.
"""

import asyncio
import hmac
import logging
from contextlib import suppress
from datetime import timedelta
from ipaddress import IPv4Address

from warren.api import convert, warren_pb2
from warren.bootstrap import certificates, tokens
from warren.bootstrap.create import new_id
from warren.bootstrap.tokens import Token
from warren.core import allocator, assignment
from warren.manager.authorization import Caller
from warren.manager.certificates_api import authority_of
from warren.manager.cluster import ManagerContext, cluster_of
from warren.model.assignments import ManagerAddress
from warren.model.clusters import Cluster
from warren.model.constraints import DNS_LABEL
from warren.model.errors import (
    AlreadyExists,
    Conflict,
    InvalidInput,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from warren.model.nodes import Node, NodeDescription, NodeMesh, NodeRole, NodeSpec, NodeStatus
from warren.state.cluster import ClusterState
from warren.state.commands import AddNode
from warren.store.log import LogMember

logger = logging.getLogger(__name__)

ATTEMPTS = 10
"""Hosts that join at once compete for addresses."""
LISTEN_TIMEOUT = timedelta(seconds=2)
LEADER_PATIENCE = timedelta(seconds=2)
"""For which GetLeader waits for an election, when it is asked to."""
NODE_ID_DIGITS = 10


class MembershipApi:
    """Handlers; the names are those of the RPCs."""

    def __init__(self, context: ManagerContext) -> None:
        self._context = context
        self._adding = asyncio.Lock()
        """One change of members at a time: others wait for their turn instead of being refused."""

    async def join(
        self, request: warren_pb2.JoinRequest, caller: Caller
    ) -> warren_pb2.JoinResponse:
        token = tokens.parse(request.token)
        spec = convert.from_message(request.spec, NodeSpec)
        for attempt in range(1, ATTEMPTS + 1):
            state = await self._context.store.barrier()
            cluster = cluster_of(state)
            self._check_token(state, cluster, token, spec)
            node = _joined_before(state, spec, request.public_key)
            if node is not None:
                return self._welcome(state, cluster, node, request.csr)
            node = self._new_node(state, cluster, request, spec)
            # Signing first: a request that cannot be signed must not leave a node behind.
            answer = self._welcome(state, cluster, node, request.csr)
            try:
                await self._context.store.commit(AddNode(node=node))
            except Conflict:
                if attempt == ATTEMPTS:
                    raise
                continue
            logger.info("node %s joined with token %s", spec.name, token.id)
            return answer
        raise AssertionError("the last attempt answers or raises")

    def _check_token(
        self, state: ClusterState, cluster: Cluster, token: Token, spec: NodeSpec
    ) -> None:
        """Refuse in the words of who made the token. Unknown before expired: expired ones go."""
        name = cluster.spec.name
        if token.ca_digest != certificates.digest(cluster.ca_certificate):
            raise Unauthenticated(f"this join token is of another cluster than {name}")
        stored = state.tokens.get(token.id)
        if stored is None or not hmac.compare_digest(stored.secret_hash, token.secret_hash):
            message = f"cluster {name} does not know this join token: revoked, or long expired"
            raise Unauthenticated(message)
        if stored.expires_at <= self._context.now():
            when = stored.expires_at.strftime("%Y-%m-%d %H:%M UTC")
            raise Unauthenticated(f"join token {stored.id} expired at {when}: make a new one")
        if stored.role is not token.role:
            raise Unauthenticated(f"join token {stored.id} was altered: it is of another role")
        if stored.role is NodeRole.WORKER and NodeRole.MANAGER in spec.roles:
            message = f"join token {stored.id} admits workers, and {spec.name} is to be a manager"
            raise Unauthenticated(message)

    def _new_node(
        self,
        state: ClusterState,
        cluster: Cluster,
        request: warren_pb2.JoinRequest,
        spec: NodeSpec,
    ) -> Node:
        _check_request(request, spec)
        used = [node.mesh for node in state.nodes.values()]
        address, subnet = allocator.allocate_mesh(cluster.spec, used)
        host, _, port = request.endpoint.partition(":")
        now = self._context.now()
        return Node(
            id=new_id(NODE_ID_DIGITS),
            spec=spec,
            description=NodeDescription(address=host),
            mesh=NodeMesh(
                public_key=request.public_key,
                endpoint=f"{host}:{port or cluster.spec.mesh_port}",
                address=address,
                subnet=subnet,
            ),
            status=NodeStatus(since=now),
            joined_at=now,
        )

    def _welcome(
        self, state: ClusterState, cluster: Cluster, node: Node, request: str
    ) -> warren_pb2.JoinResponse:
        certificate = certificates.sign_node(
            authority_of(cluster),
            request,
            node_id=node.id,
            name=node.spec.name,
            roles=[role.value for role in node.spec.roles],
            now=self._context.now(),
        )
        managers = (assignment.manager_address(cluster.spec, each) for each in state.managers())
        return warren_pb2.JoinResponse(
            node=convert.to_message(node),
            certificate=certificate,
            ca_certificate=cluster.ca_certificate,
            cluster_id=cluster.id,
            managers=[convert.to_message(manager) for manager in managers],
            spec=convert.to_message(cluster.spec),
        )

    async def add_member(
        self, request: warren_pb2.AddMemberRequest, caller: Caller
    ) -> warren_pb2.AddMemberResponse:
        """For the calling manager itself. Asked at each of its starts; mostly it is one already."""
        state = await self._context.store.barrier()
        cluster = cluster_of(state)
        node = state.nodes.get(request.node_id)
        if node is None or request.node_id != caller.name:
            raise PermissionDenied(f"{caller.name} is not a node of cluster {cluster.spec.name}")
        if NodeRole.MANAGER not in node.spec.roles:
            raise PermissionDenied(f"{node.spec.name} is a worker")
        address = assignment.manager_address(cluster.spec, node)
        async with self._adding:
            roster = self._context.store.status.roster
            if not any(member.node_id == node.id and member.voter for member in roster):
                await _require_listening(address)
                await self._context.store.barrier()
                await self._context.store.add_member(
                    LogMember(node_id=node.id, address=address.raft)
                )
                logger.info("manager %s is a member of the log", node.spec.name)
        return warren_pb2.AddMemberResponse(
            managers=[convert.to_message(manager) for manager in self._context.managers()]
        )

    async def get_leader(
        self, request: warren_pb2.GetLeaderRequest, caller: Caller
    ) -> warren_pb2.GetLeaderResponse:
        """From what this manager knows, also without a majority."""
        if request.wait:
            with suppress(TimeoutError):
                async with asyncio.timeout(LEADER_PATIENCE.total_seconds()):
                    await self._context.wait_leader()
        leader = self._context.leader()
        if request.wait and not self._context.is_led():
            leader = None
        managers = [convert.to_message(manager) for manager in self._context.managers()]
        if leader is None:
            return warren_pb2.GetLeaderResponse(managers=managers)
        return warren_pb2.GetLeaderResponse(leader=convert.to_message(leader), managers=managers)


def _joined_before(state: ClusterState, spec: NodeSpec, public_key: str) -> Node | None:
    """The node that this host is, if it was admitted before; AlreadyExists if another is it."""
    node = state.node_named(spec.name)
    if node is None:
        return None
    if node.mesh.public_key != public_key:
        raise AlreadyExists(
            f"a node named {spec.name} is in the cluster, with another mesh key: "
            f"remove it first (warren node rm {spec.name}), or give this host another name"
        )
    if node.spec.roles != spec.roles:
        roles = " and ".join(role.value for role in node.spec.roles)
        raise AlreadyExists(f"{spec.name} is in the cluster already, as {roles}")
    return node


def _check_request(request: warren_pb2.JoinRequest, spec: NodeSpec) -> None:
    if refusal := DNS_LABEL.check(spec.name):
        raise InvalidInput(refusal, path="name")
    if not spec.roles:
        raise InvalidInput("must name manager, worker, or both", path="roles")
    if not request.public_key:
        raise InvalidInput("must not be empty", path="public_key")
    try:
        IPv4Address(request.endpoint.partition(":")[0])
    except ValueError as error:
        message = f"{request.endpoint!r} is not an IPv4 address"
        raise InvalidInput(message, path="endpoint") from error


async def _require_listening(manager: ManagerAddress) -> None:
    """A member that does not answer would take the majority away from a cluster of two."""
    host, _, port = manager.raft.rpartition(":")
    writer = None
    try:
        async with asyncio.timeout(LISTEN_TIMEOUT.total_seconds()):
            _, writer = await asyncio.open_connection(host, int(port))
    except (OSError, TimeoutError) as error:
        message = f"{manager.name} does not answer at {manager.raft} in the mesh yet"
        raise Unavailable(message) from error
    finally:
        if writer is not None:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
