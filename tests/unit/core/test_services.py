"""What an Apply means: merged, checked, compared and planned before anything is stored."""

from dataclasses import replace
from datetime import timedelta
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from warren.core import hiding, services, updates
from warren.model.errors import FailedPrecondition, InvalidInput, NotFound
from warren.model.nodes import Availability
from warren.model.services import (
    HIDDEN,
    Bytes,
    Placement,
    Port,
    PortMode,
    Protocol,
    RegistryAuth,
    ResourceLimits,
    ResourceReservations,
    Resources,
    Secret,
    ServiceSpec,
    TaskTemplate,
)
from warren.model.views import Change, RolloutPlan
from warren.state.cluster import ClusterState
from warren.testing.builders import (
    GIB,
    a_node,
    a_service,
    a_spec,
    a_state,
    a_task,
    at,
    counting_ids,
)

from tests.unit.strategies import specs, states

MIB = 2**20
THREE = (a_node("m1"), a_node("m2"), a_node("m3"))


def auth(password: str) -> RegistryAuth:
    return RegistryAuth(username="user", password=Secret(password))


class TestMerge:
    """What the user did not give stays, or is the default."""

    def test_keeps_what_was_not_given(self) -> None:
        before = a_spec(replicas=3, env={"A": "1"})

        merged = services.merge(before, a_spec(image="new"), ("name", "image"))

        assert merged == replace(before, image="new")

    def test_takes_what_was_given_even_if_it_is_the_default(self) -> None:
        merged = services.merge(a_spec(replicas=3), a_spec(), ("replicas",))

        assert merged == a_spec()

    def test_uses_defaults_on_creation(self) -> None:
        merged = services.merge(None, a_spec(replicas=5, user="me"), ("image", "user"))

        assert merged == a_spec(user="me")

    def test_wants_an_image_on_creation(self) -> None:
        with pytest.raises(InvalidInput, match=r"^web\.image: is required$"):
            services.merge(None, a_spec(), ("name",))

    def test_refuses_a_field_that_does_not_exist(self) -> None:
        with pytest.raises(InvalidInput, match=r"^web\.imgae: unknown field, known are "):
            services.merge(None, a_spec(), ("imgae",))

    def test_a_hidden_password_stands_for_the_stored_one(self) -> None:
        before = a_spec(registry_auth=auth("secret"))

        merged = services.merge(before, hiding.hide(before), ("registry_auth",))

        assert merged == before

    def test_a_hidden_password_needs_a_stored_one(self) -> None:
        with pytest.raises(InvalidInput, match=r"^web\.registry_auth\.password: \(hidden\) stands"):
            services.merge(None, a_spec(registry_auth=auth(HIDDEN)), ("image", "registry_auth"))


class TestHide:
    """No secret leaves."""

    def test_replaces_the_password(self) -> None:
        assert hiding.hide(a_spec(registry_auth=auth("x"))) == a_spec(registry_auth=auth(HIDDEN))

    def test_leaves_other_specs_alone(self) -> None:
        assert hiding.hide(a_spec()) == a_spec()

    def test_knows_every_secret_of_a_service(self) -> None:
        """A new Secret field fails here until `hide` and `merge` know it."""
        assert _secrets(ServiceSpec) == {"RegistryAuth.password"}
        assert _secrets(TaskTemplate) == {"RegistryAuth.password"}


def _secrets(kind: Any) -> set[str]:
    found: set[str] = set()
    for name, hint in get_type_hints(kind).items():
        if hint is Secret:
            found.add(f"{kind.__name__}.{name}")
        for inner in (hint, *getattr(hint, "__args__", ())):
            if hasattr(inner, "__dataclass_fields__"):
                found |= _secrets(inner)
    return found


def test_changes_are_named_and_written_as_in_a_manifest() -> None:
    before = a_spec(
        image="hello:1",
        env={"LOG_LEVEL": "info", "OLD": "x"},
        ports=(Port(target=80),),
        resources=Resources(limits=ResourceLimits(memory=Bytes(256 * MIB))),
        registry_auth=auth("one"),
    )
    after = a_spec(
        image="hello:2",
        args=("-v", "--fast"),
        env={"LOG_LEVEL": "debug"},
        ports=(Port(target=8080), Port(target=9, protocol=Protocol.UDP)),
        resources=Resources(limits=ResourceLimits(memory=Bytes(GIB), cpus=0.5)),
        registry_auth=auth("two"),
        stop_grace_period=timedelta(seconds=90),
    )

    assert services.changes(before, after) == (
        Change(path="image", before="hello:1", after="hello:2"),
        Change(path="args", before="", after="[-v, --fast]"),
        Change(path="env.LOG_LEVEL", before="info", after="debug"),
        Change(path="env.OLD", before="x", after=""),
        Change(path="resources.limits.memory", before="256MiB", after="1GiB"),
        Change(path="resources.limits.cpus", before="0", after="0.5"),
        Change(path="registry_auth.password", before="(hidden)", after="(hidden)"),
        Change(path="stop_grace_period", before="10s", after="1m30s"),
        Change(path="ports[0].target", before="80", after="8080"),
        Change(path="ports[1].target", before="", after="9"),
        Change(path="ports[1].protocol", before="", after="udp"),
        Change(path="ports[1].mode", before="", after="mesh"),
    )


