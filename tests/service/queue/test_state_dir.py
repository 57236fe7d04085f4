from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from relay.service.queue.state_dir import (
    file_system_of,
    obstacles_in,
    refuse_unfit,
    refuse_used,
)
from relay.service.refusal import StartRefused

MOUNTS = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:5 / /dev rw,nosuid shared:2 - devtmpfs udev rw
24 22 0:21 / /run rw,nosuid shared:3 - tmpfs tmpfs rw
25 22 8:2 / /var/lib rw - xfs /dev/sda2 rw
26 25 0:40 / /var/lib/remote rw - nfs4 host:/x rw
27 22 0:41 / /mnt/my\040disk\134x rw - ramfs none rw
28 22 0:42 / /over rw - tmpfs tmpfs rw
29 28 8:3 / /over rw - ext4 /dev/sda3 rw
30 22 0:43 / /opt rw shared:9 master:1 propagate_from:2 - btrfs /dev/sdb rw
a line that is none
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/home/x", "ext4"),
        ("/run", "tmpfs"),
        ("/run/syslogrelay", "tmpfs"),
        ("/running", "ext4"),
        ("/var/lib/queue", "xfs"),
        ("/var/lib/remote/queue", "nfs4"),
        ("/var/lib/remoteness", "xfs"),
        (r"/mnt/my disk\x/queue", "ramfs"),
        ("/over/x", "ext4"),
        ("/opt/x", "btrfs"),
    ],
)
def test_the_innermost_and_last_mount_counts(path: str, kind: str) -> None:
    assert file_system_of(path, MOUNTS) == kind


def test_nothing_is_known_without_mounts() -> None:
    assert file_system_of("/x", "") == ""


def mounted_on(tmp_path: Path, kind: str) -> str:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"22 1 8:1 / / rw - ext4 x rw\n23 22 0:9 / {tmp_path} rw - {kind} x rw\n")
    return str(mounts)


@pytest.mark.parametrize(
    ("kind", "why"),
    [("tmpfs", "is gone after a reboot"), ("nfs4", "is not safe for a memory map")],
)
def test_a_file_system_that_forgets_or_lies_is_refused(tmp_path: Path, kind: str, why: str) -> None:
    queue = tmp_path / "state" / "queue"
    with pytest.raises(StartRefused) as refused:
        refuse_unfit(str(queue), may_forget=False, mounts=mounted_on(tmp_path, kind))
    refuse_unfit(str(queue), may_forget=True, mounts=mounted_on(tmp_path, kind))
    assert f"queue {queue} would lie on {kind}, which {why}" in refused.value.text
    assert "allow_volatile_state = true" in refused.value.text


def test_links_are_followed(tmp_path: Path) -> None:
    link = tmp_path.parent / f"{tmp_path.name}-link"
    link.symlink_to(tmp_path)
    with pytest.raises(StartRefused):
        refuse_unfit(str(link / "queue"), may_forget=False, mounts=mounted_on(tmp_path, "tmpfs"))


def test_a_local_disk_is_fine_and_so_is_not_knowing(tmp_path: Path) -> None:
    refuse_unfit(str(tmp_path), may_forget=False, mounts=mounted_on(tmp_path, "ext4"))
    refuse_unfit(str(tmp_path), may_forget=False, mounts=str(tmp_path / "missing"))


def test_a_directory_whose_relay_answers_is_in_use(tmp_path: Path) -> None:
    path = str(tmp_path / "queue")
    refuse_used(path)
    with socket.socket(socket.AF_UNIX) as control:
        control.bind(str(tmp_path / "control.sock"))
        refuse_used(path)  # nobody listens
        control.listen()
        with pytest.raises(StartRefused, match=f"is in use by process {os.getpid()}: it listens"):
            refuse_used(path)


def test_what_lies_in_the_way_is_named(tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    assert obstacles_in(str(state_dir), may_forget=True) == []
    assert not state_dir.exists()
    (state_dir / "queue").mkdir(parents=True)
    assert obstacles_in(str(state_dir), may_forget=True) == []
    (state_dir / "control.sock").write_text("")
    (message,) = obstacles_in(str(state_dir), may_forget=True)
    assert "control.sock: this path is a file" in message
    (state_dir / "queue").rmdir()
    (state_dir / "queue").write_text("")
    (message,) = obstacles_in(str(state_dir), may_forget=True)
    assert message.endswith("/state/queue is a file, and has to be a directory: move it away")
    (state_dir / "nowhere").symlink_to(tmp_path / "none")
    (message,) = obstacles_in(str(state_dir / "nowhere" / "deep"), may_forget=True)
    assert f"{state_dir}/nowhere is a link to nowhere, and has to be a directory" in message


def test_a_file_system_of_the_kernel_is_refused_even_if_losing_the_queue_is_acceptable() -> None:
    message = (
        "queue /proc/nope/queue would lie on proc, where no files can be made; choose a state_dir "
        "on a local disk"
    )
    assert obstacles_in("/proc/nope", may_forget=True) == [message]
    with pytest.raises(StartRefused) as refused:
        refuse_unfit("/proc/nope/queue", may_forget=True)
    assert refused.value.text == message


def test_a_disk_that_is_mounted_read_only_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = list(os.statvfs(tmp_path))
    found[8] |= os.ST_RDONLY
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(found))
    (message,) = obstacles_in(str(tmp_path / "state"), may_forget=True)
    assert f"{tmp_path} is on a file system that is mounted read-only" in message
