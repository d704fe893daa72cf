"""What the role `reset` leaves of the balancer on a host: nothing, and of others everything."""

import subprocess
from pathlib import Path

import yaml
from warren.drivers.nftables import Nftables

from tests.contract.balanced_network import FIRST, Network, a_service, apply
from tests.contract.namespaces import run

_TASKS = Path(__file__).parents[2] / "roles/reset/tasks/main.yml"


async def test_what_the_balancer_made_goes_and_nothing_else(
    balanced_network: Network, no_rules: None
) -> None:
    run("nft add table ip other")
    before = (run("nft list ruleset"), run("ip -4 addr"), run("ip -4 route show table all"))
    await apply(Nftables(layout="ranges"), a_service(FIRST))
    during = (run("nft list ruleset"), run("ip -4 addr"), run("ip -4 route show table all"))

    first, second = _removal(), _removal()

    after = (run("nft list ruleset"), run("ip -4 addr"), run("ip -4 route show table all"))
    assert all(one != other for one, other in zip(before, during, strict=True))
    assert after == before
    assert ("removed" in first, "removed" in second) == (True, False)


def _removal() -> str:
    """What the role's task prints, here instead of on a host."""
    tasks = yaml.safe_load(_TASKS.read_text())
    (script,) = (
        task["ansible.builtin.shell"]["cmd"]
        for task in tasks
        if "nft delete table" in str(task.get("ansible.builtin.shell"))
    )
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
