"""Facts of the host and of the relay's process, for `syslogrelay bundle`."""

from __future__ import annotations

import os
import platform
import re
import resource
import ssl
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

from relay import __version__
from relay.codec import IS_COMPILED
from relay.model.text import size
from relay.queue.files.environment import library_version

_PACKAGES = (
    *("twisted", "lmdb", "pyOpenSSL", "cryptography", "msgspec", "click", "google-re2"),
    *("attrs", "zope.interface", "service-identity", "zstandard", "textual", "rich"),
)
_LIMITS = ("NOFILE", "NPROC", "MEMLOCK", "AS", "CORE", "FSIZE", "STACK")
_SYSCTLS = (
    *("net/core/rmem_max", "net/core/rmem_default", "net/core/wmem_max", "net/core/somaxconn"),
    *("net/core/netdev_max_backlog", "net/ipv4/tcp_rmem", "net/ipv4/ip_local_port_range"),
    *("net/ipv4/tcp_max_syn_backlog", "net/unix/max_dgram_qlen", "fs/file-max", "fs/nr_open"),
    *("vm/max_map_count", "vm/overcommit_memory", "vm/swappiness", "vm/dirty_ratio"),
    "fs/inotify/max_user_watches",
)
_MEMORY = ("MemTotal", "MemAvailable", "SwapTotal", "SwapFree", "Dirty", "Writeback")
_PROCESS_FILES = ("status", "limits", "cgroup", "wchan", "io", "schedstat")
_CGROUP_FILES = ("memory.max", "memory.current", "cpu.max", "pids.max")
_FILES_MAX = 1000
_BYTES_MAX = 64 * 1024


def versions() -> str:
    """The relay, Python, the libraries, the kernel and the distribution."""
    lines = [
        f"syslogrelay {__version__} ({'compiled' if IS_COMPILED else 'pure Python'})",
        f"Python {sys.version.replace(chr(10), ' ')} at {sys.executable}",
        f"OpenSSL of Python: {ssl.OPENSSL_VERSION}",
        f"OpenSSL of cryptography: {_of_cryptography()}",
        f"LMDB: {library_version()}",
    ]
    lines += [f"{name} {_version(name)}" for name in _PACKAGES]
    lines += [f"kernel: {' '.join(os.uname())}", f"libc: {' '.join(platform.libc_ver())}"]
    return "\n".join([*lines, "", _text("/etc/os-release")])


def system(state_dir: str) -> str:
    """Limits, settings of the kernel, memory, disks."""
    parts: tuple[tuple[str, Callable[[], Iterator[str]]], ...] = (
        ("limits of this command", _limits),
        ("sysctl", _sysctls),
        ("processors and load", _processors),
        ("memory", _memory),
        (f"file system of {state_dir}", lambda: _file_system(state_dir)),
    )
    return "\n".join(_section(title, collect) for title, collect in parts)


def process(pid: int) -> str:
    """The kernel's view of the relay's process, also of one that hangs."""
    folder = Path("/proc", str(pid))
    parts = [f"process {pid}\n"]
    parts += [f"## {name}\n{_text(str(folder / name))}" for name in _PROCESS_FILES]
    parts.append(_section("threads", lambda: _threads(folder)))
    parts.append(_section("open descriptors", lambda: iter([str(len(os.listdir(folder / "fd")))])))
    parts.append(_section("control group", lambda: _control_group(folder)))
    return "\n".join(parts)


def files(state_dir: str) -> str:
    """Names, sizes and permissions in the state directory; nothing is read."""
    lines = [f"{state_dir}:"]
    for folder, folders, names in os.walk(
        state_dir, onerror=lambda error: lines.append(str(error))
    ):
        folders.sort()
        for name in (*sorted(names), *(f"{each}/" for each in folders)):
            if len(lines) > _FILES_MAX:
                return "\n".join([*lines, "and more\n"])
            lines.append(_described(os.path.join(folder, name), state_dir))
    return "\n".join([*lines, ""])


