#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_preflight
short_description: Learn what a host is, and what stands against it becoming a node
version_added: 0.1.0
description:
  - Gathers all that the roles of Warren need to know of a host in one go, and changes nothing.
  - Fails if anything stands in the way, and says all of it at once instead of one thing per run.
  - The action plugin of the same name compares the host's clock with the control node's. It takes
    the time before and after the question, so that a slow connection is not held for a wrong clock.
author:
  - The Warren authors (@warren)
options:
  advertise_address:
    description:
      - Address or name by which other nodes reach this host.
      - A name is resolved on the host. What resolves to loopback is replaced by the address that
        the host would use to reach others.
    type: str
    default: ""
  tcp_ports:
    description: TCP ports that Warren is going to listen on.
    type: list
    elements: int
    default: []
  udp_ports:
    description: UDP ports that Warren is going to listen on.
    type: list
    elements: int
    default: []
  networks:
    description:
      - Networks that the cluster is going to use, by name.
      - None may overlap another, nor a network that the host reaches without Warren. A wider
        network behind a router may stand.
    type: dict
    default: {}
  releases:
    description: Codenames of supported Debian releases.
    type: list
    elements: str
    default: [bookworm, trixie]
  min_memory_mb:
    description: Memory that the host must have, in MiB.
    type: int
    default: 0
  min_disk_mb:
    description: Space in MiB that must be free in /var/lib of a host that is no node yet.
    type: int
    default: 0
  max_clock_skew:
    description: By how many seconds the host's clock may differ from the control node's.
    type: float
    default: 5
  foreign_firewalls:
    description: What to do about packet filters of others that drop what is forwarded.
    type: str
    choices: [refuse, warn, ignore]
    default: refuse
attributes:
  check_mode:
    description: Changes nothing, so check mode is no different.
    support: full
  diff_mode:
    description: Will return details on what has changed.
    support: N/A
"""

EXAMPLES = r"""
- name: Host is fit to be a manager
  warren.core.warren_preflight:
    tcp_ports: [7443, 7444, 7445]
    udp_ports: [51820]
"""

RETURN = r"""
problems:
  description: What stands in the way, one line each.
  returned: always
  type: list
  elements: str
ansible_facts:
  description: What the host is, under C(warren_host).
  returned: always
  type: dict
