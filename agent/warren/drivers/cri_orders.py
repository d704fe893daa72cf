"""A task's template as CRI requests. Data in, messages out; called by `containerd.py`.

Labels tie sandbox and container to the task, so that any later worker process finds them again;
they are the only memory that the driver has.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from warren.drivers import cri_pb2 as cri
from warren.drivers.cgroups import shares_of
from warren.drivers.ports import Mount, StartOrder
from warren.model.errors import DriverError
from warren.model.services import TaskTemplate

CLUSTER = "warren.cluster"
SERVICE = "warren.service"
TASK = "warren.task"
ATTEMPT = "warren.attempt"
SPEC_HASH = "warren.spec-hash"

_CPU_PERIOD_US = 100_000
_MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
"""A runtime behind CRI masks only what it is told to; these are what every other tool hides."""
_READONLY_PATHS = (
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What of this host goes into every order."""

    cluster_id: str
    cgroup_parent: str
    """Of the task, not of all tasks."""
    unified: Mapping[str, str]
    seccomp: bool
    """The kernel can filter system calls; without it a runtime refuses to try."""


def labels(order: StartOrder, cluster_id: str) -> dict[str, str]:
    """Of the sandbox and of the container."""
    return {
        CLUSTER: cluster_id,
        SERVICE: order.task.service,
        TASK: order.task.id,
        ATTEMPT: str(order.attempt),
        SPEC_HASH: spec_hash(order.task.template),
    }


def labels_of_task(order: StartOrder, cluster_id: str) -> dict[str, str]:
    """Those that all attempts of the task have."""
    return {CLUSTER: cluster_id, TASK: order.task.id}


def labels_of_attempt(order: StartOrder, cluster_id: str) -> dict[str, str]:
    """Those that the task's attempt has, whatever its template is."""
    return {**labels_of_task(order, cluster_id), ATTEMPT: str(order.attempt)}


def spec_hash(template: TaskTemplate) -> str:
    """Names a template in a label. Credentials are left out: labels are no place for them."""
    text = repr(replace(template, registry_auth=None, env=dict(sorted(template.env.items()))))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def sandbox(order: StartOrder, host: HostFacts, *, attempt: int) -> cri.PodSandboxConfig:
    """The sandbox. `attempt` counts our tries to make it, not the task's: see `containerd.py`.

    Also sent with a container for the sandbox of an earlier attempt: runtimes take the container's
    unique name and its log directory from here.
    """
    config = cri.PodSandboxConfig(
        metadata=cri.PodSandboxMetadata(
            name=order.task.name,
            uid=f"{order.task.id}-{order.attempt}",
            namespace=host.cluster_id,
            attempt=attempt,
        ),
        hostname=order.task.name,
        log_directory=str(order.log_path.parent),
        labels=labels(order, host.cluster_id),
        linux=cri.LinuxPodSandboxConfig(
            cgroup_parent=host.cgroup_parent,
            security_context=cri.LinuxSandboxSecurityContext(
                namespace_options=_namespaces(), seccomp=_seccomp(host)
            ),
        ),
    )
    if order.dns_servers:
        config.dns_config.servers.extend(order.dns_servers)
        config.dns_config.searches.append(order.dns_domain)
        # A name server that died is passed over in a second, not in five.
        config.dns_config.options.extend(("ndots:1", "timeout:1", "attempts:3"))
    return config


def container(order: StartOrder, host: HostFacts) -> cri.ContainerConfig:
    """The container within the sandbox."""
    template = order.task.template
    return cri.ContainerConfig(
        metadata=cri.ContainerMetadata(name=order.task.service),
        image=cri.ImageSpec(image=template.image),
        command=template.command,
        args=template.args,
        working_dir=template.working_dir,
        envs=[cri.KeyValue(key=key, value=value) for key, value in template.env.items()],
        labels=labels(order, host.cluster_id),
        mounts=[_mount(each) for each in order.mounts],
        log_path=order.log_path.name,
        linux=cri.LinuxContainerConfig(
            resources=_resources(template, host), security_context=_security(template, host)
        ),
    )


def _mount(mount: Mount) -> cri.Mount:
    return cri.Mount(
        container_path=mount.target, host_path=str(mount.source), readonly=mount.read_only
    )


def _resources(template: TaskTemplate, host: HostFacts) -> cri.LinuxContainerResources:
    limits = template.resources.limits
    return cri.LinuxContainerResources(
        cpu_period=_CPU_PERIOD_US if limits.cpus else 0,
        cpu_quota=max(1000, round(limits.cpus * _CPU_PERIOD_US)) if limits.cpus else 0,
        cpu_shares=shares_of(template.resources),
        memory_limit_in_bytes=limits.memory,
        unified=host.unified,
    )


def _security(template: TaskTemplate, host: HostFacts) -> cri.LinuxContainerSecurityContext:
    context = cri.LinuxContainerSecurityContext(
        namespace_options=_namespaces(),
        no_new_privs=True,
        masked_paths=_MASKED_PATHS,
        readonly_paths=_READONLY_PATHS,
        seccomp=_seccomp(host),
    )
    user, _, group = template.user.partition(":")
    if user.isdecimal():
        context.run_as_user.value = int(user)
    elif user:
        context.run_as_username = user
    if group:
        if not group.isdecimal() or not user:
            raise DriverError(f"user {template.user!r}: write a name, uid or uid:gid with numbers")
        context.run_as_group.value = int(group)
    return context


def _namespaces() -> cri.NamespaceOption:
    """The process is number 1 of its own, as images that bring an init expect."""
    return cri.NamespaceOption(pid=cri.CONTAINER)


def _seccomp(host: HostFacts) -> cri.SecurityProfile:
    profile = cri.SecurityProfile.RuntimeDefault if host.seccomp else cri.SecurityProfile.Unconfined
    return cri.SecurityProfile(profile_type=profile)
