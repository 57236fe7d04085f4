"""Fetch Debian's Chromium with its driver and unpack them below `.cache`.

Nothing is installed, so no root is needed: apt says which packages this machine lacks for them, and
these are downloaded and unpacked.  Where Chromium is installed, it is used as it is.

Run it as ``python -m tests.interop.chromium``.  A second run does nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.interop.packages import CACHE

_ROOT = CACHE.with_name("chromium")
_WANTED = ("chromium", "chromium-driver", "fonts-dejavu-core")
_DOWNLOAD_SECONDS_MAX = 300.0
_LOCAL_SECONDS_MAX = 120.0
_NEW = re.compile(r"^Inst (\S+) ", re.MULTILINE)


class UnavailableError(Exception):
    """There is no Chromium here; the text says why."""


@dataclass(frozen=True, slots=True)
class Chromium:
    """Where the programs are, and the environment that they need."""

    browser: Path
    driver: Path
    environment: dict[str, str]


def fetched() -> Chromium:
    """Chromium, which is fetched if it is not there yet.

    Raises:
        UnavailableError: It cannot be fetched.
    """
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser and driver:
        return Chromium(Path(browser), Path(driver), dict(os.environ))
    if not _ROOT.exists():
        new = _ROOT.with_name(f"chromium-new-{os.getpid()}")
        new.mkdir(parents=True)
        try:
            _unpack(new)
            (new / "root").rename(_ROOT)
        except OSError as error:
            if not _ROOT.exists():  # another process may have been faster
                raise UnavailableError(f"no chromium: {error}") from None
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return _unpacked()


def _unpacked() -> Chromium:
    program = _ROOT / "usr" / "lib" / "chromium"
    libraries = [program, *_ROOT.glob("usr/lib/*-linux-gnu*"), *_ROOT.glob("lib/*-linux-gnu*")]
    libraries += _ROOT.glob("usr/lib/*-linux-gnu*/pulseaudio")
    return Chromium(
        program / "chromium",
        _ROOT / "usr" / "bin" / "chromedriver",
        {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, libraries))},
    )


def _unpack(folder: Path) -> None:
    user = "root" if os.geteuid() == 0 else ""
    lists = CACHE / "lists"  # where packages.py had to get its own
    apt = ["apt-get", "-q", "-o", f"APT::Sandbox::User={user}"]
    apt += ["-o", f"Dir::State::lists={lists}"] if lists.is_dir() else []
    asked = _run([*apt, "--simulate", "--no-install-recommends", "install", *_WANTED], folder, 60.0)
    names = sorted(set(_NEW.findall(asked)))
    _run([*apt, "download", *names], folder, _DOWNLOAD_SECONDS_MAX)
    for package in sorted(folder.glob("*.deb")):
        _run(["dpkg", "-x", package.name, "root"], folder, _LOCAL_SECONDS_MAX)


def _run(command: list[str], folder: Path, seconds_max: float) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=seconds_max, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise UnavailableError(f"no chromium: {error}") from None
    if done.returncode != 0:
        raise UnavailableError(f"no chromium: {' '.join(command)}: {done.stderr.strip()[-300:]}")
    return done.stdout


def main() -> int:
    try:
        print(f"chromium: {fetched().browser}")
    except UnavailableError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
