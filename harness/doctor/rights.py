"""What power loss and slow networks would need; no scenario of this version has either."""

from __future__ import annotations

import gzip
import os
import platform
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from harness.doctor.finding import Check, Seen, missing, ok, unknown

SBIN = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
POWER = "for cutting the power under a disk; no scenario of this version does"
NETEM = "for slow and lossy networks; no scenario of this version has one"


def checks() -> Iterator[Check]:
    """Yields the checks of this module."""
    yield Check(id="power_loss", group="Not needed by this version", what="power loss", look=_power_loss)
    yield Check(id="netem", group="Not needed by this version", what="netem", look=_netem)


def _power_loss() -> Seen:
    lacking = []
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        lacking.append("root")
    if not Path("/dev/loop-control").exists():
        lacking.append("/dev/loop-control")
    for program in ("losetup", "mkfs.ext4"):
        if not shutil.which(program, path=SBIN):
            lacking.append(program)
    with suppress(OSError):
        if "\text4\n" not in Path("/proc/filesystems").read_text():
            lacking.append("ext4 in the kernel")
    return power_loss(platform.system(), lacking)


def power_loss(system: str, lacking: Sequence[str]) -> Seen:
    """Judges whether an ext4 image on a loop device can be shut down under a server."""
    if system != "Linux":
        return missing(f"not on {system}", POWER, "nothing to do now; it takes Linux")
    if lacking:
        return missing(
            f"lacking: {', '.join(lacking)}",
            POWER,
            "nothing to do now; it takes root (in a container: --privileged) and apt install e2fsprogs util-linux",
        )
    return ok("root, loop devices, ext4", POWER)


def _netem() -> Seen:
    release = platform.release()
    return netem(platform.system(), _has_module(release), bool(shutil.which("tc", path=SBIN)))


def _has_module(release: str) -> bool | None:
    """Returns whether the kernel can load or has ``sch_netem``; None where nothing tells. Loads nothing."""
    if Path("/sys/module/sch_netem").exists():
        return True
    folder = Path("/lib/modules") / release
    listed = [(folder / name).read_text() for name in ("modules.builtin", "modules.dep") if (folder / name).is_file()]
    if listed:
        return any("/sch_netem.ko" in text for text in listed)
    for path in (Path("/proc/config.gz"), Path(f"/boot/config-{release}")):
        with suppress(OSError):
            data = path.read_bytes()
            text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode(errors="replace")
            return re.search(r"^CONFIG_NET_SCH_NETEM=y", text, re.MULTILINE) is not None  # a module has no file here
    return None


def netem(system: str, has_module: bool | None, has_tc: bool) -> Seen:
    """Judges whether the kernel can delay and drop packets."""
    if system != "Linux":
        return missing(f"not on {system}", NETEM, "nothing to do now; it takes Linux")
    if has_module is None:
        return unknown("the kernel does not tell", NETEM, "nothing to do now; modprobe sch_netem would tell")
    if not has_module:
        return missing(
            "sch_netem is not in this kernel", NETEM, "nothing to do now; it takes a kernel with CONFIG_NET_SCH_NETEM"
        )
    if not has_tc:
        return missing("the program tc is not found", NETEM, "nothing to do now; apt install iproute2")
    return ok("sch_netem and tc", NETEM)
