"""A Debian 12 in a folder that is booted: its systemd is process 1 of namespaces of its own.

It has a network with a loopback device only, a group of its own in the machine's cgroup2 tree, no
devices, and ends with the process that has booted it.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.packages.debian_host import SECONDS_MAX, DebianHost, why_not

_BOOT_SECONDS_MAX = 120
_NAMESPACES = ("--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup")
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"}

# In a mount namespace of its own: $1 is the root, $2 the name of the group, $3 what comes next.
_ENTER_GROUP = """
mount -t cgroup2 cgroup "$1/mnt"
mkdir "$1/mnt/$2"
echo $$ > "$1/mnt/$2/cgroup.procs"
umount "$1/mnt"
exec unshare --mount --pid --uts --ipc --net --cgroup --fork --kill-child=KILL \\
    sh -eu -c "$3" sh "$1"
"""
_REMOVE_GROUP = """
mount -t cgroup2 cgroup "$1/mnt"
[ ! -d "$1/mnt/$2" ] || find "$1/mnt/$2" -depth -type d -exec rmdir {} +
"""
# systemd.io/CONTAINER_INTERFACE says what systemd expects to find.
_BOOT = """
mount --bind "$1" "$1"
mount -t proc proc "$1/proc"
mount -t sysfs -o ro sys "$1/sys"
mount -t cgroup2 cgroup "$1/sys/fs/cgroup"
mount -t tmpfs -o mode=0755 run "$1/run"
mount -t tmpfs -o mode=0755 dev "$1/dev"
for node in null:3 zero:5 full:7 random:8 urandom:9; do
    mknod -m 0666 "$1/dev/${node%:*}" c 1 "${node#*:}"
done
mknod -m 0666 "$1/dev/tty" c 5 0
mkdir "$1/dev/shm" "$1/dev/pts"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$1/dev/pts"
ln -s pts/ptmx "$1/dev/ptmx"
ln -s /proc/self/fd "$1/dev/fd"
ip link set lo up
hostname booted
cd "$1"
pivot_root . mnt
umount -l /mnt
# Or systemd's helper cannot show credentials to the unit.
mount --make-rshared /
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd
"""


def why_not_boot(folder: Path) -> str:
    """Why none can be booted here, with the kernel's own words; empty = one can."""
    if reason := why_not():
        return reason
    try_out = 'mount -t cgroup2 cgroup "$1" && mkdir "$1/$2" && rmdir "$1/$2"'
    done = subprocess.run(
        ["unshare", *_NAMESPACES, "--fork", "sh", "-c", try_out, "sh", folder, folder.name],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    if done.returncode:
        return f"systemd cannot run in namespaces here: {' '.join(done.stdout.split())}"
    return ""


class BootedHost(DebianHost):
    """Commands run beside systemd, as root, with its units about them."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._group = f"syslogrelay-test-{os.getpid()}"
        self._process: subprocess.Popen[str] | None = None
        self.pid = 0

    def boot(self) -> None:
        """Boot it, and wait until systemd has started everything."""
        script = ("sh", "-eu", "-c", _ENTER_GROUP, "sh", self.root, self._group, _BOOT)
        # If this process is killed, so is it.
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", *script]
        )
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        self.wait_until(lambda: self._find_systemd(children), "systemd is process 1")
        self.wait_until(lambda: self.said("systemctl is-system-running") == "running", "it runs")

    def _find_systemd(self, children: Path) -> bool:
        assert self._process is not None and self._process.poll() is None, "cannot boot"
        for pid in children.read_text().split():
            if Path(f"/proc/{pid}/comm").read_text() == "systemd\n":
                self.pid = int(pid)
        return self.pid > 0

    def shut(self) -> None:
        """Kill all of it, and remove its group."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait(SECONDS_MAX)
        self.wait_until(lambda: not Path(f"/proc/{self.pid}").exists(), "systemd has ended")
        script = ("sh", "-eu", "-c", _REMOVE_GROUP, "sh", self.root, self._group)
        subprocess.run(["unshare", "--mount", *script], check=True, timeout=SECONDS_MAX)
        self._process = None

    def inside(self, *command: str) -> subprocess.Popen[str]:
        """A program in it, with pipes."""
        return subprocess.Popen(
            ["nsenter", "--target", str(self.pid), "--all", *command],
            env=_ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, script: str, *, succeeds: bool = True) -> str:
        process = self.inside("sh", "-eu")
        try:
            said, _ = process.communicate(script, timeout=SECONDS_MAX)
        finally:
            process.kill()
        if (process.returncode == 0) is not succeeds:
            raise AssertionError(f"{script}\n{said}\n{self.journal()}")
        return said

    def journal(self) -> str:
        """The end of what the relay and systemd about it have logged, for errors."""
        command = ("journalctl", "--no-pager", "-n", "60", "-u", "syslogrelay")
        return self.inside(*command).communicate(timeout=SECONDS_MAX)[0]

    def said(self, command: str) -> str:
        """What a command writes, whatever its status."""
        return self.run(f"{command} || true").strip()

    def property_of(self, name: str, unit: str = "syslogrelay") -> str:
        """What `systemctl show` says of a unit."""
        return self.said(f"systemctl show --value --property {name} {unit}")

    @staticmethod
    def wait_until(
        condition: Callable[[], object], what: str, seconds_max: float = _BOOT_SECONDS_MAX
    ) -> None:
        deadline = time.monotonic() + seconds_max
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds_max:g} s: {what}"
            time.sleep(0.1)

    @property
    def received(self) -> Path:
        return self.root / "var/log/syslogrelay/messages.log"
