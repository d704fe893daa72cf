"""Removing directory trees that a crash may have left mounts in.

An interrupted debootstrap leaves /proc and the like mounted inside its target. To delete such a
tree without unmounting first would delete what is mounted there.
"""

import shutil
from pathlib import Path

from tests.fleet import commands


def remove_tree(directory: Path) -> None:
    """Unmount whatever is mounted below the directory, and remove it, if it is there."""
    listing = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    points = [line.split(" ")[1].replace("\\040", " ") for line in listing]
    for point in sorted(points, reverse=True):
        if Path(point).is_relative_to(directory):
            commands.run(["umount", point])
    if directory.exists():
        shutil.rmtree(directory)
