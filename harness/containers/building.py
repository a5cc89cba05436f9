"""Makes images: a base of Debian trixie, the brokers on it, and the load; each is tagged with the hash of all that went into it.

What a tag names is whole: an image is tagged last, and made by one at a time. One that is there is never made again.
"""

from __future__ import annotations

import fcntl
import io
import os
import re
import shutil
import tarfile
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

from docker.errors import APIError, ImageNotFound

from harness.containers import packages
from harness.containers.compose import folder as compose_folder
from harness.containers.engine import engine, explained, facts
from harness.errors import StartError, UnavailableError, UsageError
from harness.programs import ask
from harness.sweeping import state_folder

PARENTS = {
    "base": "",
    "redis": "base",
    "rabbitmq": "base",
    "postgres": "base",
    "libraries": "base",
    "load": "libraries",
}
"""What is made, and on what; parents first."""
SHOWN = "brokerbench.image"
VERSION = "brokerbench.version"
"""Labels: the name of an image of ours, and the version of what it runs."""
PACKAGES = {"redis": "redis-server", "rabbitmq": "rabbitmq-server", "postgres": "postgresql-17"}
"""Whose version a broker's image has."""

SUITE, MIRROR = "trixie", "http://deb.debian.org/debian"
OFFICIAL_BASE = "debian:trixie-slim"
DEBOOTSTRAP = ("debootstrap", "--variant=minbase")
CONFIGURATION = {
    # As in the official image; without them a build of ours takes twice as long. No image outlives a crash of its build anyway.
    "etc/dpkg/dpkg.cfg.d/docker-apt-speedup": "force-unsafe-io\n",
    "etc/dpkg/dpkg.cfg.d/docker": "path-exclude /usr/share/doc/*\npath-exclude /usr/share/man/*\n",
    "etc/apt/apt.conf.d/docker": 'Acquire::Languages "none";\nAPT::Keep-Downloaded-Packages "false";\n',
}
"""Files of the base, by path."""
_NOT_IN_BASE = ("./var/lib/apt/lists/*", "./var/cache/apt/*", "./var/log/*", "./dev/*")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}

LIMIT_S = 900
"""For one image; no step of a build is silent for longer either."""
_LAST_LINES = 12
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_KEPT = {"load": 20}
"""How many images of one name are kept, the newest; others: 2."""

Say = Callable[[str], None]


def quiet(line: str) -> None:
    """Says nothing."""


@cache
def reference(name: str) -> str:
    """Returns the tag that an image of ours has here, made or not; the same for the life of this process."""
    return f"brokerbench/{name}:{_key(name)}"


def _key(name: str) -> str:
    if name == "base":  # the official one and ours differ in nothing that matters
        return packages.digest(SUITE, *DEBOOTSTRAP, MIRROR, *CONFIGURATION.values(), machine())
    parts = [reference(PARENTS[name])]
    for path, data in recipe(name).items():
        parts += [path, packages.digest(data)]
    if name == "libraries":
        parts += packages.pinned()
    if name == "load":
        parts += [word for path, data in _code().items() for word in (path, packages.digest(data))]
    return packages.digest(*parts)


@cache
def _code() -> Mapping[str, bytes]:
    """Returns the code as it was when it was first looked at: what a tag says is what its image holds."""
    return packages.code()


@cache
def recipe(name: str) -> Mapping[str, bytes]:
    """Returns Dockerfile and entry point by file name."""
    folder = compose_folder() / "images" / name
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def machine() -> str:
    """Returns the engine's machine, as ``uname -m`` names it; raises UnavailableError."""
    return str(facts()["Architecture"])


def exists(image: str) -> bool:
    """Whether the engine has an image; raises UnavailableError."""
    with explained(f"image {image}"):
        try:
            engine().images.get(image)
        except ImageNotFound:
            return False
    return True


def build(name: str, say: Say = quiet, *, registry: Callable[[str], bool] = lambda image: False) -> str:
    """Makes an image and what it stands on, where they are missing; returns its tag.

    Args:
        name: of ``PARENTS``.
        say: is told how it goes, a line at a time.
        registry: pulls an image, and says whether it could.

    Raises:
        UnavailableError: it cannot be made here; with the last lines of the build.
    """
    if not exists(reference(name)):
        for one in reversed(list(_line(name))):
            if exists(reference(one)):
                continue
            with _alone(one, say):
                if not exists(reference(one)):  # another may have made it meanwhile
                    _make(one, say, registry)
                    _forget_old(one)
    return reference(name)


def _line(name: str) -> Iterator[str]:
    """Yields a name and what it stands on, down to the base."""
    while name:
        yield name
        name = PARENTS[name]


