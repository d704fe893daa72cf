"""What a volume driver must do, as tests that anybody can run against their own.

    @pytest.mark.parametrize("law", volume_contract.LAWS, ids=lambda law: law.__name__)
    def test_mine_keeps_the_contract(law, tmp_path):
        asyncio.run(law(Subject(make=lambda: MyVolumes(tmp_path))))

Needs whatever the driver needs, and the rights to write to what it mounts. Each law begins with a
volume of which nothing is there. What `ports.VolumeDriver` promises is in the docstrings there.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from warren.drivers.ports import VolumeDriver
from warren.model.volumes import Volume, VolumeSpec

_NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The driver that is tried."""

    make: Callable[[], VolumeDriver]
    """Another one of the same host, as another agent makes it."""
    driver: str = "local"
    """Its name."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Of the volumes that are tried."""
    other_options: Mapping[str, str] | None = None
    """Of a second volume, where options say which it is."""
    deletes: bool = True
    """Removing a volume deletes its data; False: that is somebody else's to do."""
    measures: bool = True
    """It knows how large a volume is."""

    def volume(self, name: str = "data", id: str = "v1", **spec: object) -> Volume:  # noqa: A002
        """A volume of the driver."""
        given = {"options": self.options, **spec}
        return Volume(
            spec=VolumeSpec(name=name, driver=self.driver, **given),  # type: ignore[arg-type]
            id=id,
            version=1,
            created_at=_NOW,
            updated_at=_NOW,
        )


async def a_new_volume_is_an_empty_directory_to_write_to(subject: Subject) -> None:
    path = await subject.make().mount(subject.volume())

    assert path.is_absolute()
    assert list(path.iterdir()) == []
    (path / "row").write_text("1")


async def what_is_in_it_stays(subject: Subject) -> None:
    """Through mounting twice, unmounting, and another agent."""
    driver, volume = subject.make(), subject.volume()
    path = await driver.mount(volume)
    (path / "row").write_text("1")

    assert await driver.mount(volume) == path
    assert (path / "row").read_text() == "1"
    await driver.unmount(volume)
    again = await subject.make().mount(volume)
    assert (again / "row").read_text() == "1"


async def what_a_task_made_of_its_owner_and_mode_stays(subject: Subject) -> None:
    """Databases set both themselves, and refuse what is otherwise."""
    driver, volume = subject.make(), subject.volume()
    path = await driver.mount(volume)
    path.chmod(0o700)

    again = await driver.mount(volume)

    assert again.stat().st_mode & 0o7777 == 0o700


async def volumes_are_apart(subject: Subject) -> None:
    """Also from one that had the same name before it."""
    driver = subject.make()
    options = subject.other_options if subject.other_options is not None else subject.options
    others = [subject.volume("logs", options=options)]
    if subject.deletes:
        others.append(subject.volume(id="v2"))
    path = await driver.mount(subject.volume())
    (path / "row").write_text("1")

    for other in others:
        assert list((await driver.mount(other)).iterdir()) == []


async def what_is_deleted_is_gone(subject: Subject) -> None:
    driver, volume = subject.make(), subject.volume()
    path = await driver.mount(volume)
    (path / "directory").mkdir()
    (path / "directory" / "row").write_text("1")
    await driver.unmount(volume)

    await driver.delete(volume)
    await driver.delete(volume)

    after = await driver.mount(volume)
    assert (list(after.iterdir()) == []) is subject.deletes


async def deleting_one_leaves_the_others(subject: Subject) -> None:
    driver, volume = subject.make(), subject.volume()
    options = subject.other_options if subject.other_options is not None else subject.options
    other = subject.volume("logs", options=options)
    (await driver.mount(other) / "row").write_text("1")
    await driver.mount(volume)
    await driver.unmount(volume)

    await driver.delete(volume)

    assert (await driver.mount(other) / "row").read_text() == "1"


async def nothing_is_no_trouble(subject: Subject) -> None:
    """To unmount, delete or measure what was never there."""
    driver, volume = subject.make(), subject.volume()

    await driver.unmount(volume)
    await driver.delete(volume)

    assert await driver.measure(volume) is None


async def its_size_is_what_was_written(subject: Subject) -> None:
    driver, volume = subject.make(), subject.volume()
    path = await driver.mount(volume)
    before = await driver.measure(volume)
    (path / "row").write_bytes(b"1" * 100_000)

    after = await driver.measure(volume)

    if not subject.measures:
        assert (before, after) == (None, None)
        return
    assert before is not None
    assert after is not None
    assert (after.name, after.id, after.path) == ("data", "v1", str(path))
    assert 90_000 < after.size - before.size < 120_000


LAWS: tuple[Callable[[Subject], Awaitable[None]], ...] = (
    a_new_volume_is_an_empty_directory_to_write_to,
    what_is_in_it_stays,
    what_a_task_made_of_its_owner_and_mode_stays,
    volumes_are_apart,
    what_is_deleted_is_gone,
    deleting_one_leaves_the_others,
    nothing_is_no_trouble,
    its_size_is_what_was_written,
)
