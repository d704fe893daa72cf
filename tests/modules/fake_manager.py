"""A manager in memory: the real API, decisions and state, behind gRPC, without Raft and workers.

Nodes are ready, and tasks do at once what the image's name says: `fails` in it makes them fail
three times, `hangs` leaves them preparing; all others run. Shared by the tests of the client, of
the CLI and of the modules.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from warren.api import convert, status, warren_pb2, warren_pb2_grpc
from warren.bootstrap import certificates
from warren.core import mesh, reconcile, specs, updates, views
from warren.model.clusters import ClusterSpec, JoinToken
from warren.model.errors import FailedPrecondition, NotFound, Unavailable, WarrenError
from warren.model.nodes import Node, NodeRole, NodeSpec
from warren.model.services import ServiceSpec
from warren.model.tasks import DesiredState, Task, TaskState
from warren.model.views import (
    BackupHead,
    JoinTokenView,
    MeshLink,
    MeshNodeView,
    MeshView,
)
from warren.state import commands, versions
from warren.state.apply import apply
from warren.state.cluster import ClusterState
from warren.store import store
from warren.testing.builders import a_node, a_state, counting_ids

from tests.modules.fake_api import USER, FakeApi

BOTH = (NodeRole.MANAGER, NodeRole.WORKER)


def three_nodes() -> ClusterState:
    """m1, m2, m3, each manager and worker."""
    nodes = [a_node(f"m{number}", number=number, roles=BOTH) for number in (1, 2, 3)]
    return a_state(nodes=nodes, name="demo")


class FakeManager(FakeApi, warren_pb2_grpc.ControlServicer):
    """The Control API over a state that lives here. `calls` are the names of what was asked."""

    def __init__(self, state: ClusterState | None = None) -> None:
        super().__init__()
        self.state = state or three_nodes()
        self.calls: list[str] = []
        self.events: list[Any] = []
        """Messages that Events answers."""
        self.log_lines: list[warren_pb2.LogLine] = []
        self.commands: list[tuple[str, ...]] = []
        """What was to be run in tasks."""
        self.exec_response = warren_pb2.ExecResponse(stdout=b"hello\n", exit_code=0)
        self.cut_links: set[tuple[str, str]] = set()
        self.keeps_rotating = False
        self.unavailable = 0
        """So many calls are answered with: no leader."""
        self.authority = certificates.create_authority("c1", "demo", _now())
        self._changed = threading.Condition()
        self._new_id = counting_ids()
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
        warren_pb2_grpc.add_ControlServicer_to_server(self, self._server)

    def listen_unix(self, path: Path) -> str:
        """Serve on a unix socket, as root's on a manager; answers the endpoint."""
        self._server.add_insecure_port(f"unix:{path}")
        self._server.start()
        return f"unix://{path}"

    def listen_tls(self, authority: certificates.Authority) -> str:
        """Serve on loopback with mutual TLS, as managers do; answers the endpoint."""
        key = certificates.new_key()
        certificate = certificates.sign_node(
            authority,
            certificates.signing_request(key, "m1"),
            node_id="m1",
            name="m1",
            roles=["manager"],
            now=_now(),
        )
        chain = (certificate + authority.certificate).encode()
        credentials = grpc.ssl_server_credentials(
            [(key.encode(), chain)], authority.certificate.encode(), require_client_auth=True
        )
        port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self._server.start()
        return f"127.0.0.1:{port}"

    def stop(self) -> None:
        """Let go of everything, also of watchers."""
        self._server.stop(None).wait()

    def put(self, spec: ServiceSpec) -> None:
        """Store a service as if a user had; another template begins a rollout."""
        before = self.state.services.get(spec.name)
        self._propose(
            updates.change(
                before,
                spec,
                expected_version=before.version if before else 0,
                new_id=self._new_rollout_id(),
                by=USER,
                now=_now(),
            )
        )

    def change_task(self, name: str, *, revision: int = 0, **values: Any) -> None:
        """Report another status of the task in that slot, of the revision if there are two."""
        with self._changed:
            task = next(
                task
                for task in self.state.tasks.values()
                if task.name == name and task.wanted and revision in (0, task.revision)
            )
            self._set(task, since=_now(), **values)
            self._changed.notify_all()

    def reason(self, name: str) -> str:
        """Why the service has not converged, as the API says it."""
        return views.service_view(self.state, name, _now()).status.reason

    # ------------------------------------------------------------ services

    def GetService(self, request: Any, context: Any) -> Any:  # noqa: N802 - names of RPCs
        return self._answer("GetService", context, lambda: self._view(request.name))

    def ListServices(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._answer(
            "ListServices",
            context,
            lambda: warren_pb2.ListServicesResponse(
                services=[self._view(name) for name in sorted(self.state.services)]
            ),
        )

    def StopTask(self, request: Any, context: Any) -> Any:  # noqa: N802
        raise NotImplementedError("no module stops single tasks")

    def WatchService(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        self.calls.append("WatchService")
        sent = None
        while context.is_active():
            with self._changed:
                if request.name not in self.state.services:
                    if sent is None:
                        _abort(context, NotFound(f"there is no service {request.name}"))
                    return
                self._tick()
                view = self._view(request.name)
                if view == sent:
                    self._changed.wait(0.05)
                    continue
            yield view
            sent = view

    # ------------------------------------------------------------ nodes and cluster

    def ApplyNode(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._answer("ApplyNode", context, lambda: self._apply_node(request))

    def GetNode(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._answer("GetNode", context, lambda: self._node_view(request.name))

    def ListNodes(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._answer(
            "ListNodes",
            context,
            lambda: warren_pb2.ListNodesResponse(
                nodes=[self._node_view(name) for name in sorted(self.state.nodes)]
            ),
        )

    def DeleteNode(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._answer("DeleteNode", context, lambda: self._delete_node(request))

    def MeasureMesh(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._answer("MeasureMesh", context, lambda: convert.to_message(self._mesh_view()))

    def RotateKeys(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._answer("RotateKeys", context, lambda: self._rotate_keys(request))

    def GetCluster(self, request: Any, context: Any) -> Any:  # noqa: N802
        view = views.cluster_view(
            self.state,
            leader_id="m1",
            reachable=frozenset(self.state.nodes),
            term=2,
            warren="0.1.0",
        )
        return self._answer("GetCluster", context, lambda: convert.to_message(view))

    def ApplyCluster(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._answer("ApplyCluster", context, lambda: self._apply_cluster(request))

    def CreateJoinToken(self, request: Any, context: Any) -> Any:  # noqa: N802
        role = NodeRole.MANAGER if request.role == warren_pb2.NODE_ROLE_MANAGER else NodeRole.WORKER
        expires_at = _now() + request.expires_in.ToTimedelta()
        token = JoinToken(
            id=f"token{len(self.state.tokens)}",
            role=role,
            secret_hash="00",
            created_at=_now(),
            expires_at=expires_at,
        )
        self._propose(commands.AddJoinToken(token=token))
        view = JoinTokenView(
            id=token.id,
            role=role,
            created_at=token.created_at,
            expires_at=expires_at,
            token="warren-1-w-text",
        )
        return self._answer("CreateJoinToken", context, lambda: convert.to_message(view))

    def ListJoinTokens(self, request: Any, context: Any) -> Any:  # noqa: N802
        found = [
            JoinTokenView(id=t.id, role=t.role, created_at=t.created_at, expires_at=t.expires_at)
            for t in self.state.tokens.values()
        ]
        return self._answer(
            "ListJoinTokens",
            context,
            lambda: warren_pb2.ListJoinTokensResponse(tokens=map(convert.to_message, found)),
        )

    def DeleteJoinToken(self, request: Any, context: Any) -> Any:  # noqa: N802
        changed = request.id in self.state.tokens
        self._propose(commands.RemoveJoinToken(token_id=request.id))
        return self._answer(
            "DeleteJoinToken", context, lambda: warren_pb2.DeleteJoinTokenResponse(changed=changed)
        )

    def IssueOperatorCertificate(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._answer(
            "IssueOperatorCertificate",
            context,
            lambda: warren_pb2.IssueOperatorCertificateResponse(
                certificate=certificates.sign_operator(
                    self.authority, request.csr, name=request.name, now=_now()
                ),
                ca_certificate=self.authority.certificate,
                endpoints=["192.0.2.1:7443", "192.0.2.2:7443"],
                cluster="demo",
            ),
        )

    def Backup(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        self.calls.append("Backup")
        cluster = self.state.cluster
        assert cluster is not None
        head = BackupHead(
            cluster=cluster.spec.name,
            cluster_id=cluster.id,
            created_at=_now(),
            index=self.state.index,
            nodes=len(self.state.nodes),
            services=len(self.state.services),
            commands_version=versions.COMMANDS_VERSION,
            warren="0.1.0",
        )
        yield warren_pb2.BackupPart(head=convert.to_message(head))
        for piece in store.pieces(self.state):
            yield warren_pb2.BackupPart(data=piece)

    # ------------------------------------------------------------ tasks

    def Logs(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        self.calls.append("Logs")
        if request.service and request.service not in self.state.services:
            _abort(context, NotFound(f"there is no service {request.service}"))
        yield from self.log_lines[-request.tail :]

    def Events(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        self.calls.append("Events")
        yield from (e for e in self.events if request.service in ("", e.service))

    def Exec(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.commands.append(tuple(request.command))
        return self._answer("Exec", context, lambda: self.exec_response)

    # ------------------------------------------------------------ how it answers

    def _answer(self, name: str, context: Any, work: Callable[[], Any]) -> Any:
        if name:
            self.calls.append(name)
        if self.unavailable:
            self.unavailable -= 1
            _abort(context, Unavailable("no leader is known"))
        try:
            return work()
        except WarrenError as error:
            return _abort(context, error)

    def _mesh_view(self) -> MeshView:
        """Half a millisecond everywhere, but for `cut_links`."""
        nodes = sorted(self.state.nodes.values(), key=lambda node: node.spec.name)
        assert self.state.cluster is not None
        return MeshView(
            mtu=1420,
            nodes=tuple(
                MeshNodeView(name=node.spec.name, mesh=node.mesh, state=node.status.state, mtu=1420)
                for node in nodes
            ),
            links=tuple(
                self._link(one, other) for one in nodes for other in nodes if one is not other
            ),
        )

    def _link(self, one: Node, other: Node) -> MeshLink:
        link = MeshLink(source=one.spec.name, target=other.spec.name, endpoint=other.mesh.endpoint)
        if (link.source, link.target) in self.cut_links:
            return link
        return replace(
            link,
            reachable=True,
            latency=timedelta(milliseconds=0.5),
            mtu=1420,
            handshake_age=timedelta(seconds=7),
        )

    def _rotate_keys(self, request: Any) -> Any:
        """All steps at once, unless `keeps_rotating`."""
        age = request.older_than.ToTimedelta()
        names = request.names or sorted(self.state.nodes)
        found = [n for n in names if mesh.wants_new_key(self.state.nodes[n], age, _now())]
        for name in () if request.dry_run else found:
            key = f"{self.state.nodes[name].mesh.public_key} anew"
            self._propose(commands.RequestKeyRotation(node_id=name))
            if self.keeps_rotating:
                continue
            self._propose(commands.OfferNodeKey(node_id=name, public_key=key))
            self._propose(commands.AllowKeySwitch(node_id=name, public_key=key))
            self._propose(commands.FinishKeyRotation(node_id=name, public_key=key, now=_now()))
        return warren_pb2.RotateKeysResponse(names=found)

    def _apply_node(self, request: Any) -> Any:
        node = self._node(request.name)
        spec = convert.from_message(request.spec, NodeSpec)
        after = specs.merge(node.spec, spec, request.fields, path=request.name)
        changes = specs.changes(node.spec, after)
        if changes and not request.dry_run:
            self._propose(
                commands.PutNodeSpec(node_id=node.id, spec=after, expected_version=node.version)
            )
        return warren_pb2.ApplyNodeResponse(
            changed=bool(changes),
            before=convert.to_message(node.spec),
            after=convert.to_message(after),
            changes=map(convert.to_message, changes),
        )

    def _delete_node(self, request: Any) -> Any:
        node = self._node(request.name)
        if not request.force:
            raise FailedPrecondition(f"node {request.name} is ready: use force")
        if not request.dry_run:
            self._propose(commands.RemoveNode(node_id=node.id, now=_now()))
        return warren_pb2.DeleteNodeResponse(changed=True)

    def _apply_cluster(self, request: Any) -> Any:
        cluster = self.state.cluster
        assert cluster is not None
        spec = convert.from_message(request.spec, ClusterSpec)
        after = specs.merge(cluster.spec, spec, request.fields, path="cluster")
        changes = specs.changes(cluster.spec, after)
        if changes and not request.dry_run:
            self._propose(commands.PutClusterSpec(spec=after, expected_version=cluster.version))
        return warren_pb2.ApplyClusterResponse(
            changed=bool(changes),
            before=convert.to_message(cluster.spec),
            after=convert.to_message(after),
            changes=map(convert.to_message, changes),
        )

    def _node(self, name: str) -> Any:
        node = self.state.node_named(name)
        if node is None:
            raise NotFound(f"there is no node {name}")
        return node

    def _node_view(self, name: str) -> Any:
        return convert.to_message(
            views.node_view(
                self.state,
                self._node(name),
                leader_id="m1",
                reachable=frozenset(self.state.nodes),
            )
        )

    def _view(self, name: str) -> Any:
        return convert.to_message(views.service_view(self.state, name, _now()))

    # ------------------------------------------------------------ the cluster behind it

    def _propose(self, command: commands.Command) -> int:
        """Answers the index of the command."""
        with self._changed:
            self.state, outcome = apply(self.state, command)
            index = self.state.index
            if isinstance(outcome, commands.Rejected):
                raise status.error_named(outcome.reason, outcome.message)
            self._tick()
            self._changed.notify_all()
        return index

    def _tick(self) -> None:
        """What is to be done at this moment."""
        with self._changed:
            while self._leader_step() or self._worker_step():
                pass

    def _wait_for_change(self) -> None:
        with self._changed:
            self._changed.wait(0.05)

    def _leader_step(self) -> bool:
        now = _now()
        contacts = dict.fromkeys(self.state.nodes, now)
        carried = dict.fromkeys(self.state.nodes, self.state.index)
        decision = reconcile.reconcile(self.state, now, self._new_id, contacts, carried)
        for command in decision.commands:
            self.state, _ = apply(self.state, command)
        return bool(decision.commands)

    def _worker_step(self) -> bool:
        stepped = False
        for task in list(self.state.tasks.values()):
            state = task.status.state
            if state.terminal or not task.node_id:
                continue
            if task.desired is not DesiredState.RUNNING:
                self._set(task, state=TaskState.STOPPED, since=_now(), address="")
                stepped = True
            elif state is TaskState.ASSIGNED:
                self._set(task, since=_now(), **_fate(task))
                stepped = True
        return stepped

    def _set(self, task: Task, **values: Any) -> None:
        command = commands.SetTaskStatus(task_id=task.id, status=replace(task.status, **values))
        self.state, _ = apply(self.state, command)


def _fate(task: Task) -> dict[str, Any]:
    if "fails" in task.template.image:
        return {
            "state": TaskState.RESTARTING,
            "failures": 3,
            "exit_code": 1,
            "last_log": "KeyError: DATABASE_URL",
        }
    if "hangs" in task.template.image:
        return {"state": TaskState.PREPARING, "message": "pulling the image"}
    return {"state": TaskState.RUNNING, "address": f"10.88.1.{task.slot}"}


def _abort(context: Any, error: WarrenError) -> Any:
    context.set_trailing_metadata(status.metadata_of(error))
    context.abort(status.code_of(error), str(error))


def _now() -> datetime:
    return datetime.now(UTC)
