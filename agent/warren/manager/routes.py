"""The table of all RPCs but the workers' sessions: who may call them, and who answers."""

from collections.abc import Callable
from typing import Any

from google.protobuf import message_factory
from google.protobuf.message import Message

from warren.api import warren_pb2
from warren.manager.authorization import ANYONE, MANAGER, OPERATOR, WORKER
from warren.manager.autolock_api import AutolockApi, UnlockMember, unlock_nobody
from warren.manager.backup_api import BackupApi
from warren.manager.certificates_api import CertificatesApi
from warren.manager.cluster import ManagerContext
from warren.manager.cluster_api import ClusterApi
from warren.manager.configs_api import ConfigsApi
from warren.manager.event_log import EventLog
from warren.manager.events_api import EventsApi
from warren.manager.following import Following
from warren.manager.members_api import AskMember, MembersApi, ask_nobody
from warren.manager.membership_api import MembershipApi
from warren.manager.mesh_api import MeshApi
from warren.manager.nodes_api import NodesApi
from warren.manager.rollouts_api import RolloutsApi
from warren.manager.rpc import Route
from warren.manager.secret_keys_api import SecretKeysApi
from warren.manager.secrets_api import SecretsApi
from warren.manager.services_api import ServicesApi
from warren.manager.sessions import Sessions
from warren.manager.tasks_api import TasksApi
from warren.manager.tokens_api import TokensApi
from warren.manager.volumes_api import VolumesApi

USERS = frozenset({OPERATOR, MANAGER})
NODES = frozenset({MANAGER, WORKER})
CHANGES = (
    *("Apply", "Delete", "Create", "Rotate", "Stop", "Release"),
    *("Promote", "Pause", "Resume", "Abort", "RollBack"),
)
"""How the names of methods begin that change the cluster when a user says so."""
UNREPEATABLE = ("Exec",)
RESUMABLE = ("WatchService", "WatchRollout")
"""Streams that say at first how things are, then what changes."""


def all_routes(
    context: ManagerContext,
    sessions: Sessions,
    ask_member: AskMember = ask_nobody,
    event_log: EventLog | None = None,
    unlock_member: UnlockMember = unlock_nobody,
    following: Following | None = None,
) -> dict[str, Route]:
    """By full method name."""
    services, nodes = ServicesApi(context, following), NodesApi(context)
    cluster, tokens = ClusterApi(context, ask_member), TokensApi(context)
    tasks = TasksApi(context, sessions)
    certificates, membership = CertificatesApi(context), MembershipApi(context)
    rollouts = RolloutsApi(context)
    secrets, configs = SecretsApi(context), ConfigsApi(context)
    secret_keys = SecretKeysApi(context)
    autolock = AutolockApi(context, ask_member, unlock_member)
    members, mesh = MembersApi(context), MeshApi(context, sessions)
    volumes = VolumesApi(context, sessions)
    events = EventsApi(context, event_log or EventLog(context))
    return {
        **_routes(
            "Control",
            USERS,
            {
                "ApplyService": services.apply_service,
                "GetService": services.get_service,
                "ListServices": services.list_services,
                "DeleteService": services.delete_service,
                "WatchService": services.watch_service,
                "GetRollout": rollouts.get_rollout,
                "ListRollouts": rollouts.list_rollouts,
                "WatchRollout": rollouts.watch_rollout,
                "GetHistory": rollouts.get_history,
                "PromoteRollout": rollouts.promote_rollout,
                "PauseRollout": rollouts.pause_rollout,
                "ResumeRollout": rollouts.resume_rollout,
                "AbortRollout": rollouts.abort_rollout,
                "RollBackService": rollouts.roll_back_service,
                "ApplySecret": secrets.apply_secret,
                "GetSecret": secrets.get_secret,
                "ListSecrets": secrets.list_secrets,
                "DeleteSecret": secrets.delete_secret,
                "GetSecretKeys": secret_keys.get_secret_keys,
                "RotateSecretKeys": secret_keys.rotate_secret_keys,
                "GetAutolock": autolock.get_autolock,
                "ApplyAutolock": autolock.apply_autolock,
                "Unlock": autolock.unlock,
                "ApplyConfig": configs.apply_config,
                "GetConfig": configs.get_config,
                "ListConfigs": configs.list_configs,
                "DeleteConfig": configs.delete_config,
                "ApplyVolume": volumes.apply_volume,
                "GetVolume": volumes.get_volume,
                "ListVolumes": volumes.list_volumes,
                "DeleteVolume": volumes.delete_volume,
                "ReleaseVolume": volumes.release_volume,
                "ApplyNode": nodes.apply_node,
                "GetNode": nodes.get_node,
                "ListNodes": nodes.list_nodes,
                "DeleteNode": nodes.delete_node,
                "MeasureMesh": mesh.measure_mesh,
                "RotateKeys": mesh.rotate_keys,
                "GetCluster": cluster.get_cluster,
                "ApplyCluster": cluster.apply_cluster,
                "CreateJoinToken": tokens.create_join_token,
                "ListJoinTokens": tokens.list_join_tokens,
                "DeleteJoinToken": tokens.delete_join_token,
                "IssueOperatorCertificate": certificates.issue_operator_certificate,
                "Logs": tasks.logs,
                "Exec": tasks.exec,
                "StopTask": tasks.stop_task,
            },
        ),
        **_routes("Control", USERS, {"Events": events.events}, leader_only=False),
        **_routes("Control", frozenset({OPERATOR}), {"Backup": BackupApi(context).backup}),
        **_routes(
            "Managers",
            NODES,
            {
                "AddMember": membership.add_member,
                "RenewCertificate": certificates.renew_certificate,
            },
        ),
        **_routes(
            "Managers",
            NODES | {OPERATOR},
            {"GetLeader": membership.get_leader, "GetMember": members.get_member},
            leader_only=False,
        ),
        **_routes(
            "Managers",
            frozenset({MANAGER}),
            {"UnlockMember": autolock.unlock_member},
            leader_only=False,
        ),
        **_routes("Membership", ANYONE, {"Join": membership.join}),
    }


def _routes(
    service: str, roles: frozenset[str], handlers: dict[str, Any], *, leader_only: bool = True
) -> dict[str, Route]:
    """Request types and kinds are the schema's: a handler for no method of it fails here."""
    descriptor = warren_pb2.DESCRIPTOR.services_by_name[service]
    routes = {}
    for name, handler in handlers.items():
        method = descriptor.methods_by_name[name]
        kind = "stream" if method.server_streaming else "unary"
        message = message_factory.GetMessageClass(method.input_type)
        routes[f"/{descriptor.full_name}/{name}"] = Route(
            request=message,
            roles=roles,
            leader_only=leader_only,
            name=name,
            changes=name.startswith(CHANGES),
            repeatable=name not in UNREPEATABLE,
            resumable=name in RESUMABLE,
            stale=_stale(message) if kind == "unary" else None,
            **{kind: handler},
        )
    return routes


def _stale(message: type[Message]) -> Callable[[bytes], bool] | None:
    """Reads the field `stale` of requests that have one."""
    if "stale" not in message.DESCRIPTOR.fields_by_name:
        return None
    return lambda data: bool(getattr(message.FromString(data), "stale"))  # noqa: B009 - generated
