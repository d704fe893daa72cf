"""A mesh in memory, for tests of what stands on `drivers.ports.Mesh`."""

import base64
from collections import deque
from dataclasses import replace
from datetime import datetime
from hashlib import sha256

from warren.drivers import mesh_plan
from warren.drivers.ports import MeshConfig, PeerStatus
from warren.model.errors import DriverError, WarrenError


class FakeMesh:
    """Keeps the configuration as the device would. Tests read `configs` and set handshakes."""

    def __init__(self, *, public_key: str = "ZmFrZSBwdWJsaWMga2V5IG9mIHRoaXMgbm9kZSAgIDA=") -> None:
        self.key = public_key
        self.next_key = ""
        """Made when it is first asked for; tests read it."""
        self.configs: list[MeshConfig] = []
        """Every configuration that was applied, in order."""
        self.failures: deque[WarrenError] = deque()
        """Raised by the next calls of `apply`, one each."""
        self.mtu_now = 1420
        self._keys_made = 0
        self._peers: dict[str, PeerStatus] = {}

    def handshake(self, public_key: str, at: datetime) -> None:
        """The peer completed a handshake."""
        self._peers[public_key] = replace(self._peers[public_key], latest_handshake=at)

    async def public_key(self) -> str:
        return self.key

    async def next_public_key(self) -> str:
        if not self.next_key:
            self._keys_made += 1
            seed = f"{self.key} {self._keys_made}".encode()
            self.next_key = base64.b64encode(sha256(seed).digest()).decode()
        return self.next_key

    async def switch_key(self) -> None:
        if self.next_key:
            self.key, self.next_key = self.next_key, ""

    async def mtu(self) -> int:
        return self.mtu_now

    async def apply(self, config: MeshConfig) -> None:
        if self.failures:
            raise self.failures.popleft()
        present = {
            key: mesh_plan.DevicePeer(status=status, keepalive_s=config.keepalive_s)
            for key, status in self._peers.items()
        }
        peers, refusals = mesh_plan.acceptable(config, present)
        self.configs.append(config)
        self._peers = {
            peer.public_key: replace(
                self._peers.get(peer.public_key)
                or PeerStatus(
                    public_key=peer.public_key,
                    endpoint=peer.endpoint,
                    allowed_ips=(),
                    latest_handshake=None,
                ),
                allowed_ips=mesh_plan.allowed_ips(peer),
            )
            for peer in peers
        }
        if refusals:
            raise DriverError("; ".join(refusals))

    async def peers(self) -> tuple[PeerStatus, ...]:
        return tuple(self._peers[key] for key in sorted(self._peers))

    async def close(self) -> None:
        """Nothing to let go of; the configuration stays."""
