"""How long it takes to plan a rollout of a service of a thousand tasks on a hundred nodes.

`python -m tests.bench.rollout_plan [TASKS]`. The plan is the deciders run on a copy of the state;
for each strategy, ten percent at a time, the median and the best of several runs in milliseconds,
and the best in processor time, which a busy machine disturbs less.
"""

import statistics
import sys
import time
from collections.abc import Iterator

from warren.core import services, updates
from warren.model.rollouts import CanaryStep, Strategy, UpdatePolicy
from warren.testing.builders import NOON, a_node, a_service, a_state, a_task, at, counting_ids

NODES = 100
RUNS = 7


def measure(tasks: int, strategy: Strategy) -> Iterator[tuple[float, float]]:
    """Milliseconds of each run, and of the processor: from the changed spec to the lines that are
    shown."""
    steps = (CanaryStep(weight=10), CanaryStep(weight=50)) if strategy is Strategy.CANARY else ()
    policy = UpdatePolicy(strategy=strategy, parallelism="10%", steps=steps)
    web = a_service(replicas=tasks, update=policy)
    state = a_state(
        nodes=[a_node(f"w{n}", number=n) for n in range(1, NODES + 1)],
        services=[web],
        tasks=[a_task(n, f"w{n % NODES + 1}") for n in range(1, tasks + 1)],
    )
    for _ in range(RUNS):
        began, spent = time.perf_counter(), time.process_time()
        spec = services.merge(web.spec, a_service(image="new").spec, ["image"])
        change = updates.change(
            web, spec, expected_version=web.version, new_id="x", by="bench", now=NOON
        )
        lines, _ = services.plan(state, change, at(1), counting_ids())
        assert lines
        yield (time.perf_counter() - began) * 1000, (time.process_time() - spent) * 1000


def main() -> None:
    """Print a line for each strategy."""
    tasks = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    for strategy in Strategy:
        runs, spent = zip(*measure(tasks, strategy), strict=True)
        print(
            f"{strategy.value}: {statistics.median(runs):.0f} ms, best {min(runs):.0f} ms, "
            f"{min(spent):.0f} ms of the processor"
        )


if __name__ == "__main__":
    main()
