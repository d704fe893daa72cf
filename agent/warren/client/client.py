"""The client: every call of the Control API, typed, against whichever manager serves.

It keeps to one manager until that fails, then goes on to the next; a manager that knows no leader
is asked again until the deadline. Calls that may be repeated are, and what they change is changed
once (`attempts.py`); a command run in a task is not.
Raises only `model.errors`. Threads, and the loop of a daemon, have no place here.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import grpc

from warren.api import convert, status, warren_pb2, warren_pb2_grpc
from warren.client import answers, diagnosis
from warren.client.attempts import Attempts, never_sent
from warren.client.connection import Connection, Wanted, resolve
from warren.client.secret_calls import SecretCalls
from warren.client.volume_calls import VolumeCalls
from warren.model.clusters import ClusterSpec
from warren.model.errors import DeadlineExceeded, Unavailable, WarrenError
from warren.model.events import Event
from warren.model.nodes import NodeRole, NodeSpec
from warren.model.services import ServiceSpec
from warren.model.views import (
    BackupHead,
    ClusterView,
    JoinTokenView,
    MeshView,
    NodeView,
    RolloutActed,
    RolloutView,
    ServiceApplied,
    ServiceHistory,
    ServiceView,
)

T = TypeVar("T")

CONNECT_TIMEOUT = 5.0
_PAUSE = 0.2
"""Seconds between two questions to a cluster that has no leader."""
_OPTIONS = (
    ("grpc.ssl_target_name_override", diagnosis.SERVER_NAME),
    ("grpc.enable_http_proxy", 0),
    ("grpc.min_reconnect_backoff_ms", 2000),  # also the time that a handshake has
    ("grpc.max_receive_message_length", 64 * 2**20),
)


def connect(
    *,
    endpoints: Sequence[str] = (),
    ca_cert: str = "",
    client_cert: str = "",
    client_key: str = "",
    context: str = "",
    timeout: float = 10.0,
) -> "Client":
    """A client for what the caller, the environment or the host says; see `connection`."""
    wanted = Wanted(
        endpoints=endpoints,
        ca_cert=ca_cert,
        client_cert=client_cert,
        client_key=client_key,
        context=context,
    )
    return Client(resolve(wanted), timeout=timeout)


class Client(SecretCalls, VolumeCalls):
    """Calls of the Control API. No connection is made before the first; close it, or use `with`.

    Reads have everything that was acknowledged before them. With `stale`, any manager answers from
    what it knows, be it old, also without a majority.
    """

    def __init__(self, connection: Connection, *, timeout: float = 10.0) -> None:
        self.connection = connection
        self._timeout = timeout
        self._endpoints = list(connection.endpoints)
        """In the order to try: one that failed goes to the end."""
        self._channel: grpc.Channel | None = None
        self._stub: Any = None
        """Of the channel; making one is slow."""
        self._endpoint = ""

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection; a later call makes a new one."""
        if self._channel is not None:
            self._channel.close()
        self._channel = self._stub = None

    # ------------------------------------------------------------ services

    def apply_service(
        self,
        spec: ServiceSpec,
        fields: Sequence[str],
        *,
        expected_version: int = 0,
        dry_run: bool = False,
    ) -> ServiceApplied:
        """Create or change a service: only `fields` of `spec` are what the user said."""
        request = warren_pb2.ApplyServiceRequest(
            spec=convert.to_message(spec),
            fields=fields,
            expected_version=expected_version,
            dry_run=dry_run,
        )
        return convert.from_message(self._call("ApplyService", request), ServiceApplied)

    def get_service(self, name: str, *, stale: bool = False) -> ServiceView:
        """The service with its tasks. NotFound if there is none."""
        request = warren_pb2.GetServiceRequest(name=name, stale=stale)
        return convert.from_message(self._call("GetService", request), ServiceView)

    def list_services(self, *, stale: bool = False) -> tuple[ServiceView, ...]:
        """All services with their tasks."""
        response = self._call("ListServices", warren_pb2.ListServicesRequest(stale=stale))
        return tuple(convert.from_message(view, ServiceView) for view in response.services)

    def delete_service(
        self, name: str, *, expected_version: int = 0, dry_run: bool = False
    ) -> answers.ServiceDeleted:
        """Mark a service for removal; `waits.wait_service_gone` waits for its end."""
        request = warren_pb2.DeleteServiceRequest(
            name=name, expected_version=expected_version, dry_run=dry_run
        )
        return convert.from_message(self._call("DeleteService", request), answers.ServiceDeleted)

    def watch_service(self, name: str, *, timeout: float) -> Iterator[ServiceView]:
        """The service now and after each change; ends when it is gone, DeadlineExceeded at last."""
        request = warren_pb2.GetServiceRequest(name=name)
        for message in self._stream("WatchService", request, timeout):
            yield convert.from_message(message, ServiceView)

    # ------------------------------------------------------------ rollouts

    def get_rollout(self, service: str, rollout: str = "", *, stale: bool = False) -> RolloutView:
        """The service's newest rollout, or the one of that id. NotFound if there is none."""
        request = warren_pb2.GetRolloutRequest(service=service, rollout=rollout, stale=stale)
        return convert.from_message(self._call("GetRollout", request), RolloutView)

    def list_rollouts(
        self, service: str = "", *, live: bool = False, stale: bool = False
    ) -> tuple[RolloutView, ...]:
        """The newest rollout of every service, or the newest few of one; `live`: only those that
        have not ended."""
        request = warren_pb2.ListRolloutsRequest(service=service, live=live, stale=stale)
        response = self._call("ListRollouts", request)
        return tuple(convert.from_message(view, RolloutView) for view in response.rollouts)

    def watch_rollout(
        self, service: str, rollout: str = "", *, timeout: float
    ) -> Iterator[RolloutView]:
        """The rollout now and after each change; ends with the one that has ended,
        DeadlineExceeded at last."""
        request = warren_pb2.GetRolloutRequest(service=service, rollout=rollout)
        for message in self._stream("WatchRollout", request, timeout):
            yield convert.from_message(message, RolloutView)

    def get_history(self, service: str, *, stale: bool = False) -> ServiceHistory:
        """The revisions that are kept, and the newest rollouts."""
        request = warren_pb2.GetHistoryRequest(service=service, stale=stale)
        return convert.from_message(self._call("GetHistory", request), ServiceHistory)

    def promote_rollout(
        self,
        service: str,
        rollout: str = "",
        *,
        step: int = 0,
        full: bool = False,
        dry_run: bool = False,
    ) -> RolloutActed:
        """Have a rollout go on that waits for it. `step`: from that one, else nothing changes;
        `full`: through all that are left."""
        request = warren_pb2.RolloutActRequest(
            service=service, rollout=rollout, step=step, full=full, dry_run=dry_run
        )
        return self._act("PromoteRollout", request)

    def pause_rollout(
        self, service: str, rollout: str = "", *, dry_run: bool = False
    ) -> RolloutActed:
        """Have it stay as it is, until it is resumed or aborted."""
        request = warren_pb2.RolloutActRequest(service=service, rollout=rollout, dry_run=dry_run)
        return self._act("PauseRollout", request)

    def resume_rollout(
        self, service: str, rollout: str = "", *, dry_run: bool = False
    ) -> RolloutActed:
        """Have a paused one go on; what failed before is forgiven."""
        request = warren_pb2.RolloutActRequest(service=service, rollout=rollout, dry_run=dry_run)
        return self._act("ResumeRollout", request)

    def abort_rollout(
        self, service: str, rollout: str = "", *, reason: str = "", dry_run: bool = False
    ) -> RolloutActed:
        """Have it turn back to where it came from; `rollouts.wait_rollout` waits for that."""
        request = warren_pb2.RolloutActRequest(
            service=service, rollout=rollout, reason=reason, dry_run=dry_run
        )
        return self._act("AbortRollout", request)

    def roll_back_service(
        self,
        service: str,
        revision: int = 0,
        *,
        rollout: str = "",
        reason: str = "",
        dry_run: bool = False,
    ) -> RolloutActed:
        """Go back to a revision that is kept; 0: to the last good one before."""
        request = warren_pb2.RolloutActRequest(
            service=service, rollout=rollout, revision=revision, reason=reason, dry_run=dry_run
        )
        return self._act("RollBackService", request)

    def _act(self, method: str, request: Any) -> RolloutActed:
        return convert.from_message(self._call(method, request), RolloutActed)

    # ------------------------------------------------------------ nodes

    def apply_node(
        self,
        name: str,
        spec: NodeSpec,
        fields: Sequence[str],
        *,
        expected_version: int = 0,
        dry_run: bool = False,
    ) -> answers.NodeApplied:
        """Change what is wanted of a node that is in the cluster."""
        request = warren_pb2.ApplyNodeRequest(
            name=name,
            spec=convert.to_message(spec),
            fields=fields,
            expected_version=expected_version,
            dry_run=dry_run,
        )
        return convert.from_message(self._call("ApplyNode", request), answers.NodeApplied)

    def get_node(self, name: str, *, stale: bool = False) -> NodeView:
        """The node of that name or id."""
        request = warren_pb2.GetNodeRequest(name=name, stale=stale)
        return convert.from_message(self._call("GetNode", request), NodeView)

    def list_nodes(self, *, stale: bool = False) -> tuple[NodeView, ...]:
        """All nodes."""
        response = self._call("ListNodes", warren_pb2.ListNodesRequest(stale=stale))
        return tuple(convert.from_message(view, NodeView) for view in response.nodes)

    def delete_node(self, name: str, *, force: bool = False, dry_run: bool = False) -> bool:
        """Remove a node from the cluster; `force` also one that is still there. True if it was."""
        request = warren_pb2.DeleteNodeRequest(name=name, force=force, dry_run=dry_run)
        return bool(self._call("DeleteNode", request).changed)

    # ------------------------------------------------------------ mesh

    def measure_mesh(self, *, timeout: float = 20.0) -> MeshView:
        """The mesh as every node measures it now."""
        request = warren_pb2.MeasureMeshRequest()
        response = self._call("MeasureMesh", request, timeout=timeout)
        return convert.from_message(response, MeshView)

    def rotate_keys(
        self,
        names: Sequence[str] = (),
        *,
        older_than: timedelta = timedelta(),
        dry_run: bool = False,
    ) -> tuple[str, ...]:
        """Ask these nodes, or all, for new mesh keys; answers who gets one. It takes a while:
        `waits.wait_keys_rotated`."""
        request = warren_pb2.RotateKeysRequest(names=names, dry_run=dry_run)
        request.older_than.FromTimedelta(older_than)
        return tuple(self._call("RotateKeys", request).names)

    # ------------------------------------------------------------ cluster

    def get_cluster(self, *, stale: bool = False, members: bool = False) -> ClusterView:
        """The cluster at a glance; `members`: with the figures of each manager's log."""
        request = warren_pb2.GetClusterRequest(stale=stale, members=members)
        response = self._call("GetCluster", request)
        return convert.from_message(response, ClusterView)

    def apply_cluster(
        self,
        spec: ClusterSpec,
        fields: Sequence[str],
        *,
        expected_version: int = 0,
        dry_run: bool = False,
    ) -> answers.ClusterApplied:
        """Change the cluster's settings."""
        request = warren_pb2.ApplyClusterRequest(
            spec=convert.to_message(spec),
            fields=fields,
            expected_version=expected_version,
            dry_run=dry_run,
        )
        return convert.from_message(self._call("ApplyCluster", request), answers.ClusterApplied)

    def create_join_token(self, role: NodeRole, expires_in: timedelta) -> JoinTokenView:
        """A new token; this answer alone carries its text."""
        request = warren_pb2.CreateJoinTokenRequest(
            role=warren_pb2.NodeRole.Value(f"NODE_ROLE_{role.name}")
        )
        request.expires_in.FromTimedelta(expires_in)
        return convert.from_message(self._call("CreateJoinToken", request), JoinTokenView)

    def list_join_tokens(self) -> tuple[JoinTokenView, ...]:
        """All tokens, without their text."""
        response = self._call("ListJoinTokens", warren_pb2.ListJoinTokensRequest())
        return tuple(convert.from_message(view, JoinTokenView) for view in response.tokens)

    def delete_join_token(self, token_id: str) -> bool:
        """Revoke a token. True if it was there."""
        request = warren_pb2.DeleteJoinTokenRequest(id=token_id)
        return bool(self._call("DeleteJoinToken", request).changed)

    def issue_operator_certificate(self, csr: str, name: str) -> answers.OperatorCertificate:
        """A certificate for an operator whose key made `csr` (PKCS#10, PEM)."""
        request = warren_pb2.IssueOperatorCertificateRequest(csr=csr, name=name)
        response = self._call("IssueOperatorCertificate", request)
        return convert.from_message(response, answers.OperatorCertificate)

    def backup(self, *, timeout: float | None = None) -> tuple[BackupHead, Iterator[bytes]]:
        """The cluster's whole state, in the clear: it must not touch a disk as it is."""
        parts = self._stream("Backup", warren_pb2.BackupRequest(), timeout)
        head = convert.from_message(next(parts).head, BackupHead)
        return head, (part.data for part in parts)

    # ------------------------------------------------------------ tasks

    def logs(
        self,
        *,
        service: str = "",
        task: str = "",
        follow: bool = False,
        tail: int = 0,
        timeout: float | None = None,
    ) -> Iterator[answers.LogLine]:
        """Lines of a service's tasks or of one task; `tail` 0 means all that are kept."""
        request = warren_pb2.LogsRequest(service=service, task=task, follow=follow, tail=tail)
        for message in self._stream("Logs", request, timeout):
            yield convert.from_message(message, answers.LogLine)

    def events(
        self,
        *,
        service: str = "",
        since: timedelta = timedelta(),
        follow: bool = False,
        timeout: float | None = None,
    ) -> Iterator[Event]:
        """What has happened, oldest first; with `follow` for ever, from manager to manager.

        Each manager tells what it has seen itself, so after a change of manager some of it may be
        told again, or not at all.
        """
        request = warren_pb2.EventsRequest(service=service, follow=follow)
        request.since.FromTimedelta(since)
        while True:
            try:
                for message in self._stream("Events", request, timeout):
                    event = convert.from_message(message, Event)
                    request.after = event.index
                    yield event
            except Unavailable:
                if not follow or timeout is not None:
                    raise
                time.sleep(_PAUSE)
                continue
            if not follow:
                return

    def stop_task(self, task: str, *, dry_run: bool = False) -> answers.StoppedTask:
        """Stop a task, by id or as `web.3`, once another has taken its place."""
        answer = self._call("StopTask", warren_pb2.StopTaskRequest(task=task, dry_run=dry_run))
        return answers.StoppedTask(task_id=answer.task_id, changed=answer.changed)

    def execute(self, task: str, command: Sequence[str], *, timeout: timedelta) -> answers.Executed:
        """Run a command in a running task and wait for it. Never repeated."""
        request = warren_pb2.ExecRequest(task=task, command=command)
        request.timeout.FromTimedelta(timeout)
        response = self._call(
            "Exec",
            request,
            timeout=timeout.total_seconds() + self._timeout,
            repeatable=False,
        )
        return convert.from_message(response, answers.Executed)

    # ------------------------------------------------------------ how calls are made

    def _call(
        self, method: str, request: Any, *, timeout: float | None = None, repeatable: bool = True
    ) -> Any:
        attempts = Attempts(method, timeout or self._timeout, repeatable=repeatable)
        return self._attempts(
            attempts,
            lambda call: call(
                request, timeout=attempts.patience(), metadata=attempts.next_metadata()
            ),
        )

    def _stream(self, method: str, request: Any, timeout: float | None) -> Iterator[Any]:
        """Until its first message, a stream is opened again like a call; after it, never."""
        attempts = Attempts(method, timeout, repeatable=True)

        def open_stream(call: Callable[..., Any]) -> tuple[Any, Any]:
            stream = call(request, timeout=attempts.left(), metadata=attempts.next_metadata())
            return stream, next(stream, None)

        stream, message = self._attempts(attempts, open_stream)
        try:
            while message is not None:
                yield message
                message = next(stream, None)
        except grpc.RpcError as error:
            raise status.error_from_rpc(error) from None
        finally:
            stream.cancel()

    def _attempts(self, attempts: Attempts, attempt: Callable[[Callable[..., Any]], T]) -> T:
        """The answer of the first attempt that has one."""
        refusals: dict[str, str] = {}
        while True:
            call = getattr(self._connected(attempts, refusals), attempts.method)
            try:
                return attempt(call)
            except grpc.RpcError as error:
                failure = attempts.note(error)
                again = attempts.goes_on(error, failure, _PAUSE)
                if again:
                    self._move_on(refusals, error, failure)
                else:
                    raise self._last(attempts, refusals, error, failure) from None

    def _move_on(
        self, refusals: dict[str, str], error: grpc.RpcError, failure: WarrenError
    ) -> None:
        """To the next endpoint; one that cannot be talked to is out for this call."""
        if status.is_from_manager(error):
            time.sleep(_PAUSE)
        elif len(self._endpoints) > len(refusals) + 1:
            # Why it failed takes time to find out, and another may answer at once.
            if never_sent(error) or isinstance(failure, DeadlineExceeded):
                refusals[self._endpoint] = ""
        else:
            reason = diagnosis.explain(self._endpoint, self.connection)
            if reason or never_sent(error):
                refusals[self._endpoint] = reason or failure.message
        self._leave()

    def _last(
        self,
        attempts: Attempts,
        refusals: dict[str, str],
        error: grpc.RpcError,
        failure: WarrenError,
    ) -> WarrenError:
        """What the user is told. A manager that kept silent is not asked first the next time."""
        if status.is_from_manager(error):
            return attempts.told(failure)
        if not isinstance(failure, DeadlineExceeded | Unavailable):
            return failure
        endpoint = self._endpoint
        self._leave()
        reason = diagnosis.explain(endpoint, self.connection)
        refusals[endpoint] = reason or failure.message
        if isinstance(failure, DeadlineExceeded) and not reason:
            return attempts.told(DeadlineExceeded(f"{endpoint} did not answer in time"))
        return attempts.told(self._unavailable(refusals))

    def _connected(self, attempts: Attempts, refusals: dict[str, str]) -> Any:
        """The stub in use, or one of the first endpoint that listens and was not refused."""
        if self._stub is not None:
            return self._stub
        candidates = [e for e in self._endpoints if e not in refusals]
        timeout = min(CONNECT_TIMEOUT, attempts.left() or CONNECT_TIMEOUT)
        self._endpoint, silent = diagnosis.first_listening(candidates, timeout)
        refusals.update(silent)
        if not self._endpoint:
            raise attempts.told(self._unavailable(refusals))
        self._channel = self._open(self._endpoint)
        self._stub = warren_pb2_grpc.ControlStub(self._channel)
        return self._stub

    def _open(self, endpoint: str) -> grpc.Channel:
        credentials = self.connection.credentials
        if credentials is None or endpoint.startswith("unix:"):
            return grpc.insecure_channel(endpoint, options=_OPTIONS[1:])
        return grpc.secure_channel(
            endpoint,
            grpc.ssl_channel_credentials(
                credentials.ca_cert.encode(),
                credentials.client_key.encode(),
                credentials.client_cert.encode(),
            ),
            options=_OPTIONS,
        )

    def _leave(self) -> None:
        """Close the connection, and have the other endpoints tried before this one."""
        self.close()
        self._endpoints.remove(self._endpoint)
        self._endpoints.append(self._endpoint)

    def _unavailable(self, refusals: dict[str, str]) -> Unavailable:
        """What stands against each manager that was tried."""
        for endpoint, reason in refusals.items():
            if not reason:
                why = diagnosis.explain(endpoint, self.connection)
                refusals[endpoint] = why or "did not answer in time"
        return Unavailable("; ".join(f"{endpoint}: {why}" for endpoint, why in refusals.items()))
