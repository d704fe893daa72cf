"""Objects as plain data, for `-o json` and for what modules return. Names stay; secrets are hidden.

Services and nodes read as their manifests do, with what is known of them beside it.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from warren.model import manifest
from warren.model.events import Event
from warren.model.nodes import Node, NodeState
from warren.model.rollouts import Rollout
from warren.model.services import PortMode, ServiceSpec
from warren.model.tasks import Task
from warren.model.views import (
    AutolockView,
    Change,
    ClusterView,
    ConfigView,
    JoinTokenView,
    MemberView,
    MeshView,
    NodeView,
    PlanStep,
    RolloutPlan,
    RolloutView,
    SecretKeysView,
    SecretView,
    ServiceHistory,
    ServiceView,
    VolumeView,
)


def service(view: ServiceView) -> dict[str, Any]:
    """The spec in full, with version, revision and status beside it."""
    status = view.status
    return {
        **spec(view.service.spec),
        "version": view.service.version,
        "revision": view.service.revision,
        "created_at": _time(view.service.created_at),
        "updated_at": _time(view.service.updated_at),
        "removing": view.service.removing,
        "vip": view.service.vip,
        "status": {
            "desired": status.desired,
            "running": status.running,
            "up_to_date": status.up_to_date,
            "failing": status.failing,
            "converged": status.converged,
            "reason": status.reason,
            "warnings": list(status.warnings),
        },
    }


def spec(value: ServiceSpec) -> dict[str, Any]:
    """A service's spec in the form of its manifest, defaults too."""
    written = manifest.service_to_dict(value, omit_defaults=False)
    if value.is_global:
        del written["replicas"]
    return written


def tasks(view: ServiceView) -> list[dict[str, Any]]:
    """The service's tasks, in the order of the view."""
    return [task(each, node) for each, node in zip(view.tasks, view.node_names, strict=True)]


def task(value: Task, node: str) -> dict[str, Any]:
    """One task; its template is the service's and left out."""
    status = value.status
    return {
        "name": value.name,
        "id": value.id,
        "slot": value.slot,
        "revision": value.revision,
        "node": node,
        "desired": value.desired.value,
        "state": status.state.value,
        "since": _time(status.since),
        "message": status.message,
        "exit_code": status.exit_code,
        "failures": status.failures,
        "last_log": status.last_log,
        "address": status.address,
        "health": status.health.value,
        "health_output": status.health_output,
        "image_digest": status.image_digest,
    }


def secret(view: SecretView) -> dict[str, Any]:
    """A secret; its values are nowhere."""
    return {
        **manifest.to_dict(view.spec),
        "version": view.versions[-1].number,
        "created_at": _time(view.created_at),
        "updated_at": _time(view.updated_at),
        "services": list(view.services),
        "versions": [
            {
                "version": each.number,
                "created_at": _time(each.created_at),
                "size": each.size,
                "services": list(each.services),
            }
            for each in view.versions
        ],
        "expected_version": view.version,
    }


def volume(view: VolumeView) -> dict[str, Any]:
    """A volume, where it is, and who has it."""
    volume, usage = view.volume, view.usage
    return {
        **manifest.to_dict(volume.spec),
        "node": volume.node_name,
        "id": volume.id,
        "removing": volume.removing,
        "created_at": _time(volume.created_at),
        "updated_at": _time(volume.updated_at),
        "services": list(view.services),
        "tasks": list(view.tasks),
        "path": usage.path if usage is not None else "",
        "size": usage.size if usage is not None else None,
        "trouble": view.trouble,
        "expected_version": volume.version,
    }


def secret_keys(view: SecretKeysView) -> dict[str, Any]:
    """Which key secrets are sealed with; no key is here."""
    return {
        "id": view.id,
        "created_at": _time(view.created_at),
        "versions": view.versions,
        "left": view.left,
    }


def autolock(view: AutolockView) -> dict[str, Any]:
    """Whether managers are locked when they start, and who is; no key is here."""
    return {
        "enabled": view.lock is not None,
        "since": _time(view.lock.created_at) if view.lock is not None else None,
        "managers": [
            {"name": each.name, "locked": each.locked if each.answered else None}
            for each in view.managers
        ],
    }


def config(view: ConfigView) -> dict[str, Any]:
    """A config, with the text of its newest version where that was asked for and is text."""
    newest = view.versions[-1]
    return {
        **manifest.to_dict(view.spec),
        "version": newest.number,
        "created_at": _time(view.created_at),
        "updated_at": _time(view.updated_at),
        "services": list(view.services),
        "data": newest.data.decode(errors="replace"),
        "versions": [
            {
                "version": each.number,
                "created_at": _time(each.created_at),
                "services": list(each.services),
            }
            for each in view.versions
        ],
        "expected_version": view.version,
    }


