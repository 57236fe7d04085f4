"""Fetch Debian's rsyslog, syslog-ng, journalctl and others, unpacked below `.cache/interop`.

The first two conflict when installed, so nothing is installed: `apt-get
download`, `dpkg -x`, and LD_LIBRARY_PATH at run time.  Libraries that the
programs need and this machine lacks are fetched in the same way, as long as
`ldd` reports one as missing.

Run it as ``python -m tests.interop.packages`` or by its path.  A second run does
nothing, and two at once wait for each other.  Where apt has no package lists
yet (or old ones), it gets private ones below the cache, so that neither root nor
a change of this machine is needed.  Standard library only.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["PackagesError", "PackagesRoot", "fetch", "unpacked"]

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "interop"

PACKAGES = (
    *("rsyslog", "rsyslog-relp", "rsyslog-openssl", "rsyslog-gnutls", "rsyslog-kafka"),
    *("librelp0", "libestr0", "libfastjson4", "liblognorm5"),
    *("syslog-ng-core", "syslog-ng-scl", "syslog-ng-mod-rdkafka"),
    *("libivykis0", "libnet1", "libwrap0"),
    *("libjson-c5", "libglib2.0-0", "libpcre3"),
    *("systemd", "libsystemd-shared", "systemd-journal-remote", "libmicrohttpd12"),
    *("haproxy", "kcat"),
)

PACKAGE_OF_LIBRARY = {
    "libacl.so.1": "libacl1",
    "libaudit.so.1": "libaudit1",
    "libblkid.so.1": "libblkid1",
    "libcap-ng.so.0": "libcap-ng0",
    "libcap.so.2": "libcap2",
    "libcom_err.so.2": "libcom-err2",
    "libcrypt.so.1": "libcrypt1",
    "libcrypto.so.3": "libssl3",
    "libcurl.so.4": "libcurl4",
    "libcurl-gnutls.so.4": "libcurl3-gnutls",
    "libdb-5.3.so": "libdb5.3",
    "libffi.so.8": "libffi8",
    "libgcrypt.so.20": "libgcrypt20",
    "libgmp.so.10": "libgmp10",
    "libgnutls.so.30": "libgnutls30",
    "libgpg-error.so.0": "libgpg-error0",
    "libgssapi_krb5.so.2": "libgssapi-krb5-2",
    "libhogweed.so.6": "libhogweed6",
    "libidn2.so.0": "libidn2-0",
    "libip4tc.so.2": "libip4tc2",
    "libk5crypto.so.3": "libk5crypto3",
    "libkeyutils.so.1": "libkeyutils1",
    "libkrb5.so.3": "libkrb5-3",
    "libkrb5support.so.0": "libkrb5support0",
    "libkmod.so.2": "libkmod2",
    "liblz4.so.1": "liblz4-1",
    "liblua5.3.so.0": "liblua5.3-0",
    "liblzma.so.5": "liblzma5",
    "libmount.so.1": "libmount1",
    "libnettle.so.8": "libnettle8",
    "libnsl.so.2": "libnsl2",
    "libopentracing-c-wrapper.so.0": "libopentracing-c-wrapper0",
    "libopentracing.so.1": "libopentracing1",
    "libp11-kit.so.0": "libp11-kit0",
    "libpam.so.0": "libpam0g",
    "libpcre2-8.so.0": "libpcre2-8-0",
    "librdkafka.so.1": "librdkafka1",
    "libsasl2.so.2": "libsasl2-2",
    "libseccomp.so.2": "libseccomp2",
    "libselinux.so.1": "libselinux1",
    "libssl.so.3": "libssl3",
    "libsystemd.so.0": "libsystemd0",
    "libtasn1.so.6": "libtasn1-6",
    "libtirpc.so.3": "libtirpc3",
    "libunistring.so.2": "libunistring2",
    "libuuid.so.1": "libuuid1",
    "libyajl.so.2": "libyajl2",
    "libz.so.1": "zlib1g",
    "libzstd.so.1": "libzstd1",
}
"""Everything the programs link to outside PACKAGES and libc6, as `ldd` names it."""

DOWNLOAD_SECONDS_MAX = 180.0
UPDATE_SECONDS_MAX = 120.0
LOCAL_SECONDS_MAX = 60.0

_APT = (
    "apt-get",
    "-q",
    *("-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=20"),
    *("-o", "Acquire::https::Timeout=20"),
    # As root, apt would want to write as another user, who cannot enter our folder.
    *("-o", f"APT::Sandbox::User={'root' if os.geteuid() == 0 else ''}"),
)


class PackagesError(Exception):
    """The packages cannot be had.  Its text says why, in a line or two."""


class PackagesRoot:
    """Where the packages lie unpacked, and what it takes to run what is in them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rsyslogd = root / "usr/sbin/rsyslogd"
        self.syslog_ng = root / "usr/sbin/syslog-ng"
        self.journalctl = root / "bin/journalctl"
        self.journal_remote = root / "lib/systemd/systemd-journal-remote"
        self.haproxy = root / "usr/sbin/haproxy"
        self.kcat = root / "usr/bin/kcat"
        self.syslog_ng_include = root / "usr/share/syslog-ng/include"

    @property
    def library_folders(self) -> list[Path]:
        """Folders with shared libraries of the packages."""
        folders = [*self.root.glob("usr/lib/*-linux-gnu*"), *self.root.glob("lib/*-linux-gnu*")]
        systemd = self.root.glob("usr/lib/*-linux-gnu*/systemd")
        return [*folders, self.root / "usr/lib/syslog-ng", *systemd]

    @property
    def rsyslog_modules(self) -> Path:
        return next(iter(self.root.glob("usr/lib/*/rsyslog")), self.root / "no-rsyslog-modules")

    @property
    def syslog_ng_modules(self) -> Path:
        folders = self.root.glob("usr/lib/syslog-ng/[0-9]*")
        return next(iter(folders), self.root / "no-syslog-ng-modules")

    @property
    def environment(self) -> dict[str, str]:
        """The environment to run the programs in."""
        path = ":".join(str(folder) for folder in self.library_folders)
        return {**os.environ, "LD_LIBRARY_PATH": path, "LC_ALL": "C.UTF-8", "TZ": "UTC"}

    def programs(self) -> list[Path]:
        """The programs and all modules that they may load."""
        modules = [*self.rsyslog_modules.glob("*.so"), *self.syslog_ng_modules.glob("*.so")]
        programs = [self.rsyslogd, self.syslog_ng, self.journalctl, self.journal_remote]
        programs += [self.haproxy, self.kcat]
        return [*programs, *sorted(modules)]

    def missing_libraries(self) -> set[str]:
        """Names of the shared libraries that are neither here nor on this machine."""
        command = ["ldd", *map(str, self.programs())]
        done = _run(command, LOCAL_SECONDS_MAX, environment=self.environment)
        return set(re.findall(r"^\s*(\S+) => not found", done.stdout, re.MULTILINE))


