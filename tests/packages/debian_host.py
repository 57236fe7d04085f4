"""A Debian 12 in a folder: made once by mmdebstrap, and a fresh copy for each test file.

Needs root, mmdebstrap and Debian's mirror.  Commands run in mount and process namespaces of their
own, so that mounts end with them and no process outlives them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Self

DIST = Path(__file__).parents[2] / "dist"
CACHE = Path(__file__).parents[2] / ".cache" / "packages"
PACKAGES = (
    "python3,systemd,systemd-sysv,libpam-systemd,dbus,libstdc++6,passwd,ca-certificates,iproute2"
)
SECONDS_MAX = 300

# What a running host has.  /dev is a fresh one: no socket of this machine is in it.
_PREPARE = """
mount -t proc proc "$1/proc"
mount -t tmpfs -o mode=0755 run "$1/run"
mount -t tmpfs -o mode=0755 dev "$1/dev"
for node in null:3 zero:5 full:7 random:8 urandom:9; do
    mknod -m 0666 "$1/dev/${node%:*}" c 1 "${node#*:}"
done
mkdir "$1/dev/shm"
ln -s /proc/self/fd "$1/dev/fd"
mount -t sysfs -o ro sys "$1/sys"
# journald looks there for the units of processes.
mount -t cgroup2 -o ro cgroup "$1/sys/fs/cgroup" || true
cd "$1"
exec chroot "$1" /bin/sh -eu
"""


def why_not() -> str:
    """Why there can be none here; empty = there can."""
    if os.geteuid() != 0:
        return "needs root"
    missing = [name for name in ("mmdebstrap", "unshare", "dpkg") if shutil.which(name) is None]
    return f"needs {' and '.join(missing)}: apt-get install mmdebstrap" if missing else ""


def base_archive() -> Path:
    """A tar archive of the root, made when it is asked for the first time."""
    base = CACHE / f"bookworm-{PACKAGES.replace(',', '-')}.tar"
    if not base.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        unfinished = base.with_suffix(f".{os.getpid()}.tar")
        include = f"--include={PACKAGES}"
        command = ["mmdebstrap", "--quiet", "--variant=minbase", include, "bookworm"]
        subprocess.run([*command, unfinished], check=True, timeout=SECONDS_MAX)
        unfinished.rename(base)
    return base


def newest_package() -> Path:
    """The .deb that was built last."""
    found = sorted(DIST.glob("syslogrelay_*.deb"), key=lambda path: path.stat().st_mtime)
    assert found, "there is no package in dist/: make deb"
    return found[-1]


def newer(package: Path, folder: Path) -> Path:
    """The same package with a higher version, and another default configuration."""
    tree = folder / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", package, tree], check=True, timeout=120)
    control = tree / "DEBIAN/control"
    version = next(
        line for line in control.read_text().splitlines() if line.startswith("Version: ")
    )
    control.write_text(control.read_text().replace(version, f"{version}+next"))
    with (tree / "etc/syslogrelay/relay.toml").open("a") as file:
        file.write("# A key that is new.\n")
    made = folder / "syslogrelay_next.deb"
    subprocess.run(
        ["dpkg-deb", "--build", "--root-owner-group", "-Zgzip", "-z1", tree, made],
        check=True,
        timeout=120,
        stdout=subprocess.DEVNULL,
    )
    return made


class DebianHost:
    """A root folder, and commands in it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def made_in(cls, folder: Path) -> Self:
        root = folder / "debian"
        root.mkdir()
        subprocess.run(["tar", "-xf", base_archive(), "-C", root], check=True, timeout=SECONDS_MAX)
        root.chmod(0o755)
        return cls(root)

    def run(self, script: str, *, succeeds: bool = True) -> str:
        """What a shell script in it writes, errors as well."""
        namespaces = ("unshare", "--mount", "--pid", "--fork", "--kill-child=KILL")
        done = subprocess.run(
            [*namespaces, "sh", "-eu", "-c", _PREPARE, "sh", self.root],
            input=script,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
        assert (done.returncode == 0) is succeeds, f"{script}\n{done.stdout}"
        return done.stdout

    def install(self, package: Path) -> str:
        shutil.copy(package, self.root / "tmp" / package.name)
        return self.run(f"dpkg --force-confold --install /tmp/{package.name}")

    def exists(self, path: str) -> bool:
        return os.path.lexists(self.root / path.lstrip("/"))
