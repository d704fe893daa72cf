"""Chance faults against a simulated cluster: one seed, one life of it.

Each seed draws its own climate (how often things crash, how slow disks are, how early snapshots
come), then in every step a topology, crashes, pauses, breaks, full disks, members that come and go,
and clients that write and read through everybody, stale leaders included.
"""

import random

from warren.store.raft.compaction import Limits
from warren.store.raft.members import Change, Step
from warren.store.raft.pending import Answer
from warren.store.raft.raft_state import Leader
from warren.testing.raft_simulation_world import Plan, World

STEPS = 40


class Climate:
    """What a seed's life is like."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(f"climate {seed}")
        pick = chance.choice
        self.members = pick([3, 3, 5])
        self.limits = Limits(
            snapshot_entries=pick([8, 30, 10_000]), tail_entries=pick([0, 0, 3, 20])
        )
        self.latency = pick([0.001, 0.01, 0.08])
        self.failpoints = pick([0.0, 0.0003, 0.003])
        self.power = pick([0.0, 0.5, 1.0])
        self.crash = pick([0.0, 0.1, 0.3])
        self.crash_all = pick([0.0, 0.0, 0.03])
        self.pause = pick([0.0, 0.1, 0.3])
        self.slow = pick([0.0, 0.2])
        self.broken = pick([0.0, 0.2])
        self.force = pick([0.0, 0.3, 0.8])
        """Elections that the leader asked for: those without pre-vote."""
        self.members_change = pick([0.0, 0.0, 0.3])
        self.disk_full = pick([0.0, 0.0, 0.05])
        self.sync = pick([0.0003, 0.0003, 0.02])
        self.size = pick([0, 0, 3000])
        self.plan = Plan(
            seed=seed,
            members=self.members,
            limits=self.limits,
            snapshot_seconds=(0.001, pick([0.01, 0.5])),
            sync_seconds=(0.0001, self.sync),
        )


def live(seed: int, steps: int = STEPS) -> World:
    """One life, to the end. Raises Violation when a law breaks."""
    climate = Climate(seed)
    world = World(climate.plan)
    world.network.latency = (0.0002, climate.latency)
    world.power_share = climate.power
    life = Life(world, climate)
    world.run(1.5)
    for _ in range(steps):
        life.step()
    world.settle()
    return world


class Life:
    """What happens in a world, step by step."""

    def __init__(self, world: World, climate: Climate) -> None:
        self.world, self.climate = world, climate
        self.chance = world.chance
        self.operations = 0
        self.changing = False

    def step(self) -> None:
        """Change the weather, then let clients work in it."""
        world, chance, climate = self.world, self.chance, self.climate
        self._rewire()
        world.failpoint_rate = climate.failpoints
        self._hurt()
        for _ in range(chance.choice([1, 2, 4])):
            self._force_election()
            self._work()
            self._change_members()
            world.run(chance.choice([0.005, 0.05, 0.3]))
        for node_id in list(world.ids):
            world.disk(node_id).is_full = False
            if node_id not in world.processes and chance.random() < 0.4:
                world.start(node_id)

    def _rewire(self) -> None:
        network = self.world.network
        wanted = self._topology()
        for a, b in sorted(network.blocked - wanted):
            if (b, a) in wanted:
                network.blocked.discard((a, b))
            else:
                network.unblock(a, b)
        network.blocked |= wanted

    def _topology(self) -> set[tuple[str, str]]:
        chance, ids, leader = self.chance, sorted(self.world.ids), self.world.leader()
        kind = chance.choice(
            ["full", "full", "leader", "minority", "split", "bridge", "one way", "any", "random"]
        )
        mixed = chance.sample(ids, len(ids))
        half = len(ids) // 2
        match kind:
            case "leader" if leader:
                return _between([leader], [n for n in ids if n != leader])
            case "minority" if leader:
                rest = [n for n in mixed if n != leader]
                few = max(0, (len(ids) - 1) // 2 - 1)
                return _between([leader, *rest[:few]], rest[few:])
            case "split":
                cut = chance.randrange(1, len(ids)) if len(ids) > 1 else 1
                return _between(mixed[:cut], mixed[cut:])
            case "bridge":
                return _between(mixed[:half], mixed[half + 1 :])
            case "one way":
                ways = [
                    (mixed[0], n) if chance.random() < 0.5 else (n, mixed[0]) for n in mixed[1:]
                ]
                return {way for way in ways if chance.random() < 0.7}
            case "any":
                return _between(mixed[:1], mixed[1:])
            case "random":
                ways = [(a, b) for a in ids for b in ids if a != b]
                return {way for way in ways if chance.random() < 0.3}
        return set()

    def _hurt(self) -> None:
        world, chance, climate = self.world, self.chance, self.climate
        alive = sorted(world.processes)
        if alive and chance.random() < climate.crash:
            leader = world.leader()
            victim = leader if leader and chance.random() < 0.5 else chance.choice(alive)
            power = chance.random() < climate.power
            world.crash(victim, power=power, silently=chance.random() < 0.5)
        if chance.random() < climate.crash_all:
            for node_id in alive:
                world.crash(node_id, power=chance.random() < climate.power)
        if world.processes and chance.random() < climate.pause:
            world.pause(chance.choice(sorted(world.processes)), chance.choice([0.05, 0.5, 1.5]))
        a, b = chance.sample(sorted(world.ids), 2)
        if chance.random() < climate.slow:
            world.network.slow[a, b] = chance.choice([0.0, 0.02, 0.3, 1.0])
        if chance.random() < climate.broken:
            world.network.break_pair(a, b)
        if chance.random() < climate.disk_full:
            world.disk(a).is_full = True

    def _force_election(self) -> None:
        """As a hand-over would at any time, whether the target is ready or not."""
        if self.chance.random() >= self.climate.force:
            return
        able = [p for p in self.world.processes.values() if p.paused_until <= self.world.now]
        if not able:
            return
        process = self.chance.choice(sorted(able, key=lambda p: p.node_id))
        node = process.node
        if not isinstance(node.raft.role, Leader):
            self.world.run_process(process, lambda: node.force_election(self.world.now))
            self.world.wake(process)

    def _work(self) -> None:
        world, chance = self.world, self.chance
        for node_id in sorted(world.processes):
            process = world.processes.get(node_id)
            if process is None:
                continue
            leads = isinstance(process.node.raft.role, Leader)
            if leads or chance.random() < 0.1:
                for _ in range(chance.choice([0, 1, 3, 12])):
                    self.operations += 1
                    size = chance.choice([0, self.climate.size])
                    world.write(node_id, f"op-{self.operations}", size=size)
            if chance.random() < 0.4:
                world.read(node_id)

    def _change_members(self) -> None:
        world, chance = self.world, self.chance
        if self.changing or chance.random() >= self.climate.members_change:
            return
        leader = world.leader()
        if leader is None:
            return
        configuration = world.processes[leader].node.log.configuration
        learners = sorted(configuration.ids - configuration.voters)
        self.changing = True
        if learners and chance.random() < 0.7:
            self._ask(Change(step=Step.PROMOTE, node_id=learners[0]))
        elif len(configuration.ids) < 5 and chance.random() < 0.6:
            node_id = world.add_host()
            self._ask(Change(step=Step.ADD, node_id=node_id, address=f"{node_id}:1"))
        else:
            wanted = chance.choice(sorted(configuration.ids))
            kind = chance.choice([Step.REMOVE, Step.REMOVE, Step.DEMOTE])
            self._ask(Change(step=kind, node_id=wanted))

    def _ask(self, wish: Change) -> None:
        def answered(answer: Answer) -> None:
            self.changing = False
            self.world.counts[f"{wish.step.value} {type(answer).__name__}"] += 1

        self.world.change(wish, answered)


def _between(some: list[str], others: list[str]) -> set[tuple[str, str]]:
    return {way for a in some for b in others for way in ((a, b), (b, a))}
