"""Values that are nowhere else, and every place on the hosts where they may not be."""

import uuid
from datetime import timedelta

from conftest import INVENTORY, run
from warren.client.client import Client

PLACES = ("/", "journal:", "environments:")
SECONDS = timedelta(seconds=10)


class Marker:
    """A value that is nowhere else. Hosts are asked for it in halves, as they log what they run."""

    def __init__(self) -> None:
        self.halves = (uuid.uuid4().hex[:16], uuid.uuid4().hex[:16])
        self.value = "".join(self.halves).encode()

    def places(self) -> list[str]:
        """Files, journals and environments of processes that have it, on any host."""
        one, other = self.halves
        search = (
            f'p="{one}""{other}"; '
            'grep -rlaFs -e "$p" /etc /home /opt /root /run /srv /tmp /usr/local /var; '
            'journalctl -a --no-pager | grep -caF -e "$p" | sed "s/^/journal:/" | grep -v :0; '
            'cat /proc/[0-9]*/environ 2>/dev/null | grep -caF -e "$p" '
            '| sed "s/^/environments:/" | grep -v :0; true'
        )
        command = ("ansible", "-i", str(INVENTORY), "all", "-o", "-m", "ansible.builtin.shell")
        output = run(*command, "-a", search).stdout
        words = output.replace("\\n", " ").replace("(stdout)", " ").split()
        return sorted(word for word in words if word.startswith(PLACES))


def said(client: Client, name: str, command: str) -> str:
    words = ("busybox", "sh", "-c", command)
    return client.execute(f"{name}.1", words, timeout=SECONDS).stdout.decode().strip()