def rollout(view: RolloutView) -> dict[str, Any]:
    """A rollout with what can be seen of it."""
    return {
        **rollout_record(view.rollout),
        "service": view.service,
        "image_before": view.image_before,
        "image_after": view.image_after,
        "weight": view.weight,
        "replicas": view.replicas,
        "tasks_new": view.tasks_new,
        "ready_new": view.ready_new,
        "tasks_old": view.tasks_old,
        "ready_old": view.ready_old,
        "served": view.served,
        "min_healthy": view.min_healthy,
        "waiting_for": view.waiting_for,
        "until": _time(view.until) if view.until else None,
        "deadline": _time(view.deadline) if view.deadline else None,
        "failing": [
            {
                "name": each.name,
                "id": each.task_id,
                "node": each.node,
                "message": each.message,
                "last_log": each.last_log,
            }
            for each in view.failing
        ],
    }


def rollout_record(value: Rollout) -> dict[str, Any]:
    """A rollout as it is stored."""
    return {
        "id": value.id,
        "state": value.state.value,
        "ended": value.state.ended,
        "decided": value.decided,
        "reason": value.reason,
        "failed": value.failed,
        "from_revision": value.from_revision,
        "to_revision": value.to_revision,
        "rollback": value.rollback,
        "strategy": value.policy.strategy.value,
        "phase": value.phase.value,
        "step": value.step,
        "steps": [manifest.to_dict(step) for step in value.policy.steps],
        "weight": value.weight,
        "pinned": list(value.pin.sources) if value.pin is not None else [],
        "started_at": _time(value.started_at),
        "started_by": value.started_by,
        "started_because": value.started_because,
        "progress_at": _time(value.progress_at),
        "ended_at": _time(value.ended_at) if value.ended_at else None,
        "analyses": [
            {
                "name": each.name,
                "checked_at": _time(each.checked_at),
                "good": each.good,
                "bad": each.bad,
                "output": each.output,
            }
            for each in value.analyses
        ],
    }


def rollout_plan(plan: RolloutPlan) -> dict[str, Any]:
    """How a rollout will go."""
    return {
        "mode": plan.mode.value,
        "strategy": plan.strategy.value,
        "from_revision": plan.from_revision,
        "to_revision": plan.to_revision,
        "replicas": plan.replicas,
        "steps": [_plan_step(step) for step in plan.steps],
        "lowest": plan.lowest,
        "min_healthy": plan.min_healthy,
        "room": plan.room,
        "enough": plan.enough,
        "blocks": list(plan.blocks),
        "pinned": list(plan.pin.sources) if plan.pin is not None else [],
    }


def _plan_step(step: PlanStep) -> dict[str, Any]:
    return {
        "title": step.title,
        "weight": step.weight,
        "moves": [
            {
                "slot": move.slot,
                "action": move.action,
                "node": move.node,
                "from_node": move.from_node,
                "message": move.message,
            }
            for move in step.moves
        ],
        "served": step.served,
        "waits_for": step.waits_for,
    }


def history(view: ServiceHistory) -> dict[str, Any]:
    """Revisions that are kept, with what they differ in from the defaults, and rollouts."""
    return {
        "service": view.service,
        "revisions": [
            {
                "revision": each.revision.number,
                "current": each.current,
                "tasks": each.tasks,
                "created_at": _time(each.revision.created_at),
                "completed_at": _time(each.revision.completed_at)
                if each.revision.completed_at
                else None,
                "reason": each.revision.reason,
                "template": manifest.to_dict(each.revision.template, omit_defaults=True),
            }
            for each in view.revisions
        ],
        "rollouts": [rollout_record(each) for each in view.rollouts],
    }


def event(value: Event) -> dict[str, Any]:
    """One event; what it is not about is left out."""
    told = {"service": value.service, "task": value.task, "node": value.node}
    return {
        "at": _time(value.at),
        "kind": value.kind.value,
        "message": value.message,
        **{key: name for key, name in told.items() if name},
    }


def node(view: NodeView) -> dict[str, Any]:
    """A node: spec, status, what the host is, and what it carries."""
    value = view.node
    return {
        **manifest.to_dict(value.spec),
        "id": value.id,
        "version": value.version,
        "state": value.status.state.value,
        "since": _time(value.status.since),
        "message": value.status.message,
        "held_ports": [manifest.to_dict(held) for held in value.held_ports],
        "leader": view.leader,
        "reachable": view.reachable,
        "joined_at": _time(value.joined_at),
        "mesh": _place_in_mesh(value),
        "description": manifest.to_dict(value.description),
        "tasks": view.tasks,
        "reserved": {"cpus": view.reserved_cpus, "memory_bytes": view.reserved_memory},
    }


