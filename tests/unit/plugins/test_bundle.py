"""The bundle's own laws: what is harmed is named, and a host gets its release's part."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.warren.core.plugins.module_utils import (
    bundle_files,
    bundle_images,
    bundle_wheels,
)
from ansible_collections.warren.core.plugins.module_utils.bundle_files import BundleError
from ansible_collections.warren.core.plugins.modules import warren_bundle

WHEEL = "wheels/trixie/a-1-py3-none-any.whl"
DEB = "debs/bookworm/b_1_all.deb"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle with one file for each of two releases."""
    files: dict[str, Any] = {}
    for name in (WHEEL, DEB):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(name.encode())
        files[name] = {"sha256": bundle_files.sha256(tmp_path / name), "size": len(name)}
    manifest = {
        "format": 1,
        "architecture": "amd64",
        "releases": {"bookworm": {}, "trixie": {}},
        "sections": {},
        "files": files,
    }
    bundle_files.save_manifest(tmp_path, manifest)
    return tmp_path


def test_an_unharmed_bundle_is_verified(bundle: Path) -> None:
    size = len(WHEEL) + len(DEB)

    assert warren_bundle.verify(bundle, ["trixie"]) == {"changed": False, "files": 2, "size": size}


def test_one_flipped_byte_is_named_with_both_digests(bundle: Path) -> None:
    expected = bundle_files.sha256(bundle / WHEEL)
    content = bytearray((bundle / WHEEL).read_bytes())
    content[3] ^= 1
    (bundle / WHEEL).write_bytes(content)

    with pytest.raises(BundleError) as refusal:
        warren_bundle.verify(bundle, [])

    actual = bundle_files.sha256(bundle / WHEEL)
    assert str(refusal.value) == (
        f"bundle: {WHEEL} is corrupted: SHA-256 {actual}, expected {expected}"
    )


def test_all_that_is_missing_or_cut_short_is_named_at_once(bundle: Path) -> None:
    (bundle / DEB).unlink()
    (bundle / WHEEL).write_bytes(b"half")

    with pytest.raises(BundleError) as refusal:
        warren_bundle.verify(bundle, [])

    assert str(refusal.value).splitlines() == [
        f"bundle: {DEB} is missing",
        f"bundle: {WHEEL} is corrupted: 4 bytes, expected {len(WHEEL)}",
    ]


def test_a_release_that_the_bundle_has_nothing_for_is_named(bundle: Path) -> None:
    with pytest.raises(BundleError) as refusal:
        warren_bundle.verify(bundle, ["forky"])

    assert "nothing for forky, only for bookworm, trixie" in str(refusal.value)


def test_without_a_manifest_there_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"manifest\.json is missing: build the bundle"):
        warren_bundle.verify(tmp_path, [])


def test_a_host_gets_the_files_of_its_release_only(bundle: Path) -> None:
    part = bundle_files.part(bundle_files.load_manifest(bundle), "trixie")

    assert list(part["files"]) == [WHEEL]


def test_an_image_is_the_same_bytes_each_time_and_knows_its_name(tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(b"\x7fELF")
    archives = [tmp_path / "one.tar", tmp_path / "two.tar"]

    for archive in archives:
        bundle_images.write_single_program(
            archive,
            name="warren.local/pause:1",
            program=tmp_path / "program",
            arguments=["-P"],
            architecture="amd64",
        )

    assert archives[0].read_bytes() == archives[1].read_bytes()
    with tarfile.open(archives[0]) as tar:
        content = tar.extractfile("index.json")
        assert content is not None
        (entry,) = json.load(content)["manifests"]
    assert entry["annotations"]["io.containerd.image.name"] == "warren.local/pause:1"


def test_platforms_are_those_that_the_release_can_load() -> None:
    tags = bundle_wheels.platforms("x86_64", 36)

    assert tags[0] == "manylinux_2_36_x86_64"
    assert {"manylinux2014_x86_64", "manylinux1_x86_64", "linux_x86_64"} <= set(tags)
    assert "manylinux_2_37_x86_64" not in tags