def environment_of(pid: int) -> dict[str, str]:
    """The environment that a process was started with; empty if it may not be read."""
    try:
        data = Path("/proc", str(pid), "environ").read_bytes()
    except OSError:
        return {}
    pairs = (entry.partition(b"=") for entry in data.split(b"\0"))
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs if name}


def unit_of(pid: int) -> str:
    """The unit of systemd that a process belongs to; empty = to none."""
    found = re.search(r"/([^/\n]+\.service)(?:/|$)", _text(f"/proc/{pid}/cgroup"), re.MULTILINE)
    return found[1] if found else ""


def _section(title: str, collect: Callable[[], Iterator[str]]) -> str:
    lines = [f"## {title}"]
    try:
        lines += collect()
    except (OSError, ValueError, IndexError) as error:
        lines.append(f"cannot be told: {error}")
    return "\n".join([*lines, ""])


def _limits() -> Iterator[str]:
    for name in _LIMITS:
        soft, hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))
        yield f"{name.lower()} {_limit(soft)} {_limit(hard)}"


def _limit(value: int) -> str:
    return "unlimited" if value == resource.RLIM_INFINITY else str(value)


def _sysctls() -> Iterator[str]:
    for name in _SYSCTLS:
        yield f"{name.replace('/', '.')} = {_text(f'/proc/sys/{name}').strip()}"


def _processors() -> Iterator[str]:
    yield f"{os.cpu_count()} processors, {len(os.sched_getaffinity(0))} for this command"
    yield f"load {' '.join(f'{load:.2f}' for load in os.getloadavg())}"
    yield f"up for {_text('/proc/uptime').split()[0]} s"


def _memory() -> Iterator[str]:
    for line in _text("/proc/meminfo").splitlines():
        if line.partition(":")[0] in _MEMORY:
            yield line


def _file_system(path: str) -> Iterator[str]:
    while not os.path.exists(path):
        yield f"{path} is not there"
        path = os.path.dirname(path)
    found = os.statvfs(path)
    yield f"{size(found.f_frsize * found.f_bavail)} of {size(found.f_frsize * found.f_blocks)} free"
    yield f"{found.f_favail} of {found.f_files} inodes free"
    real = os.path.realpath(path)
    mounts = [line.split(" ") for line in _text("/proc/self/mountinfo").splitlines()]
    around = [
        fields
        for fields in mounts
        if len(fields) > 6 and f"{real}/".startswith(f"{fields[4].rstrip('/')}/")
    ]
    if around:
        nearest = max(around, key=lambda fields: len(fields[4]))
        yield f"mounted: {' '.join(nearest)}"


def _threads(folder: Path) -> Iterator[str]:
    for thread in sorted(os.listdir(folder / "task"), key=int):
        name = _text(str(folder / "task" / thread / "comm")).strip()
        state = _text(str(folder / "task" / thread / "stat")).rpartition(") ")[2][:1]
        waits = _text(str(folder / "task" / thread / "wchan")).strip()
        yield f"{thread} {name} {state} {waits}"


def _control_group(folder: Path) -> Iterator[str]:
    path = _text(str(folder / "cgroup")).strip().rpartition("::")[2]
    for name in _CGROUP_FILES:
        yield f"{name} = {_text(f'/sys/fs/cgroup{path}/{name}').strip()}"


def _described(path: str, state_dir: str) -> str:
    try:
        found = os.lstat(path)
    except OSError as error:
        return f"{os.path.relpath(path, state_dir)}: {error.strerror}"
    used = size(512 * found.st_blocks)
    owner = f"{found.st_uid}:{found.st_gid}"
    name = os.path.relpath(path, state_dir)
    return f"{found.st_mode:06o} {owner} {found.st_size:,} B ({used} on disk) {name}"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "is not installed"


def _of_cryptography() -> str:
    from cryptography.hazmat.backends.openssl import backend

    return backend.openssl_version_text()


def _text(path: str) -> str:
    """The content of a small file of the kernel; why it cannot be read otherwise."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_BYTES_MAX)
    except OSError as error:
        return f"cannot be read: {error.strerror}\n"