"""

import contextlib
import ctypes
import ipaddress
import itertools
import json
import os
import platform
import re
import shutil
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
OUR_UNITS = ("/warren-manager.service", "/warren-worker.service", "/warren-wireguard.service")
NO_INTERFACE = "*"
"""Of a route that refuses: so a node answers for addresses of its own that no task has."""
MESH_INTERFACE = "warren0"
NODE_FILE = Path("/var/lib/warren/node.json")
SOCKET = Path("/run/warren/warren.sock")

CAP_SYS_RESOURCE = 24
CLONE_NEWNET = 0x40000000
NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLMSG_ERROR = 2
RTM_NEWLINK = 16
NFT_GETGEN = 10 << 8 | 16
NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12
RTF_GATEWAY = 0x2
LISTENING = {"tcp": "0A", "udp": "07"}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "advertise_address": {"type": "str", "default": ""},
            "tcp_ports": {"type": "list", "elements": "int", "default": []},
            "udp_ports": {"type": "list", "elements": "int", "default": []},
            "networks": {"type": "dict", "default": {}},
            "releases": {"type": "list", "elements": "str", "default": ["bookworm", "trixie"]},
            "min_memory_mb": {"type": "int", "default": 0},
            "min_disk_mb": {"type": "int", "default": 0},
            "max_clock_skew": {"type": "float", "default": 5},
            "foreign_firewalls": {
                "type": "str",
                "choices": ["refuse", "warn", "ignore"],
                "default": "refuse",
            },
        },
        supports_check_mode=True,
    )
    host = describe(module.params["advertise_address"])
    problems = [
        *system_problems(host, module.params),
        *kernel_problems(host),
        *port_problems("tcp", module.params["tcp_ports"]),
        *port_problems("udp", module.params["udp_ports"]),
        *network_problems(module.params["networks"], Path("/proc/net/route").read_text()),
    ]
    firewalls = [] if module.params["foreign_firewalls"] == "ignore" else foreign_firewalls()
    if module.params["foreign_firewalls"] == "refuse":
        problems += firewalls
    else:
        for line in firewalls:
            module.warn(line)
    module.exit_json(
        changed=False,
        problems=problems,
        time=time.time(),
        ansible_facts={"warren_host": host},
    )


def describe(advertise: str) -> dict[str, Any]:
    """What the host is. No value depends on what Warren wants of it."""
    release = os_release()
    return {
        "distribution": release.get("ID", ""),
        "release": release.get("VERSION_CODENAME", ""),
        "name": release.get("PRETTY_NAME", platform.system()),
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "python": platform.python_version(),
        "address": own_address(advertise),
        "cgroup": cgroup_version(),
        "cap_sys_resource": has_capability(CAP_SYS_RESOURCE),
        "wireguard": wireguard_driver(),
        "memory_mb": memory_mb(),
        "disk_free_mb": disk_free_mb(Path("/var/lib")),
        "member": membership(),
        "serves": serves(),
    }


def system_problems(host: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    found = []
    if os.geteuid() != 0:
        found.append("the connection does not become root: set ansible_become: true")
    if host["distribution"] != "debian" or host["release"] not in wanted["releases"]:
        supported = ", ".join(wanted["releases"])
        found.append(f"{host['name']} is not supported: supported is Debian {supported}")
    if host["architecture"] not in ARCHITECTURES.values():
        found.append(f"architecture {host['architecture']} is not supported")
    if sys.version_info < (3, 11):
        found.append(f"its Python is {host['python']}, and the agent needs 3.11")
    if not Path("/run/systemd/system").is_dir():
        found.append("systemd is not its init, and the agent is run by systemd")
    if not host["address"]:
        found.append(
            f"{wanted['advertise_address'] or 'it'} has no IPv4 address that others reach: "
            "set warren_advertise_address"
        )
    if host["memory_mb"] < wanted["min_memory_mb"]:
        found.append(f"it has {host['memory_mb']} MiB of memory, needed {wanted['min_memory_mb']}")
    if not host["member"] and host["disk_free_mb"] < wanted["min_disk_mb"]:
        free = host["disk_free_mb"]
        found.append(f"{free} MiB are free in /var/lib, needed {wanted['min_disk_mb']}")
    return found


def kernel_problems(host: dict[str, Any]) -> list[str]:
    found = []
    if not has_filesystem("overlay"):
        found.append("its kernel has no overlayfs, which containers need")
    if not has_nftables():
        found.append("its kernel has no nftables, which published ports need")
    if host["wireguard"] == "userspace" and not Path("/dev/net/tun").exists():
        found.append("its kernel has neither WireGuard nor /dev/net/tun, and the mesh needs one")
    if not host["cgroup"]:
        found.append("no cgroup hierarchy is mounted at /sys/fs/cgroup")
    return found


def port_problems(protocol: str, ports: list[int]) -> list[str]:
    """Ports that somebody other than Warren listens on, with the name of who that is."""
    taken = listeners(protocol, set(ports))
    found = []
    for port in sorted(taken):
        owner = owner_of(taken[port])
        if owner:
            found.append(f"port {port}/{protocol} is taken by {owner}, and Warren needs it")
    return found


def listeners(protocol: str, ports: set[int]) -> dict[int, str]:
    """Inode of the socket that listens on each of these ports, for those that have one."""
    found = {}
    for table in (f"/proc/net/{protocol}", f"/proc/net/{protocol}6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                columns = line.split()
                port = int(columns[1].rpartition(":")[2], 16)
                if port in ports and columns[3] == LISTENING[protocol]:
                    found[port] = columns[9]
    return found


def owner_of(inode: str) -> str:
    """Who holds a socket, or nothing when that is Warren."""
    if inode == "0":  # a socket of the kernel: WireGuard's
        ours = Path(f"/sys/class/net/{MESH_INTERFACE}").exists()
        return "" if ours else "the kernel (another WireGuard interface)"
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                if str(descriptor.readlink()) != f"socket:[{inode}]":
                    continue
                if any(unit in (process / "cgroup").read_text() for unit in OUR_UNITS):
                    return ""
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
    return "a process that this host does not show"


def network_problems(networks: dict[str, str], routes: str) -> list[str]:
    """Networks of the cluster that overlap each other, or what the host has in its routes."""
    found, parsed = [], {}
    for name, text in networks.items():
        try:
            parsed[name] = ipaddress.IPv4Network(text)
        except ValueError as error:
            found.append(f"{name} is not an IPv4 network: {error}")
    for (name, network), (other, taken) in itertools.combinations(parsed.items(), 2):
        if network.overlaps(taken):
            found.append(f"{name} {network} overlaps {other} {taken}")
    for line in routes.splitlines()[1:]:
        columns = line.split()
        interface, destination, flags, mask = columns[0], columns[1], columns[3], columns[7]
        route = ipaddress.IPv4Network(f"{dotted(destination)}/{dotted(mask)}")
        if interface in (MESH_INTERFACE, "lo", NO_INTERFACE) or route.prefixlen in (0, 32):
            continue  # Warren's own, the way to the world, and tasks
        for name, network in parsed.items():
            direct = not int(flags, 16) & RTF_GATEWAY
            if route.overlaps(network) and (direct or route.subnet_of(network)):
                found.append(f"{name} {network} overlaps {route}, which it has on {interface}")
    return found


def dotted(address: str) -> str:
    """An address as /proc has it, as people write it."""
    return socket.inet_ntoa(bytes.fromhex(address)[::-1])


def foreign_firewalls() -> list[str]:
    """Chains of others that drop forwarded packets, and so packets between tasks."""
    chains = set()
    for command in ("iptables", "iptables-legacy"):
        if "-P FORWARD DROP" in output([command, "-S", "FORWARD"]):
            chains.add("ip filter FORWARD")
    with contextlib.suppress(ValueError, KeyError):
        for entry in json.loads(output(["nft", "-j", "list", "chains"]))["nftables"]:
            chain = entry.get("chain", {})
            # firewalld's own accepts, after a rule that refuses what no zone allows.
            drops = chain.get("hook") == "forward" and (
                chain.get("policy") == "drop" or chain["table"] == "firewalld"
            )
            if drops and chain["family"] in ("ip", "inet") and chain["table"] != "warren":
                chains.add(f"{chain['family']} {chain['table']} {chain['name']}")
    services = [name for name in ("docker", "ufw", "firewalld") if is_active(name)]
    by = f" (active here: {', '.join(services)})" if services else ""
    return [
        f"the packet filter of somebody else drops what is forwarded: chain {chain}{by}; let it "
        "accept forwarded packets, or set warren_preflight_foreign_firewalls to warn"
        for chain in sorted(chains)
    ]


def is_active(service: str) -> bool:
    return output(["systemctl", "is-active", f"{service}.service"]).strip() == "active"


def own_address(advertise: str) -> str:
    """The IPv4 address by which others reach this host; empty text if there is none."""
    with contextlib.suppress(OSError, ValueError):
        if advertise:
            for answer in socket.getaddrinfo(advertise, None, socket.AF_INET):
                address = str(answer[-1][0])
                if not ipaddress.ip_address(address).is_loopback:
                    return address
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("198.51.100.1", 9))  # sends nothing: it only chooses a source address
        return str(probe.getsockname()[0])
    return ""


def membership() -> dict[str, Any]:
    """What node.json says of this host, without its secrets."""
    try:
        node = json.loads(NODE_FILE.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    public = ("cluster", "cluster_id", "node_id", "name", "roles", "mesh_address", "api_port")
    return {key: node[key] for key in public if key in node}


def serves() -> bool:
    """Whether a manager runs here and lets root ask it."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(5)
        channel.connect(str(SOCKET))
        return True
    return False


