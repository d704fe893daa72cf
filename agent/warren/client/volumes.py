"""Waiting for volumes to be gone: their data is deleted by their nodes."""

import time
from datetime import timedelta
from typing import TYPE_CHECKING

from warren.model.errors import NotFound, WaitFailed

if TYPE_CHECKING:
    from warren.client import Client

PATIENCE = timedelta(seconds=60)
_PAUSE_SECONDS = 0.2


def remove(client: "Client", name: str, *, timeout: timedelta = PATIENCE) -> bool:
    """Remove a volume and wait until it is gone; answers whether there was one. WaitFailed says
    what it waits for."""
    existed = client.delete_volume(name)
    deadline = time.monotonic() + timeout.total_seconds()
    while True:
        try:
            view = client.get_volume(name, usage=False)
        except NotFound:
            return existed
        existed = True
        if not view.volume.removing:  # somebody has made it anew
            return existed
        if time.monotonic() > deadline:
            why = view.trouble or f"{view.volume.node_name} has not deleted its data yet"
            raise WaitFailed(f"volume {name} is being removed: {why}")
        time.sleep(_PAUSE_SECONDS)
