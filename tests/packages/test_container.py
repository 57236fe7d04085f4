"""The container, built by buildah and run without root on a read-only root; the manifests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packages.debian_host import SECONDS_MAX, base_archive, why_not

ROOT = Path(__file__).parents[2]
BASE, IMAGE = "localhost/syslogrelay-test-base", "localhost/syslogrelay-test"

# As `podman run --read-only --cap-drop ALL --volume` does, in namespaces of its own.
RUN = """
mount --bind "$1" "$1"
mount --bind "$2" "$1/var/lib/syslogrelay"
mount -t proc proc "$1/proc"
mount -t tmpfs -o mode=0755 dev "$1/dev"
for node in null:3 zero:5 random:8 urandom:9; do
    mknod -m 0666 "$1/dev/${node%:*}" c 1 "${node#*:}"
done
mount -o remount,bind,ro "$1"
root=$1
inside() { chroot --userspec=10514:10514 "$root" "$@"; }
inside /usr/lib/syslogrelay/bin/twistd --nodaemon --pidfile= --logfile=- syslogrelay \\
    --config /etc/syslogrelay/relay.toml &
relay=$!
for attempt in $(seq 100); do
    inside /usr/bin/syslogrelay status --check && break
    sleep 0.2
done
inside /usr/lib/syslogrelay/bin/python -c 'import socket
with socket.create_connection(("127.0.0.1", 5514)) as sender:
    sender.sendall(b"<13>to the container\\n")'
for attempt in $(seq 100); do
    grep -qs "to the container" "$2/archive/messages.log" && break
    sleep 0.1
done
inside touch /etc/written 2>&1 | grep -q 'Read-only file system' && echo "root is read-only"
kill $relay
wait $relay || true
cat "$2/archive/messages.log"
"""


def run(*command: str | Path) -> str:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"BUILDAH_ISOLATION": "chroot"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_hadolint_finds_nothing() -> None:
    assert run(Path(sys.executable).with_name("hadolint"), "deploy/Containerfile") == ""


@pytest.mark.parametrize("version", ["1.28", "1.31", "1.34"])
def test_manifests_follow_the_schemas_of_kubernetes(version: str) -> None:
    program = Path(sys.executable).with_name("kubernetes-validate")
    files = sorted((ROOT / "deploy/kubernetes").glob("*.yaml"))
    said = run(program, "--strict", "--kubernetes-version", version, *files)
    assert said.count(" passed for resource ") == 5


@pytest.fixture(scope="module")
def image_root() -> Iterator[Path]:
    """The root of a container of the image, on Debian from the mirror instead of a registry."""
    reason = why_not() or ("" if shutil.which("buildah") else "needs buildah")
    if reason:
        pytest.skip(reason)
    container = run("buildah", "from", "scratch").strip()
    run("buildah", "add", "--quiet", container, base_archive(), "/")
    run("buildah", "commit", "--quiet", container, BASE)
    run("buildah", "rm", container)
    options = ("--format", "docker", "--build-arg", f"BASE={BASE}", "--tag", IMAGE)
    run("buildah", "build", *options, "--file", "deploy/Containerfile", ".")
    container = run("buildah", "from", "--pull-never", IMAGE).strip()
    yield Path(run("buildah", "mount", container).strip())
    run("buildah", "rm", container)
    run("buildah", "rmi", "--force", IMAGE, BASE)


def test_it_runs_without_root_on_a_read_only_root(image_root: Path, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    os.chown(volume, 10514, 10514)
    for folder in (volume, *volume.parents):
        if folder.is_relative_to("/tmp") and folder != Path("/tmp"):
            folder.chmod(0o755)
    namespaces = ("unshare", "--mount", "--pid", "--net", "--fork", "--kill-child=KILL")
    script = f"ip link set lo up\n{RUN}"
    said = run(*namespaces, "sh", "-eu", "-c", script, "sh", image_root, volume)
    assert "ok: relay " in said and "root is read-only" in said
    assert said.rstrip().endswith("to the container")