@contextmanager
def _alone(name: str, say: Say) -> Iterator[None]:
    """Waits until nobody else makes this image, and keeps them from it."""
    folder = state_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(folder / f"image-{name}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(
            f"the state folder {folder} cannot be written: {error.strerror}",
            remedy="set BROKERBENCH_STATE to a folder that you may write",
        ) from error
    try:
        deadline, said = time.monotonic() + LIMIT_S, False
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"the image {name} has been made by another brokerbench for {LIMIT_S // 60} minutes"
                )
            if not said:
                say(f"{name}: waiting, since it is being made already")
                said = True
            time.sleep(0.2)
        yield
    finally:
        os.close(file)


def _make(name: str, say: Say, registry: Callable[[str], bool]) -> None:
    """Makes one image whose parent is there."""
    say(f"{name}: {reference(name)}")
    started = time.monotonic()
    try:
        if name == "base":
            _make_base(say, registry)
        else:
            with _context(name, say) as context:
                labels = {SHOWN: name, **({VERSION: packages.version()} if name == "load" else {})}
                image = _built(name, context, say, labels)
            if name in PACKAGES:
                label = _tar({"Dockerfile": f"FROM {image}\nLABEL {VERSION}={_version(name, image)}\n".encode()})
                image = _built(name, label, quiet, {})
            with explained(f"the image {name} cannot be tagged"):
                repository, tag = reference(name).split(":")
                engine().api.tag(image, repository, tag)
    except StartError as error:
        raise UnavailableError(error.problem, remedy=error.remedy) from error
    say(f"{name}: made in {time.monotonic() - started:.0f} s")


def _make_base(say: Say, registry: Callable[[str], bool]) -> None:
    """Takes the official image of the suite where it can be had, and installs the suite into a folder elsewhere."""
    repository, tag = reference("base").split(":")
    if exists(OFFICIAL_BASE) or registry(OFFICIAL_BASE):
        with explained(f"{OFFICIAL_BASE} cannot be tagged"):
            engine().api.tag(OFFICIAL_BASE, repository, tag)
        return
    remedy = f"docker pull {OFFICIAL_BASE} where a registry can be reached, or make it as root: apt install debootstrap, then sudo brokerbench images build"
    if not shutil.which("debootstrap") or not shutil.which("unshare"):
        raise UnavailableError(
            f"the base image cannot be made: {OFFICIAL_BASE} is not here, and there is no debootstrap", remedy=remedy
        )
    if os.geteuid() != 0:
        raise UnavailableError(
            f"the base image cannot be made: {OFFICIAL_BASE} is not here, and debootstrap needs root", remedy=remedy
        )
    say(f"base: debootstrap {SUITE} (about 30 s)")
    with _work_folder("base") as folder:
        root, archive = folder / "root", folder / "root.tar"
        # Mounts of its own: should we be killed, no /proc stays mounted below our folder.
        argv = ["unshare", "--mount", "--propagation", "private", "--", *DEBOOTSTRAP]
        answer = ask([*argv, f"--arch={_architecture()}", SUITE, str(root), MIRROR], limit_s=LIMIT_S)
        if answer.status:
            last = "\n  ".join([*answer.out.splitlines(), *answer.err.splitlines()][-_LAST_LINES:])
            raise UnavailableError(
                f"the base image cannot be made: debootstrap says\n  {last}",
                remedy=f"see that {MIRROR} can be reached",
            )
        for path, text in CONFIGURATION.items():
            (root / path).write_text(text)
        exclude = [f"--exclude={path}" for path in _NOT_IN_BASE]
        packed = ask(["tar", "-C", str(root), *exclude, "--numeric-owner", "-cf", str(archive), "."], limit_s=LIMIT_S)
        if packed.status:
            raise UnavailableError(f"the base image cannot be made: tar says {packed.err[-200:]}")
        with explained("the base image cannot be imported"):
            engine().api.import_image_from_file(
                str(archive), repository, tag, changes=[f"LABEL {SHOWN}=base", 'CMD ["bash"]']
            )


def _architecture() -> str:
    """Returns the engine's machine in Debian's words; raises UnavailableError where there is nothing for it."""
    if machine() not in _ARCHITECTURES:
        raise UnavailableError(
            f"images cannot be made for {machine()}",
            expected=" or ".join(_ARCHITECTURES),
            remedy="name images of your own: BROKERBENCH_IMAGE_REDIS=… (or _RABBITMQ, _POSTGRES)",
        )
    return _ARCHITECTURES[machine()]


