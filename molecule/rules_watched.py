"""Every change of the rules of services on the hosts of the fleet, as their kernels tell it."""

import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

WATCH = "stdbuf -oL nft monitor & watching=$!; cat > /dev/null; sleep 0.2; kill $watching"
"""Until standard input ends, and a little longer: what was done before that is told, too."""


@contextmanager
def rules_watched(names: Iterable[str], ssh_config: Path) -> Iterator[Mapping[str, list[str]]]:
    """What was changed during the block, by host; hosts where nothing was are left out. Whole only
    after the block."""
    changes: dict[str, list[str]] = {}
    with ExitStack() as stack:
        watches = {name: stack.enter_context(_watch(name, ssh_config)) for name in names}
        yield changes
        for name, watch in watches.items():
            told, _ = watch.communicate()
            lines = [line for line in told.splitlines() if " ip warren" in line]
            if lines:
                changes[name] = lines


@contextmanager
def _watch(name: str, ssh_config: Path) -> Iterator[subprocess.Popen[str]]:
    watch = subprocess.Popen(
        ["ssh", "-F", str(ssh_config), name, WATCH],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield watch
    finally:
        if watch.poll() is None:
            watch.kill()
            watch.wait()
