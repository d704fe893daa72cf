"""Which update policies make sense. Pure; called by `core/services.py` at an Apply.

The types have ruled out what one value alone can be wrong in; here is what takes more than one.
Each refusal names the field by its path.
"""

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

from warren.core import amounts, analyses, loads
from warren.model.errors import InvalidInput
from warren.model.rollouts import Analysis, Strategy, UpdateOrder, UpdatePolicy
from warren.model.services import Protocol, ServiceSpec
from warren.model.units import format_duration

_LONGEST = timedelta(days=7)
_INTERVAL_MIN = timedelta(seconds=1)
_TIMEOUT_MAX = timedelta(minutes=10)
_STEPS_MAX = 100
_ANALYSES_MAX = 20
_SOURCES_MAX = 64


def check(spec: ServiceSpec) -> None:
    """InvalidInput if the service's update policy makes no sense."""
    policy = spec.update
    if policy is None:
        return
    path = f"{spec.name}.update"
    for name in ("delay", "monitor", "progress_deadline", "grace_period"):
        _within(getattr(policy, name), timedelta(), _LONGEST, f"{path}.{name}")
    _check_floor(spec, policy, path)
    _check_strategy(policy, path)
    _check_both_on_a_node(spec, policy, path)
    _check_steps(policy, path)
    if policy.smoke is not None:
        _check_analysis(spec, policy.smoke, f"{path}.smoke")
    for number, analysis in enumerate(policy.analysis):
        _check_analysis(spec, analysis, f"{path}.analysis[{number}]")
    _check_names(policy.analysis, path)
    _check_pin(policy, f"{path}.pin")


def _within(value: timedelta, low: timedelta, high: timedelta, path: str) -> None:
    if not low <= value <= high:
        bounds = f"{format_duration(low)} and {format_duration(high)}"
        raise InvalidInput(f"{format_duration(value)} is not between {bounds}", path=path)


def _check_floor(spec: ServiceSpec, policy: UpdatePolicy, path: str) -> None:
    """Stopping first is stopping something."""
    stops_first = policy.order is UpdateOrder.STOP_FIRST and policy.strategy is Strategy.ROLLING
    if not stops_first or not policy.min_healthy or not spec.replicas:
        return
    if spec.is_global:
        if amounts.of(policy.min_healthy, 100) >= 100 and policy.min_healthy.endswith("%"):
            message = f"{policy.min_healthy} leaves none to stop first (order)"
            raise InvalidInput(message, path=f"{path}.min_healthy")
    elif amounts.of(policy.min_healthy, spec.replicas) >= spec.replicas:
        message = f"{policy.min_healthy} of {spec.replicas} leaves none to stop first (order)"
        raise InvalidInput(message, path=f"{path}.min_healthy")


def _check_strategy(policy: UpdatePolicy, path: str) -> None:
    """What only one strategy knows is refused with another, so that nobody relies on it."""
    strategy = policy.strategy
    if strategy is Strategy.CANARY and not policy.steps:
        raise InvalidInput("are needed by a canary", path=f"{path}.steps")
    if strategy is not Strategy.CANARY:
        for name in ("steps", "analysis"):
            if getattr(policy, name):
                message = f"is for strategy canary, not {strategy.value}"
                raise InvalidInput(message, path=f"{path}.{name}")
    if strategy is not Strategy.BLUE_GREEN:
        if policy.smoke is not None:
            message = f"is for strategy blue_green, not {strategy.value}"
            raise InvalidInput(message, path=f"{path}.smoke")
        if not policy.auto_promote:
            message = f"is for strategy blue_green, not {strategy.value}"
            raise InvalidInput(message, path=f"{path}.auto_promote")


def _check_both_on_a_node(spec: ServiceSpec, policy: UpdatePolicy, path: str) -> None:
    """A set beside another has, of a global service, two tasks on each node."""
    if not spec.is_global or policy.strategy is Strategy.ROLLING:
        return
    taken = [f"{port}/{protocol.value}" for port, protocol in loads.host_ports(spec.ports)]
    if spec.placement.max_per_node == 1:
        why = "placement.max_per_node allows"
    elif taken:
        why = f"port {taken[0]} in mode host allows"
    else:
        return
    message = f"{policy.strategy.value} has two tasks of a global service on a node, and {why} one"
    raise InvalidInput(message, path=f"{path}.strategy")


def _check_steps(policy: UpdatePolicy, path: str) -> None:
    if len(policy.steps) > _STEPS_MAX:
        raise InvalidInput(f"are at most {_STEPS_MAX}", path=f"{path}.steps")
    for number, step in enumerate(policy.steps):
        _within(step.duration, timedelta(), _LONGEST, f"{path}.steps[{number}].duration")
        if step.manual and step.duration:
            message = "is for steps that go on by themselves, not manual ones"
            raise InvalidInput(message, path=f"{path}.steps[{number}].duration")
    if policy.steps and not policy.steps[0].weight and policy.pin is None:
        message = "0 is for a canary with a pin: nobody else would reach it"
        raise InvalidInput(message, path=f"{path}.steps[0].weight")
    for number, (one, other) in enumerate(pairwise(policy.steps), 1):
        if other.weight <= one.weight:
            message = f"{other.weight} is not more than {one.weight} of the step before"
            raise InvalidInput(message, path=f"{path}.steps[{number}].weight")


def _check_pin(policy: UpdatePolicy, path: str) -> None:
    if policy.pin is None:
        return
    if policy.strategy is Strategy.ROLLING:
        raise InvalidInput("is for strategies canary and blue_green, not rolling", path=path)
    if len(policy.pin.sources) > _SOURCES_MAX:
        raise InvalidInput(f"are at most {_SOURCES_MAX}", path=f"{path}.sources")


def _check_analysis(spec: ServiceSpec, analysis: Analysis, path: str) -> None:
    kinds = ("http", "prometheus", "exec")
    given = [name for name in kinds if getattr(analysis, name) is not None]
    if not given:
        raise InvalidInput("needs one of http, prometheus, exec", path=path)
    if len(given) > 1:
        message = f"takes one of http, prometheus, exec, not {' and '.join(given)}"
        raise InvalidInput(message, path=path)
    _within(analysis.interval, _INTERVAL_MIN, _LONGEST, f"{path}.interval")
    _within(analysis.timeout, timedelta(milliseconds=10), _TIMEOUT_MAX, f"{path}.timeout")
    has_tcp = any(port.protocol is Protocol.TCP for port in spec.ports)
    if analysis.http is not None and not analysis.http.port and not has_tcp:
        message = "is needed: the service has no TCP port to stand for it"
        raise InvalidInput(message, path=f"{path}.http.port")
    if analysis.exec is not None and not (analysis.exec.command and analysis.exec.command[0]):
        raise InvalidInput("must not be empty", path=f"{path}.exec.command")
    query = analysis.prometheus
    if query is None:
        return
    if query.min is None and query.max is None:
        raise InvalidInput("needs min or max", path=f"{path}.prometheus")
    if query.min is not None and query.max is not None and query.min > query.max:
        message = f"{query.min:g} is above max, {query.max:g}"
        raise InvalidInput(message, path=f"{path}.prometheus.min")


def _check_names(found: Sequence[Analysis], path: str) -> None:
    if len(found) > _ANALYSES_MAX:
        raise InvalidInput(f"are at most {_ANALYSES_MAX}", path=f"{path}.analysis")
    known = analyses.names_of(found)
    for number, name in enumerate(known):
        if name in known[:number]:
            message = f"{name} is the name of analysis[{known.index(name)}] already"
            raise InvalidInput(message, path=f"{path}.analysis[{number}].name")
