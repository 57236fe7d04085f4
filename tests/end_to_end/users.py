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
from pathlib import Path

import pytest

__all__ = ["USER", "folder_of_user", "skip_unless_root", "skip_unless_user_can_run_python"]

USER = "nobody"


def skip_unless_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")


def skip_unless_user_can_run_python() -> None:
    """The virtual environment may lie where only root can read."""
    skip_unless_root()
    try:
        done = subprocess.run(
            [sys.executable, "-c", "import relay, twisted.scripts.twistd"],
            user=USER,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            check=False,
            timeout=30,
        )
    except PermissionError:
        pytest.skip(f"{USER} cannot run {sys.executable}")
    if done.returncode != 0:
        pytest.skip(f"{USER} cannot run the relay: {done.stderr.decode()[-200:]}")


@contextmanager
def folder_of_user() -> Iterator[Path]:
    """A folder that USER owns and can reach (pytest's own are closed to others)."""
    folder = Path(tempfile.mkdtemp(prefix="syslogrelay-test-"))
    try:
        entry = pwd.getpwnam(USER)
        os.chown(folder, entry.pw_uid, entry.pw_gid)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
