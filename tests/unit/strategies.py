"""Hypothesis strategies that several suites share: states and commands, likely and unlikely."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from warren.model.nodes import Availability, NodeMesh, NodeRole, NodeSpec, NodeState, NodeStatus
from warren.model.rollouts import (
    AnalysisRecord,
    Rollout,
    RolloutPhase,
    RolloutState,
    Strategy,
    UpdatePolicy,
)
from warren.model.services import (
    Bytes,
    Placement,
    Port,
    PortMode,
    ResourceReservations,
    Resources,
    ServiceSpec,
)
from warren.model.tasks import DesiredState, Task, TaskState, TaskStatus
from warren.state import commands as c
from warren.state.cluster import ClusterState
from warren.testing.builders import (
    GIB,
    a_cluster,
    a_node,
    a_service,
    a_spec,
    a_state,
    a_task,
    a_token,
    at,
)

NODES = ("w1", "w2", "w3")
SERVICES = ("web", "db")
TASKS = tuple(f"{service}-{slot}-{n}" for service in SERVICES for slot in (1, 2) for n in "ab")
TIMES = st.integers(-100, 0).map(at)


@st.composite
def specs(draw: Callable[[Any], Any], name: str = "web") -> ServiceSpec:
    """Services that compete for memory, ports and places."""
    memory = Bytes(draw(st.sampled_from([0, 1, 3])) * GIB)
    host_port = Port(target=80, published=8080, mode=PortMode.HOST)
    return a_spec(
        name,
        image=draw(st.sampled_from(["one", "two"])),
        replicas=draw(st.integers(0, 4)),
        ports=draw(st.sampled_from([(), (host_port,)])),
        placement=Placement(
            max_per_node=draw(st.integers(0, 2)),
            constraints=draw(st.sampled_from([(), ("node.labels.zone == north",), ("nonsense",)])),
        ),
        resources=Resources(reservations=ResourceReservations(memory=memory)),
    )


@st.composite
def states(draw: Callable[[Any], Any]) -> ClusterState:
    """Any state that `apply` can lead to, also such that no leader in its senses would make."""
    nodes = [
        a_node(
            name,
            state=draw(st.sampled_from(NodeState)),
            availability=draw(st.sampled_from(Availability)),
            roles=draw(st.sampled_from([(NodeRole.WORKER,), (NodeRole.MANAGER,)])),
            labels=draw(st.sampled_from([{}, {"zone": "north"}])),
        )
        for name in draw(st.lists(st.sampled_from(NODES), unique=True))
    ]
    services = []
    for name in draw(st.lists(st.sampled_from(SERVICES), unique=True)):
        spec = draw(specs(name))
        revision, removing = draw(st.integers(1, 3)), draw(st.booleans())
        values = {field: getattr(spec, field) for field in ("image", "replicas", "ports")}
        values |= {"placement": spec.placement, "resources": spec.resources}
        services.append(a_service(name, revision=revision, removing=removing, **values))
    tasks = []
    for service in services:
        for number in range(draw(st.integers(0, 6))):
            tasks.append(
                draw(_tasks(service.spec.name, service.revision, number, [n.id for n in nodes]))
            )
    return a_state(nodes=nodes, services=services, tasks=tasks)


@st.composite
def _tasks(
    draw: Callable[[Any], Any], service: str, revision: int, number: int, nodes: list[str]
) -> Task:
    state = draw(st.sampled_from(TaskState))
    if not nodes and not state.terminal:
        state = TaskState.PENDING
    anywhere = [*nodes, "gone"] if state.terminal else nodes
    node = "" if state is TaskState.PENDING else draw(st.sampled_from(anywhere))
    slot = draw(st.integers(1, 4))
    return a_task(
        slot,
        node,
        id=f"{service}-{slot}-{number}",
        service=service,
        revision=draw(st.integers(max(1, revision - 2), revision)),
        state=state,
        desired=draw(st.sampled_from(DesiredState)),
        created_at=draw(TIMES),
        since=draw(TIMES),
        failures=draw(st.integers(0, 2)),
    )


STATUSES = st.builds(
    TaskStatus, state=st.sampled_from(TaskState), since=TIMES, failures=st.integers(0, 2)
)
NODE_SPECS = st.builds(
    NodeSpec,
    name=st.sampled_from(NODES),
    availability=st.sampled_from(Availability),
    roles=st.sampled_from([(NodeRole.WORKER,), (NodeRole.MANAGER,), ()]),
)
SUBNETS = st.sampled_from(["10.88.1.0/24", "10.88.1.0/25", "10.88.2.0/24", "10.88.9.1/24", "x"])


@st.composite
def _new_nodes(draw: Callable[[Any], Any]) -> Any:
    node = a_node(draw(st.sampled_from(NODES)))
    number = draw(st.integers(1, 4))
    mesh = NodeMesh(
        public_key=f"key of w{number}",
        endpoint="",
        address=f"10.86.0.{draw(st.integers(1, 4))}",
        subnet=draw(SUBNETS),
    )
    return c.AddNode(
        node=type(node)(
            id=node.id, spec=node.spec, mesh=mesh, status=node.status, joined_at=node.joined_at
        )
    )


ROLLOUTS = st.builds(
    Rollout,
    id=st.sampled_from(["r1", "r2", "r3"]),
    from_revision=st.integers(1, 3),
    to_revision=st.integers(1, 3),
    policy=st.builds(UpdatePolicy, strategy=st.sampled_from(Strategy)),
    state=st.sampled_from(RolloutState),
    phase=st.sampled_from(RolloutPhase),
    batch=st.sampled_from([(), (1,), (1, 2)]),
    weight=st.sampled_from([None, 0, 50]),
    started_at=TIMES,
    progress_at=TIMES,
)
NODE_IDS, NAMES, TASK_IDS = map(st.sampled_from, (NODES, SERVICES, TASKS))
VERSIONS = st.integers(0, 5)
NEW_TASKS = st.builds(
    a_task,
    st.integers(1, 2),
    st.sampled_from(["", "", "w1"]),
    service=NAMES,
    id=TASK_IDS,
)
MEMBERS: st.SearchStrategy[c.Command] = st.one_of(
    st.builds(c.PutService, spec=NAMES.flatmap(specs), expected_version=VERSIONS, now=TIMES),
    st.builds(
        c.StartRollout,
        spec=NAMES.flatmap(specs),
        expected_version=VERSIONS,
        revision=st.integers(0, 3),
        rollout_id=st.sampled_from(["r1", "r2", "r3"]),
        now=TIMES,
    ),
    st.builds(
        c.SetRollout,
        service=NAMES,
        rollout=ROLLOUTS,
        expected_version=st.integers(95, 120),
        now=TIMES,
    ),
    st.builds(
        c.RecordAnalysis,
        service=NAMES,
        rollout_id=st.sampled_from(["r1", "r2"]),
        record=st.builds(
            AnalysisRecord, name=st.sampled_from("ab"), checked_at=TIMES, bad=st.integers(0, 3)
        ),
    ),
    st.builds(c.RemoveService, name=NAMES, expected_version=VERSIONS, now=TIMES),
    st.builds(c.ForgetService, name=NAMES),
    _new_nodes(),
    st.builds(c.PutNodeSpec, node_id=NODE_IDS, spec=NODE_SPECS, expected_version=VERSIONS),
    st.builds(c.SetNodeDescription, node_id=NODE_IDS, description=st.just(a_node().description)),
    st.builds(
        c.SetNodeStatus,
        node_id=NODE_IDS,
        status=st.builds(NodeStatus, state=st.sampled_from(NodeState), since=TIMES),
    ),
    st.builds(
        c.SetNodePublicKey,
        node_id=NODE_IDS,
        public_key=st.sampled_from(["key of w1", "key of w2", "k"]),
        endpoint=st.just("192.0.2.1:51820"),
    ),
    st.builds(c.RemoveNode, node_id=NODE_IDS, now=TIMES),
    st.builds(c.CreateTask, task=NEW_TASKS),
    st.builds(c.AssignTask, task_id=TASK_IDS, node_id=NODE_IDS, now=TIMES),
    st.builds(c.SetTaskDesired, task_id=TASK_IDS, desired=st.sampled_from(DesiredState)),
    st.builds(c.SetTaskStatus, task_id=TASK_IDS, status=STATUSES),
    st.builds(c.RemoveTask, task_id=TASK_IDS),
    st.builds(c.AddJoinToken, token=st.sampled_from([a_token(), a_token("ffffffff")])),
    st.builds(c.RemoveJoinToken, token_id=st.sampled_from(["0123abcd", "ffffffff"])),
    st.builds(
        c.PutClusterSpec, spec=st.just(a_cluster(name="other").spec), expected_version=VERSIONS
    ),
    st.builds(c.CreateCluster, cluster=st.just(a_cluster()), node=st.just(a_node("w1"))),
)
COMMANDS: st.SearchStrategy[c.Command] = st.one_of(
    MEMBERS, st.builds(c.Batch, commands=st.lists(MEMBERS, max_size=3).map(tuple))
)
