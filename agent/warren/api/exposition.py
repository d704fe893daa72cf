"""Figures as text that Prometheus reads (exposition format 0.0.4). Pure.

Names begin with `warren_`, times are in seconds, sizes in bytes; docs/metrics.md lists them all.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One line: labels and a value."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A name with all its lines."""

    name: str
    kind: str
    """`gauge` or `counter`."""
    help: str
    samples: tuple[Sample, ...]


def render(metrics: Iterable[Metric]) -> str:
    """The text, one paragraph per metric."""
    lines = []
    for metric in metrics:
        lines.append(f"# HELP {metric.name} {metric.help}")
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        lines += [_line(metric.name, sample) for sample in metric.samples]
    return "\n".join(lines) + "\n"


def one(name: str, text: str, value: float, **labels: str) -> Metric:
    """A gauge of one line."""
    return many(name, text, [Sample(labels=labels, value=value)])


def many(name: str, text: str, samples: Iterable[Sample], *, kind: str = "gauge") -> Metric:
    """A gauge, or what `kind` says, of one line per sample."""
    return Metric(name=f"warren_{name}", kind=kind, help=text, samples=tuple(samples))


def count(name: str, text: str, value: float) -> Metric:
    """A counter of one line."""
    return many(name, text, [Sample(labels={}, value=value)], kind="counter")


def _line(name: str, sample: Sample) -> str:
    labels = ",".join(f'{key}="{_escaped(value)}"' for key, value in sample.labels.items())
    return (
        f"{name}{{{labels}}} {_number(sample.value)}"
        if labels
        else f"{name} {_number(sample.value)}"
    )


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
