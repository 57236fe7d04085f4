"""The container and the manifests as texts; `make test-packages` builds and runs the container."""

from __future__ import annotations

import re
import textwrap
from datetime import UTC
from pathlib import Path

import pytest

from relay.service.configuration.file import read_configuration
from relay.service.kinds import KINDS
from relay.service.routes.explanation import failures_of
from tests.documents import make_stand_ins

DEPLOY = Path(__file__).parents[2] / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
_CONFIGURATION = re.compile(r"^  relay\.toml: \|\n((?:    .*\n|\n)+)", re.MULTILINE)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_configurations_in_manifests_are_right(path: Path, tmp_path: Path) -> None:
    (text,) = _CONFIGURATION.findall(path.read_text())
    make_stand_ins(tmp_path)
    file = tmp_path / "relay.toml"
    file.write_text(textwrap.dedent(text).replace("/etc/syslogrelay/tls", str(tmp_path)))
    configuration = read_configuration(str(file), KINDS)
    assert configuration.state_dir == "/var/lib/syslogrelay"
    assert "mountPath: /var/lib/syslogrelay\n" in path.read_text()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"stderr F not found", 'app_name = "nginx", msg = "not found"'),
        (b"stdout P first part of", 'app_name = "nginx", msg = "first part of"'),
        (b"stdout F ", 'app_name = "nginx", msg = ""'),
        (b"stdout F a stdout F b", 'app_name = "nginx", msg = "a stdout F b"'),
    ],
)
def test_lines_of_containers_lose_what_containerd_writes_before_them(
    line: bytes, expected: str, tmp_path: Path
) -> None:
    (text,) = _CONFIGURATION.findall((DEPLOY / "kubernetes/hosts.yaml").read_text())
    make_stand_ins(tmp_path)
    pod = "/var/log/pods/shop_web-6d4c_0a1b/nginx/0.log"
    stamp = "2026-10-11T22:14:15.123456789+02:00"
    frame = (
        f'<13>1 2026-10-11T22:14:16Z node-1 0 - - [syslogrelay@32473 file="{pod}"] {stamp} '
        + line.decode()
    )
    tests = f"""
[[tests]]
source = "containers"
frame = '{frame}'
expect.central = {{ hostname = "web-6d4c", {expected}, pairs = {{ NAMESPACE = "shop" }} }}

[[tests]]
source = "udp"
frame = '<13>Oct 11 22:14:15 web app: 1 stdout F text'
expect.central = {{ hostname = "web", app_name = "app", msg = "1 stdout F text" }}
"""
    file = tmp_path / "relay.toml"
    manifest = textwrap.dedent(text).replace("/etc/syslogrelay/tls", str(tmp_path))
    file.write_text(manifest + tests)
    assert failures_of(read_configuration(str(file), KINDS), now=1_800_000_000.0, zone=UTC) == []


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_no_pod_has_more_rights_than_it_needs(path: Path) -> None:
    text = path.read_text()
    for line in (
        *("automountServiceAccountToken: false", "allowPrivilegeEscalation: false"),
        *("readOnlyRootFilesystem: true", "drop: [ALL]", "type: RuntimeDefault", "memory: "),
    ):
        assert f"{line}" in text, line
    assert "privileged: true" not in text


def test_the_centre_runs_as_the_user_of_the_image() -> None:
    containerfile = (DEPLOY / "Containerfile").read_text()
    (number,) = re.findall(r"^USER ([0-9]+):\1$", containerfile, re.MULTILINE)
    centre = (DEPLOY / "kubernetes/centre.yaml").read_text()
    assert "runAsNonRoot: true" in centre
    assert set(re.findall(r"(?:runAsUser|runAsGroup|fsGroup): ([0-9]+)", centre)) == {number}


def test_the_container_asks_the_relay_for_its_health() -> None:
    containerfile = (DEPLOY / "Containerfile").read_text()
    assert 'CMD ["/usr/bin/syslogrelay", "status", "--check"]' in containerfile
    assert 'VOLUME ["/var/lib/syslogrelay"]' in containerfile
    configuration = read_configuration(str(DEPLOY / "container.toml"), KINDS)
    ports = {f"{source.listen.port}/{source.listen.scheme}" for source in configuration.sources}
    (exposed,) = re.findall(r"^EXPOSE (.*)$", containerfile, re.MULTILINE)
    assert ports == set(exposed.split())
