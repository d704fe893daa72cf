#!/usr/bin/env python3
"""Laws of the tree that a machine can check: file length, fresh generated code, tidy names.

Run by `tools/run-tests contracts`. Prints one line per breach and exits 1 if there is any.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINES_MAX = 600
PROTOS = ("warren/api/warren.proto", "warren/drivers/cri.proto")


def main() -> int:
    breaches = [*long_files(), *stale_generated_code(), *unfinished()]
    for breach in breaches:
        print(breach)
    return 1 if breaches else 0


def tracked(*patterns: str) -> Iterator[Path]:
    """Files that git knows or would add, by glob."""
    command = ["git", "ls-files", "-co", "--exclude-standard", "--", *patterns]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return (ROOT / name for name in output.splitlines() if (ROOT / name).is_file())


def long_files() -> Iterator[str]:
    """No file over 600 lines: a longer one hides a second subject."""
    for path in tracked("*.py", "*.yml", "*.sh", "tools/*"):
        lines = len(path.read_text().splitlines())
        if lines > LINES_MAX and "_pb2" not in path.name:
            yield f"{path.relative_to(ROOT)}: {lines} lines, more than {LINES_MAX}"


def stale_generated_code() -> Iterator[str]:
    """The committed code is what the schemas generate: `make generate` was not forgotten."""
    with tempfile.TemporaryDirectory() as work:
        for proto in PROTOS:
            outs = [f"--{kind}_out={work}" for kind in ("python", "grpc_python")]
            command = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(ROOT / "agent"), *outs]
            subprocess.run([*command, str(ROOT / "agent" / proto)], check=True)
            for fresh in (Path(work) / proto).parent.glob("*_pb2*.py"):
                committed = ROOT / "agent" / fresh.relative_to(work)
                if not committed.exists() or committed.read_text() != fresh.read_text():
                    yield f"{committed.relative_to(ROOT)}: stale, run `make generate`"


def unfinished() -> Iterator[str]:
    """Nothing is left to do in comments: it belongs in an issue."""
    for path in tracked(
        "agent/*.py", "plugins/*.py", "tests/*.py", "roles/*.yml", "playbooks/*.yml"
    ):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if any(word in line for word in ("TO" + "DO", "FIX" + "ME", "X" + "XX")):
                yield f"{path.relative_to(ROOT)}:{number}: {line.strip()}"


if __name__ == "__main__":
    sys.exit(main())