def unpacked() -> PackagesRoot | None:
    """The packages, if an earlier `fetch` has left them here complete."""
    stamp = CACHE / "stamp"
    if stamp.is_file() and stamp.read_text() == _stamp_text():
        return PackagesRoot(CACHE / "root")
    return None


def fetch() -> PackagesRoot:
    """Make sure that the packages are there.

    Raises:
        PackagesError: They cannot be downloaded or unpacked.
    """
    for program in ("apt-get", "dpkg", "ldd"):
        if shutil.which(program) is None:
            raise PackagesError(f"{program} not found: this works on Debian and its relatives")
    CACHE.mkdir(parents=True, exist_ok=True)
    with _locked(CACHE / "lock"):
        already = unpacked()
        if already is not None:
            return already
        shutil.rmtree(CACHE / "root", ignore_errors=True)
        packages = PackagesRoot(CACHE / "root")
        _download_and_unpack(PACKAGES, packages.root)
        _complete(packages)
        (CACHE / "stamp").write_text(_stamp_text())
        return packages


def _complete(packages: PackagesRoot) -> None:
    """Fetch the libraries that `ldd` misses, and those that these miss in turn."""
    fetched: set[str] = set()
    while missing := packages.missing_libraries():
        unknown = sorted(missing - PACKAGE_OF_LIBRARY.keys())
        if unknown:
            raise PackagesError(f"no package known for {', '.join(unknown)}")
        wanted = {PACKAGE_OF_LIBRARY[library] for library in missing} - fetched
        if not wanted:
            raise PackagesError(f"still missing after download: {', '.join(sorted(missing))}")
        _download_and_unpack(sorted(wanted), packages.root)
        fetched |= wanted


def _download_and_unpack(names: Sequence[str], root: Path) -> None:
    folder = CACHE / "packages"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    _download(names, folder)
    for package in sorted(folder.glob("*.deb")):
        done = _run(["dpkg", "-x", str(package), str(root)], LOCAL_SECONDS_MAX)
        if done.returncode != 0:
            raise PackagesError(f"dpkg -x {package.name}: {_last_line(done)}")
    shutil.rmtree(folder)


def _download(names: Sequence[str], folder: Path) -> None:
    """Put the packages `names` into `folder`, if need be with fresh package lists."""
    done = _run([*_APT, "download", *names], DOWNLOAD_SECONDS_MAX, folder=folder)
    if done.returncode == 0:
        return
    lists, cache = CACHE / "lists", CACHE / "apt"
    for needed in (lists / "partial", cache / "archives" / "partial"):
        needed.mkdir(parents=True, exist_ok=True)
    private = [*_APT, "-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={cache}"]
    updated = _run([*private, "update"], UPDATE_SECONDS_MAX)
    if updated.returncode != 0:
        raise PackagesError(f"apt-get update: {_last_line(updated)}")
    done = _run([*private, "download", *names], DOWNLOAD_SECONDS_MAX, folder=folder)
    if done.returncode != 0:
        raise PackagesError(f"apt-get download: {_last_line(done)}")


def _run(
    command: Sequence[str],
    seconds_max: float,
    *,
    folder: Path | None = None,
    environment: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            list(command),
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds_max,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise PackagesError(f"{command[0]} took more than {seconds_max:.0f} s") from None


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return lines[-1] if lines else f"exit status {done.returncode}"


def _stamp_text() -> str:
    """Changes when this file does, so that an old cache is made anew."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest() + "\n"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> int:
    try:
        packages = fetch()
    except PackagesError as error:
        print(f"interoperability packages: {error}", file=sys.stderr)
        return 1
    print(f"interoperability packages: {packages.root}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