@pytest.mark.parametrize(
    ("values", "path", "message"),
    [
        ({"replicas": -1}, "web.replicas", "-1 is not between 0 and 10000"),
        ({"ports": (Port(target=0),)}, "web.ports[0].target", "0 is not between 1 and 65535"),
        (
            {
                "resources": Resources(
                    limits=ResourceLimits(memory=Bytes(256 * MIB)),
                    reservations=ResourceReservations(memory=Bytes(512 * MIB)),
                )
            },
            "web.resources.limits.memory",
            "256MiB is below the reservation, 512MiB",
        ),
        (
            {
                "resources": Resources(
                    limits=ResourceLimits(cpus=0.5), reservations=ResourceReservations(cpus=2)
                )
            },
            "web.resources.limits.cpus",
            "0.5 is below the reservation, 2",
        ),
        (
            {"placement": Placement(constraints=("node.name == m1", "zone=north"))},
            "web.placement.constraints[1]",
            "'zone=north' is not a constraint: write ",
        ),
        (
            {"placement": Placement(constraints=("node.role == boss",))},
            "web.placement.constraints[0]",
            "'boss' is not a role: write manager or worker",
        ),
        (
            {"ports": (Port(target=1, published=80), Port(target=2, published=80))},
            "web.ports[1].published",
            "80/tcp is published by ports[0] already",
        ),
        (
            {"ports": (Port(target=1, name="http"), Port(target=2, name="http"))},
            "web.ports[1].name",
            "http is the name of ports[0] already",
        ),
        (
            {"ports": (Port(target=1, published=7443),)},
            "web.ports[0].published",
            "7443/tcp is the cluster's own api_port",
        ),
    ],
)
def test_refuses_what_makes_no_sense_and_says_where(
    values: dict[str, Any], path: str, message: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        services.check(a_spec(**values), a_state())

    assert (caught.value.path, str(caught.value)[: len(path) + 2]) == (path, f"{path}: ")
    assert message in str(caught.value)


def test_a_reservation_needs_no_limit_and_may_equal_it() -> None:
    reserved = ResourceReservations(memory=Bytes(MIB), cpus=0.5)
    for limits in (ResourceLimits(), ResourceLimits(memory=Bytes(MIB), cpus=0.5)):
        resources = Resources(limits=limits, reservations=reserved)

        services.check(a_spec(resources=resources), a_state())


def test_refuses_a_name_that_is_no_dns_label() -> None:
    with pytest.raises(InvalidInput, match="is not a DNS label"):
        services.check(a_spec("Web_1"), a_state())


def test_the_same_port_may_be_published_for_tcp_and_udp() -> None:
    ports = (Port(target=53, published=53), Port(target=53, published=53, protocol=Protocol.UDP))

    services.check(a_spec(ports=ports), a_state())


def test_a_port_of_another_service_is_refused_with_its_name() -> None:
    state = a_state(services=[a_service("db", ports=(Port(target=1, published=80),))])

    expected = r"^web\.ports\[0\]\.published: 80/tcp is held by service db$"
    with pytest.raises(FailedPrecondition, match=expected):
        services.check(a_spec(ports=(Port(target=80, published=80),)), state)


@pytest.mark.parametrize(
    ("mode", "other", "protocol", "refused"),
    [
        (PortMode.MESH, PortMode.HOST, Protocol.TCP, True),
        (PortMode.HOST, PortMode.MESH, Protocol.TCP, True),
        (PortMode.HOST, PortMode.HOST, Protocol.TCP, False),
        (PortMode.MESH, PortMode.MESH, Protocol.UDP, False),
    ],
)
def test_who_may_publish_a_port_that_another_has(
    mode: PortMode, other: PortMode, protocol: Protocol, refused: bool
) -> None:
    state = a_state(services=[a_service("db", ports=(Port(target=1, published=80, mode=other),))])
    spec = a_spec(ports=(Port(target=80, published=80, mode=mode, protocol=protocol),))
    if not refused:
        services.check(spec, state)
        return
    with pytest.raises(FailedPrecondition, match="80/tcp is held by service db"):
        services.check(spec, state)


def test_two_services_may_share_a_host_port_which_the_scheduler_keeps_apart() -> None:
    port = Port(target=1, published=80, mode=PortMode.HOST)

    services.check(a_spec(ports=(port,)), a_state(services=[a_service("db", ports=(port,))]))


def test_a_service_that_is_being_removed_cannot_change() -> None:
    with pytest.raises(FailedPrecondition, match=r"^service web is being removed$"):
        services.check(a_spec(), a_state(services=[a_service(removing=True)]))


class TestPlan:
    """What will happen, in order, from the deciders themselves."""

    def plan(self, state: ClusterState, spec: ServiceSpec) -> tuple[str, ...]:
        return plan(state, spec)[0]

    def test_of_a_new_service(self) -> None:
        assert self.plan(a_state(nodes=THREE), a_spec(replicas=3)) == (
            "slot 1  +task on m1",
            "slot 2  +task on m2",
            "slot 3  +task on m3",
        )

    def test_of_an_unchanged_service_is_empty(self) -> None:
        state = a_state(nodes=THREE, services=[a_service()], tasks=[a_task(1, "m1")])

        assert self.plan(state, a_spec()) == ()

    def test_of_a_new_revision_is_that_of_its_rollout(self) -> None:
        tasks = [a_task(1, "m1"), a_task(2, "m2")]
        state = a_state(nodes=THREE, services=[a_service(replicas=2)], tasks=tasks)

        lines, found = plan(state, a_spec(image="new", replicas=3))

        assert found is not None
        assert (found.from_revision, found.to_revision, found.replicas) == (1, 2, 3)
        assert lines[:2] == (
            "batch 1  slot 1  replace on m3 instead of m1 (start first)",
            "         slot 3  +task on m1  capacity 3/3  then 5s",
        )

    def test_of_fewer_replicas(self) -> None:
        tasks = [a_task(1, "m1"), a_task(2, "m2"), a_task(3, "m3")]
        state = a_state(nodes=THREE, services=[a_service(replicas=3)], tasks=tasks)

        assert self.plan(state, a_spec(replicas=1)) == (
            "slot 2  -task on m2",
            "slot 3  -task on m3",
        )

    def test_says_what_stays_pending_and_why(self) -> None:
        resources = Resources(reservations=ResourceReservations(memory=Bytes(3 * GIB)))
        spec = a_spec(replicas=4, resources=resources)

        assert self.plan(a_state(nodes=THREE), spec)[3:] == (
            "slot 4  stays pending: no node has 3 GiB of memory free (3 of 3)",
        )

    def test_says_from_where_a_task_moves(self) -> None:
        nodes = [a_node("m1", availability=Availability.DRAIN), a_node("m2")]
        state = a_state(nodes=nodes, services=[a_service()], tasks=[a_task(1, "m1")])

        assert self.plan(state, a_spec()) == ("slot 1  replace on m2 instead of m1 (start first)",)

    def test_is_cut_when_it_gets_long(self) -> None:
        lines = self.plan(a_state(nodes=THREE), a_spec(replicas=1000))

        assert (len(lines), lines[-1]) == (services.PLAN_LINES_MAX + 1, "and so on")

    def test_of_a_removal(self) -> None:
        state = a_state(nodes=THREE, services=[a_service()], tasks=[a_task(1, "m1")])

        assert services.removal_plan(state, "web", at(0), counting_ids()) == (
            "slot 1  -task on m1",
        )
        with pytest.raises(NotFound, match=r"^there is no service db$"):
            services.removal_plan(state, "db", at(0), counting_ids())


def plan(state: ClusterState, spec: ServiceSpec) -> tuple[tuple[str, ...], RolloutPlan | None]:
    before = state.services.get(spec.name)
    version = before.version if before is not None else 0
    change = updates.change(before, spec, expected_version=version, new_id="x", by="ann", now=at(0))
    return services.plan(state, change, at(0), counting_ids())


@given(states(), specs())
def test_a_plan_is_found_for_any_state(state: ClusterState, spec: ServiceSpec) -> None:
    service = state.services.get(spec.name)
    if service is None or not service.removing:
        lines, _ = plan(state, spec)
        assert len(lines) <= services.PLAN_LINES_MAX + 1


@given(specs(), specs())
def test_nothing_changes_exactly_when_the_specs_are_equal(
    before: ServiceSpec, after: ServiceSpec
) -> None:
    assert (services.changes(before, after) == ()) is (before == after)