def cgroup_version() -> str:
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        return "v2"
    return "v1" if any(root.glob("*/cgroup.procs")) else ""


def has_capability(number: int) -> bool:
    """Whether processes of this host may have the capability, which a container may lack."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    match = re.search(r"^CapBnd:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return bool(match and int(match[1], 16) >> number & 1)


def has_filesystem(name: str) -> bool:
    if re.search(rf"\b{name}$", Path("/proc/filesystems").read_text(), re.MULTILINE):
        return True
    return module_available(name)


def has_nftables() -> bool:
    generation = struct.pack("=BBH", 0, 0, 0)
    code = netlink(NETLINK_NETFILTER, NFT_GETGEN, NLM_F_REQUEST | NLM_F_ACK, generation)
    return code == 0 or module_available("nf_tables")


def wireguard_driver() -> str:
    """`kernel` if the kernel can make a WireGuard interface: tried in a network of its own."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.unshare(CLONE_NEWNET) == 0:
                code = 0 if _create_wireguard() == 0 else 2
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    known = {0: True, 2: False}.get(os.waitstatus_to_exitcode(status))
    if known is None:
        known = Path("/sys/module/wireguard").exists() or module_available("wireguard")
    return "kernel" if known else "userspace"


def _create_wireguard() -> int:
    def attribute(kind: int, content: bytes) -> bytes:
        padding = b"\0" * (-len(content) % 4)
        return struct.pack("=HH", len(content) + 4, kind) + content + padding

    link = struct.pack("=BxHiII", 0, 0, 0, 0, 0)
    name = attribute(3, b"probe0\0")
    kind = attribute(18, attribute(1, b"wireguard"))
    flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL
    return netlink(NETLINK_ROUTE, RTM_NEWLINK, flags, link + name + kind)


def netlink(family: int, kind: int, flags: int, payload: bytes) -> int:
    """Ask the kernel something; 0 if it agreed, else the number of the error."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, family) as channel:
            channel.settimeout(5)
            channel.send(struct.pack("=IHHII", len(payload) + 16, kind, flags, 1, 0) + payload)
            answer = channel.recv(65536)
    except OSError as error:
        return error.errno or 1
    answered = struct.unpack_from("=IH", answer)[1]
    return -struct.unpack_from("=i", answer, 16)[0] if answered == NLMSG_ERROR else 0


def module_available(name: str) -> bool:
    """Whether the kernel could load the module. Asks; loads nothing."""
    directory = Path("/lib/modules") / platform.release()
    pattern = re.compile(rf"/{name}\.ko", re.MULTILINE)
    for file in ("modules.dep", "modules.builtin"):
        with contextlib.suppress(OSError):
            if pattern.search((directory / file).read_text()):
                return True
    return False


def memory_mb() -> int:
    match = re.search(r"^MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return int(match[1]) // 1024 if match else 0


def disk_free_mb(path: Path) -> int:
    return shutil.disk_usage(path).free >> 20


def os_release() -> dict[str, str]:
    with contextlib.suppress(OSError):
        return dict(platform.freedesktop_os_release())
    return {}


def output(argv: list[str]) -> str:
    """What a program prints; nothing if it is not there or fails."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20)
        return done.stdout
    return ""


if __name__ == "__main__":
    main()