def mesh(view: MeshView) -> dict[str, Any]:
    """The mesh as measured: nodes, the ways between them, and what is wrong with it."""
    return {
        "mtu": view.mtu,
        "nodes": [
            {
                "name": each.name,
                "state": each.state.value,
                "address": each.mesh.address,
                "subnet": each.mesh.subnet,
                "endpoint": each.mesh.endpoint,
                "public_key": each.mesh.public_key,
                "rotating": each.mesh.rotating,
                "mtu": each.mtu,
                "trouble": each.trouble,
            }
            for each in view.nodes
        ],
        "links": [
            {
                "source": each.source,
                "target": each.target,
                "reachable": each.reachable,
                "latency_ms": round(each.latency / timedelta(milliseconds=1), 3)
                if each.reachable
                else None,
                "mtu": each.mtu,
                "handshake_age_s": None
                if each.handshake_age is None
                else round(each.handshake_age.total_seconds(), 1),
                "endpoint": each.endpoint,
                "received_bytes": each.received_bytes,
                "sent_bytes": each.sent_bytes,
            }
            for each in view.links
        ],
        "problems": list(mesh_problems(view)),
    }


def _place_in_mesh(value: Node) -> dict[str, Any]:
    mesh = value.mesh
    return {
        "address": mesh.address,
        "subnet": mesh.subnet,
        "endpoint": mesh.endpoint,
        "seen_address": mesh.seen_address,
        "public_key": mesh.public_key,
        "key_since": _time(mesh.key_since or value.joined_at),
        "rotating": mesh.rotating,
    }


def mesh_problems(view: MeshView) -> Iterator[str]:
    """What is wrong with the mesh, as sentences; nothing when all is well."""
    down = {each.name for each in view.nodes if each.state is not NodeState.READY}
    for node in view.nodes:
        if node.name in down:
            yield f"{node.name} is {node.state.value}"
        elif node.trouble:
            yield f"{node.name} measured nothing: {node.trouble}"
    for link in view.links:
        if down & {link.source, link.target}:
            continue  # said above
        way = f"from {link.source} to {link.target}"
        if not link.reachable:
            yield f"nothing comes {way} through the mesh (endpoint {link.endpoint or 'unknown'})"
        elif link.mtu < view.mtu:
            yield f"packets of {link.mtu} bytes pass {way}, the mesh uses {view.mtu}"


def cluster(view: ClusterView) -> dict[str, Any]:
    """The cluster: settings, identity, and its managers by name."""
    return {
        **manifest.to_dict(view.spec),
        "id": view.id,
        "version": view.version,
        "created_at": _time(view.created_at),
        "leader": view.leader,
        "managers": [
            {
                "name": each.node.spec.name,
                "id": each.node.id,
                "address": _address(each),
                "mesh_address": each.node.mesh.address,
                "state": each.node.status.state.value,
                "leader": each.leader,
                "reachable": each.reachable,
                **({"log": member(each.member)} if each.member is not None else {}),
            }
            for each in view.managers
        ],
        "nodes": view.nodes,
        "nodes_ready": view.nodes_ready,
        "services": view.services,
        "tasks_running": view.tasks_running,
        "autolock": view.autolock,
        "term": view.term,
        "index": view.index,
        "ca_digest": view.ca_digest,
        "warren": view.warren,
    }


def member(view: MemberView) -> dict[str, Any]:
    """A manager's part in the replicated log; its own figures only if it answered."""
    known = {"voter": view.voter, "answered": view.answered, "lag": view.lag}
    if not view.answered:
        return known
    return {
        **known,
        "term": view.term,
        "last_index": view.last_index,
        "commit_index": view.commit_index,
        "applied_index": view.applied_index,
        "snapshot_index": view.snapshot_index,
        "snapshot_bytes": view.snapshot_bytes,
        "journal_bytes": view.journal_bytes,
        "sync_p50_ms": round(view.sync_p50 / timedelta(milliseconds=1), 3),
        "sync_p99_ms": round(view.sync_p99 / timedelta(milliseconds=1), 3),
        "elections_won": view.elections_won,
        "locked": view.locked,
    }


def join_token(view: JoinTokenView) -> dict[str, Any]:
    """A join token; its text is there only in the answer to its creation."""
    return {
        "id": view.id,
        "role": view.role.value,
        "created_at": _time(view.created_at),
        "expires_at": _time(view.expires_at),
        **({"token": view.token} if view.token else {}),
    }


def changes(values: tuple[Change, ...]) -> list[dict[str, str]]:
    """Differences as path, before, after."""
    return [{"path": c.path, "before": c.before, "after": c.after} for c in values]


def endpoints(view: ServiceView, nodes: tuple[NodeView, ...]) -> list[str]:
    """Where the service's published ports answer: `address:port`, one per node that has them."""
    running = {task.node_id for task in view.tasks if task.ready}
    found = []
    for port in view.service.spec.ports:
        for each in nodes:
            there = port.mode is PortMode.MESH or each.node.id in running
            if port.published and there and each.node.status.state is NodeState.READY:
                found.append(f"{_address(each)}:{port.published}")
    return found


def _address(view: NodeView) -> str:
    return view.node.description.address or view.node.mesh.endpoint.rpartition(":")[0]


def _time(value: datetime) -> str:
    return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
