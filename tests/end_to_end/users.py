"""Another user than root, for tests of permissions."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

__all__ = ["USER", "UserPython", "folder_of_user", "python_for_user"]

USER = "nobody"
_PROGRAM = "import relay.service.assembly, twisted.scripts.twistd"


@dataclass(frozen=True, slots=True)
class UserPython:
    """An interpreter with our packages that USER is able to run."""

    path: str
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))


def python_for_user() -> UserPython:
    """The interpreter of the virtual environment, or the system's of the same version.

    The one of the virtual environment may lie where only root can read.  Skips the
    test if neither does, and without root.
    """
    if os.geteuid() != 0:
        pytest.skip("only root can run the relay as another user")
    own = [path for path in sys.path if path.endswith("site-packages")]
    path = ":".join([str(Path(__file__).resolve().parents[2]), *own])
    candidates = [
        UserPython(sys.executable),
        UserPython(
            f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}",
            {**os.environ, "PYTHONPATH": path},
        ),
    ]
    for candidate in candidates:
        if _runs(candidate):
            return candidate
    pytest.skip(f"{USER} cannot run {' or '.join(python.path for python in candidates)}")


def _runs(python: UserPython) -> bool:
    try:
        done = subprocess.run(
            [python.path, "-c", _PROGRAM],
            user=USER,
            extra_groups=[],
            cwd="/",
            env=python.environment,
            capture_output=True,
            check=False,
            timeout=30,
        )
    except OSError:
        return False
    return done.returncode == 0


@contextmanager
def folder_of_user() -> Iterator[Path]:
    """A folder that USER owns and can reach (pytest's own are closed to others)."""
    folder = Path(tempfile.mkdtemp(prefix="syslogrelay-test-"))
    try:
        if os.geteuid() == 0:
            entry = pwd.getpwnam(USER)
            os.chown(folder, entry.pw_uid, entry.pw_gid)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
