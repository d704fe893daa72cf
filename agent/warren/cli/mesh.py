"""`warren mesh …`: the WireGuard mesh between the nodes."""

import argparse
from datetime import timedelta

from warren.cli import common
from warren.cli.common import Nouns, Options
from warren.model.views import MeshLink, MeshView


def register(nouns: Nouns, shared: argparse.ArgumentParser) -> None:
    """Add the noun with its verbs."""
    verbs = common.add_noun(nouns, "mesh", "the WireGuard mesh between the nodes")
    common.add_verb(
        verbs, shared, "status", "have every node measure its way to every other", status
    )


def status(options: Options) -> int:
    """Measure now. Fails when something is wrong with the mesh."""
    from warren.client import reports

    with common.client(options) as client:
        view = client.measure_mesh(timeout=max(options.timeout, 20.0))
    names = [node.name for node in view.nodes]
    links = {(link.source, link.target): link for link in view.links}
    rows = [
        (
            node.name,
            node.mesh.address,
            node.mesh.endpoint,
            str(node.mtu or "?"),
            *(_cell(view, links.get((node.name, other)), node.name == other) for other in names),
        )
        for node in view.nodes
    ]
    headers = ("FROM", "ADDRESS", "ENDPOINT", "MTU", *(f"TO {name}" for name in names))
    common.show(options, reports.mesh(view), headers, rows)
    problems = tuple(reports.mesh_problems(view))
    for problem in problems:
        common.say(problem)
    return 1 if problems else 0


def _cell(view: MeshView, link: MeshLink | None, is_itself: bool) -> str:
    """Time there and back; the largest packet, where that is less than it should be."""
    if is_itself:
        return "·"
    if link is None:
        return "?"
    if not link.reachable:
        return "-"
    text = f"{link.latency / timedelta(milliseconds=1):.1f}ms"
    return text if link.mtu >= view.mtu else f"{text} (mtu {link.mtu})"
