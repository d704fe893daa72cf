"""Values that are nowhere else, and the search for them on hosts."""

import uuid

from conftest import INVENTORY, run

PLACES = ("/", "journal:", "environments:", "commands:")


class Marker:
    """Hosts are asked for it in halves, as they log what they run."""

    def __init__(self) -> None:
        self.halves = (uuid.uuid4().hex[:16], uuid.uuid4().hex[:16])
        self.text = "".join(self.halves)
        self.value = self.text.encode()

    def places(self, hosts: str = "all") -> list[str]:
        """Files, journals, environments and command lines of processes that have it, on any of the
        hosts."""
        one, other = self.halves
        search = (
            f'p="{one}""{other}"; '
            'grep -rlaFs -e "$p" /etc /home /opt /root /run /srv /tmp /usr/local /var; '
            'journalctl -a --no-pager | grep -caF -e "$p" | sed "s/^/journal:/" | grep -v :0; '
            'cat /proc/[0-9]*/environ 2>/dev/null | grep -caF -e "$p" '
            '| sed "s/^/environments:/" | grep -v :0; '
            f'ps -eo args | grep -c -e "[{one[0]}]{one[1:]}""{other}" '
            '| sed "s/^/commands:/" | grep -v :0; true'
        )
        command = ("ansible", "-i", str(INVENTORY), hosts, "-o", "-m", "ansible.builtin.shell")
        output = run(*command, "-a", search).stdout
        words = output.replace("\\n", " ").replace("(stdout)", " ").split()
        return sorted(word for word in words if word.startswith(PLACES))
