"""The parts of pyroute2 that we use, without the rest of it.

`import pyroute2` loads every protocol that the library knows, and keeps 6 MB of the worker for
them. So while its submodules are imported here, an empty package stands in for it; afterwards an
ordinary import works as ever.
"""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _bare_package(name: str) -> Iterator[None]:
    """Within, submodules of `name` can be imported although the package itself was not run."""
    spec = importlib.util.find_spec(name)
    if spec is None or name in sys.modules:
        yield
        return
    sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        yield
    finally:
        del sys.modules[name]


with _bare_package("pyroute2"):
    from pyroute2.iproute.linux import AsyncIPRoute as AsyncIPRoute
    from pyroute2.netlink import NLM_F_ACK as NLM_F_ACK
    from pyroute2.netlink import NLM_F_DUMP as NLM_F_DUMP
    from pyroute2.netlink import NLM_F_REQUEST as NLM_F_REQUEST
    from pyroute2.netlink.exceptions import NetlinkError as NetlinkError
    from pyroute2.netlink.generic import wireguard as wireguard
    from pyroute2.netlink.rtnl import rt_type as rt_type
