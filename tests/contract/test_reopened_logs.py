"""Both runtimes go on in a new log file when they are told that the old one was renamed."""

from datetime import timedelta
from pathlib import Path

import pytest
from warren.drivers.ports import Runtime
from warren.model.errors import DriverError
from warren.model.services import PullPolicy

from tests.contract.images import BUSYBOX
from tests.contract.orders import an_order


async def test_a_running_instance_begins_a_new_log(runtime: Runtime, tmp_path: Path) -> None:
    order = an_order(tmp_path)
    await runtime.ensure_image(BUSYBOX, PullPolicy.MISSING, None)
    instance = await runtime.start(order)
    order.log_path.parent.mkdir(parents=True, exist_ok=True)
    order.log_path.touch()
    order.log_path.rename(order.log_path.with_suffix(".old"))

    await runtime.reopen_log(instance)

    assert order.log_path.exists()


async def test_a_dead_instance_begins_none(runtime: Runtime, tmp_path: Path) -> None:
    order = an_order(tmp_path)
    await runtime.ensure_image(BUSYBOX, PullPolicy.MISSING, None)
    instance = await runtime.start(order)
    await runtime.stop(instance, signal="", grace=timedelta())

    with pytest.raises(DriverError):
        await runtime.reopen_log(instance)
