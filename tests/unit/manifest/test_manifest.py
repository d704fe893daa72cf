"""Manifests: what users may write, and the sentences that refuse the rest."""

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from warren.model import manifest
from warren.model.clusters import ClusterSpec
from warren.model.errors import InvalidInput
from warren.model.nodes import Availability, NodeRole, NodeSpec
from warren.model.services import (
    Bytes,
    Placement,
    Port,
    PortMode,
    Protocol,
    PullPolicy,
    RegistryAuth,
    ResourceLimits,
    ResourceReservations,
    Resources,
    RestartCondition,
    RestartPolicy,
    Secret,
    ServiceSpec,
)

WEB: dict[str, Any] = {"name": "web", "image": "web:1"}


def test_reads_every_kind_of_value() -> None:
    data = {
        **WEB,
        "replicas": 3,
        "ports": [{"name": "http", "target": 8080, "published": "80", "mode": "host"}],
        "env": {"PORT": 8080, "EMPTY": ""},
        "resources": {"limits": {"memory": "256MiB", "cpus": 0.5}},
        "restart": {"condition": "on_failure", "delay": "500ms", "window": 90},
        "registry_auth": {"username": "deploy", "password": "secret"},
    }

    spec, fields = manifest.parse_service(data)

    assert spec == ServiceSpec(
        name="web",
        image="web:1",
        replicas=3,
        ports=(Port(name="http", target=8080, published=80, mode=PortMode.HOST),),
        env={"PORT": "8080", "EMPTY": ""},
        resources=Resources(limits=ResourceLimits(memory=Bytes(256 * 2**20), cpus=0.5)),
        restart=RestartPolicy(
            condition=RestartCondition.ON_FAILURE,
            delay=timedelta(milliseconds=500),
            window=timedelta(seconds=90),
        ),
        registry_auth=RegistryAuth(username="deploy", password=Secret("secret")),
    )
    assert set(fields) == set(data)


def test_null_is_the_default_and_counts_as_given() -> None:
    spec, fields = manifest.parse_service({**WEB, "replicas": None, "env": None})

    assert spec == ServiceSpec(name="web", image="web:1")
    assert set(fields) == {"name", "image", "replicas", "env"}