@contextmanager
def _work_folder(name: str) -> Iterator[Path]:
    """Yields a folder for what goes into an image; removes what a killed process left there too, since nobody else is at it."""
    above = state_folder() / f"image-{name}"
    shutil.rmtree(above, ignore_errors=True)
    above.mkdir(mode=0o700)
    try:
        yield above
    finally:
        shutil.rmtree(above, ignore_errors=True)


@contextmanager
def _context(name: str, say: Say) -> Iterator[IO[bytes]]:
    """Yields what is sent to the engine: the recipe, and the packages or the code."""
    if name != "libraries":
        code = {f"packages/{path}": data for path, data in _code().items()} if name == "load" else {}
        yield _tar({**recipe(name), **code})
        return
    wanted = packages.pinned()
    say(f"libraries: {len(wanted)} packages for Python {packages.PYTHON}")
    with _work_folder(name) as folder, tempfile.TemporaryFile(dir=folder) as packed:
        packages.fetch(wanted, folder / "packages", machine())
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for path, data in recipe(name).items():
                _add(archive, path, data)
            archive.add(folder / "packages", "packages", filter=_plain)
        packed.seek(0)
        yield packed


def _tar(contents: Mapping[str, bytes]) -> io.BytesIO:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path, data in contents.items():
            _add(archive, path, data)
    packed.seek(0)
    return packed


def _add(archive: tarfile.TarFile, path: str, data: bytes) -> None:
    entry = tarfile.TarInfo(path)
    entry.size = len(data)
    entry.mode = 0o755 if path.endswith(".sh") else 0o644
    archive.addfile(entry, io.BytesIO(data))


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Returns an entry that everybody in the container may read, whatever the mask here is, and that says nothing of today."""
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
    return entry


def _built(name: str, context: IO[bytes], say: Say, labels: Mapping[str, str]) -> str:
    """Sends a build to the engine and returns the id of its image; raises UnavailableError with its last lines."""
    parent = PARENTS[name]
    arguments = {"BASE": reference(parent)}
    last: deque[str] = deque(maxlen=_LAST_LINES)
    deadline = time.monotonic() + LIMIT_S
    image = problem = ""
    with explained(f"the image {name} cannot be made"):
        told = engine().api.build(
            fileobj=context,
            custom_context=True,
            encoding="",
            buildargs=arguments,
            labels=dict(labels),
            rm=True,
            forcerm=True,
            decode=True,
            timeout=LIMIT_S,
        )
        for words in told:
            problem = problem or str(words.get("error", ""))  # read to the end, which gives the connection back
            image = (words.get("aux") or {}).get("ID", image)
            for line in str(words.get("stream", "")).splitlines():
                if line.strip():
                    last.append(_COLOUR.sub("", line.rstrip())[:300])
                if re.match(r"Step .* : (RUN|COPY) ", line):
                    say(f"{name}: {line[:100]}")
            if time.monotonic() > deadline:
                raise _failed(name, [*last, f"given up after {LIMIT_S} s"])
    if problem or not image:
        raise _failed(name, [*last, problem])
    return image


def _failed(name: str, lines: list[str]) -> UnavailableError:
    return UnavailableError(
        "\n    ".join([f"the image {name} cannot be made; the last lines of its build:", *lines]),
        remedy=f"see that containers can reach {MIRROR}, then: brokerbench images build {name}",
    )


def _version(name: str, image: str) -> str:
    """Asks an image's package for its version; the container removes itself, whatever happens to us."""
    api = engine().api
    command = ["-W", "-f", "${source:Upstream-Version}", PACKAGES[name]]
    with explained(f"the image {name} cannot be asked for its version"):
        made = api.create_container(
            image,
            command,
            entrypoint=["dpkg-query"],
            network_disabled=True,
            host_config=api.create_host_config(auto_remove=True),
        )
        output = api.attach(made["Id"], stream=True, logs=True)
        api.start(made["Id"])
        return b"".join(output).decode().strip()


def _forget_old(name: str) -> None:
    """Removes images of this name that are no longer the newest few, so that a developer's disk does not fill; keeps those in use."""
    with explained("images cannot be listed"):
        found: list[dict[str, Any]] = engine().api.images(filters={"label": f"{SHOWN}={name}"})
    tagged = [image for image in found if image.get("RepoTags")]
    newest = sorted(tagged, key=lambda image: int(image["Created"]), reverse=True)
    for image in newest[_KEPT.get(name, 2) :]:
        for tag in image["RepoTags"]:
            if tag.startswith(f"brokerbench/{name}:") and tag != reference(name):
                with suppress(APIError):  # in use
                    engine().api.remove_image(tag)