def test_a_partial_manifest_needs_no_image() -> None:
    spec, fields = manifest.parse_service({"name": "web", "replicas": 5}, partial=True)

    assert spec == ServiceSpec(name="web", image="", replicas=5)
    assert set(fields) == {"name", "replicas"}


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (
            {**WEB, "ports": [{"targt": 1}]},
            "web.ports[0].targt: unknown key (did you mean target?)",
        ),
        ({**WEB, "replica": 1}, "web.replica: unknown key (did you mean replicas?)"),
        (
            {**WEB, "registry_auth": {"xyz": 1}},
            "web.registry_auth.xyz: unknown key (known are username, password)",
        ),
        ({**WEB, "replicas": -1}, "web.replicas: -1 is not between 0 and 10000"),
        ({**WEB, "replicas": "many"}, "web.replicas: 'many' is not a whole number"),
        ({**WEB, "replicas": True}, "web.replicas: true is not a whole number"),
        ({**WEB, "ports": [{"published": 80}]}, "web.ports[0].target: is required"),
        ({**WEB, "ports": [{"target": 0}]}, "web.ports[0].target: 0 is not between 1 and 65535"),
        (
            {**WEB, "ports": [{"target": 1, "protocol": "icmp"}]},
            "web.ports[0].protocol: 'icmp' is not one of tcp, udp",
        ),
        ({**WEB, "ports": {"target": 1}}, "web.ports: {'target': 1} is not a list"),
        ({**WEB, "command": "sleep 3600"}, "web.command: 'sleep 3600' is not a list"),
        ({**WEB, "env": ["A=1"]}, "web.env: ['A=1'] is not a mapping"),
        ({**WEB, "env": {"A": 1.1}}, "web.env.A: 1.1 is not text: put it in quotes"),
        ({**WEB, "env": {"a.b": True}}, "web.env['a.b']: true is not text: put it in quotes"),
        ({**WEB, "env": {"A": None}}, "web.env.A: nothing is not text"),
        ({**WEB, "env": {"A": "\ud800"}}, "web.env.A: is not valid Unicode text"),
        ({**WEB, "env": {"A": "a\0b"}}, "web.env.A: contains a NUL character"),
        (
            {**WEB, "resources": {"limits": {"memory": "lots"}}},
            "web.resources.limits.memory: 'lots' is not a size: "
            "write 256MiB, 1.5GB or a number of bytes",
        ),
        (
            {**WEB, "resources": {"limits": {"memory": -1}}},
            "web.resources.limits.memory: -1 is negative",
        ),
        (
            {**WEB, "resources": {"limits": {"memory": "9999999TiB"}}},
            "web.resources.limits.memory: '9999999TiB' is too large",
        ),
        (
            {**WEB, "resources": {"limits": {"cpus": float("nan")}}},
            "web.resources.limits.cpus: nan is not a number",
        ),
        ({**WEB, "stop_grace_period": -1}, "web.stop_grace_period: -1 is negative"),
        (
            {**WEB, "stop_grace_period": "soon"},
            "web.stop_grace_period: 'soon' is not a duration: write 500ms, 10s, 2m30s or seconds",
        ),
        ({**WEB, "image": ""}, "web.image: must not be empty"),
        ({"name": "web"}, "web.image: is required"),
        ({"image": "web:1"}, "service.name: is required"),
        (
            {"name": "My_Web", "image": "web:1"},
            "service.name: 'My_Web' is not a DNS label "
            "(lower-case letters, digits and inner hyphens, at most 63)",
        ),
        ([WEB], "service: [{'name': 'web', 'image': 'web:1'}] is not a mapping"),
        (None, "service: nothing is not a mapping"),
    ],
)
def test_refuses_with_path_and_reason(data: object, sentence: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        manifest.parse_service(data)

    assert str(refusal.value) == sentence


def test_writes_short_human_forms_without_defaults_or_secrets() -> None:
    spec = ServiceSpec(
        name="web",
        image="web:1",
        resources=Resources(limits=ResourceLimits(memory=Bytes(256 * 2**20), cpus=2.0)),
        registry_auth=RegistryAuth(username="deploy", password=Secret("secret")),
        stop_grace_period=timedelta(seconds=90),
        ports=(Port(target=8080, published=80),),
    )

    assert manifest.service_to_dict(spec) == {
        "name": "web",
        "image": "web:1",
        "resources": {"limits": {"memory": "256MiB", "cpus": 2}},
        "registry_auth": {"username": "deploy", "password": "(hidden)"},
        "stop_grace_period": "1m30s",
        "ports": [{"target": 8080, "published": 80}],
    }


def test_a_node_reads_like_a_service() -> None:
    data = {"name": "m1", "roles": ["manager"], "labels": {"zone": "n"}, "availability": "drain"}

    spec, fields = manifest.parse_node(data)

    assert spec == NodeSpec(
        name="m1",
        roles=(NodeRole.MANAGER,),
        labels={"zone": "n"},
        availability=Availability.DRAIN,
    )
    assert set(fields) == set(data)


def test_a_cluster_reads_like_a_service() -> None:
    spec, fields = manifest.parse_cluster({"name": "demo", "node_down_after": "10s"})

    assert spec == ClusterSpec(name="demo", node_down_after=timedelta(seconds=10))
    assert set(fields) == {"name", "node_down_after"}


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
MAPPINGS = st.dictionaries(TEXT, TEXT, max_size=3)
DURATIONS = st.integers(0, 10**9).map(lambda count: timedelta(milliseconds=count))
SIZES = st.integers(0, 2**50).map(Bytes)
CPUS = st.floats(0, 1024)
NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
PORTS = st.builds(
    Port,
    target=st.integers(1, 65535),
    published=st.integers(0, 65535),
    protocol=st.sampled_from(Protocol),
    mode=st.sampled_from(PortMode),
    name=st.just("") | NAMES,
)
SPECS = st.builds(
    ServiceSpec,
    name=NAMES,
    image=TEXT.filter(bool),
    command=st.lists(TEXT, max_size=3).map(tuple),
    env=MAPPINGS,
    resources=st.builds(
        Resources,
        limits=st.builds(ResourceLimits, memory=SIZES, cpus=CPUS, pids=st.integers(0, 4_194_304)),
        reservations=st.builds(ResourceReservations, memory=SIZES, cpus=CPUS),
    ),
    restart=st.builds(
        RestartPolicy,
        condition=st.sampled_from(RestartCondition),
        delay=DURATIONS,
        backoff=st.floats(1, 10),
        max_attempts=st.integers(0, 1_000_000),
    ),
    placement=st.builds(Placement, constraints=st.lists(TEXT, max_size=2).map(tuple)),
    pull=st.sampled_from(PullPolicy),
    registry_auth=st.none()
    | st.builds(RegistryAuth, username=TEXT.filter(bool), password=TEXT.map(Secret)),
    stop_grace_period=DURATIONS,
    replicas=st.integers(0, 10_000),
    ports=st.lists(PORTS, max_size=3).map(tuple),
    labels=MAPPINGS,
)


@given(spec=SPECS, omit_defaults=st.booleans())
def test_reading_is_the_inverse_of_writing(spec: ServiceSpec, omit_defaults: bool) -> None:
    written = manifest.service_to_dict(spec, omit_defaults=omit_defaults, secrets=True)

    read, _ = manifest.parse_service(written)

    assert read == spec


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "image", "ports", "env", "target", "resources", "limits", "x"])
            | st.integers(),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(data=JUNK)
def test_anything_is_read_or_refused(data: object) -> None:
    with suppress(InvalidInput):
        manifest.parse_service(data)
