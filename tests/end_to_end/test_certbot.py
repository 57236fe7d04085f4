"""The deploy hook of docs/certificates.md, with files as certbot lays them out."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from twisted.internet.task import Clock

from relay.service.configuration.model import TlsConfiguration
from relay.service.prerequisite import Prerequisite
from relay.service.tls.certificate_watch import CertificateWatch
from relay.service.tls.certificates import Issued, make_authority, make_leaf
from relay.transport.tls.endpoints import TlsMaterial
from tests.connections import RecordingNotices
from tests.documents import blocks, with_stand_ins

PARTS = ("cert", "chain", "fullchain", "privkey")


class Listener:
    def __init__(self, _: None) -> None:
        self.served: list[bytes] = []

    def renew(self, material: TlsMaterial) -> None:
        self.served.append(material.certificate_pem)


def lay_out(etc: Path, number: int, authority: Issued, leaf: Issued) -> Path:
    """As a renewal does: new files in archive/NAME, then each link in live/NAME is replaced."""
    live, archive = etc / "live/c.example", etc / "archive/c.example"
    live.mkdir(parents=True, exist_ok=True)
    archive.mkdir(parents=True, exist_ok=True)
    own, chain = leaf.certificate_pem(), authority.certificate_pem()
    for name, pem in zip(PARTS, (own, chain, own + chain, leaf.private_key_pem()), strict=True):
        (archive / f"{name}{number}.pem").write_bytes(pem)
        (archive / f"{name}{number}.pem").chmod(0o600 if name == "privkey" else 0o644)
        (live / f"{name}.pem").unlink(missing_ok=True)
        (live / f"{name}.pem").symlink_to(f"../../archive/c.example/{name}{number}.pem")
    return live


def run_hook(live: Path, folder: Path) -> None:
    (hook,) = [block.text for block in blocks("sh") if "RENEWED_LINEAGE" in block.text]
    who = f"-o {os.geteuid()} -g {os.getegid()}"
    script = with_stand_ins(hook, folder).replace("-o root -g syslogrelay", who)
    assert who in script
    environment = {**os.environ, "RENEWED_LINEAGE": str(live)}
    subprocess.run(["sh"], input=script, text=True, env=environment, check=True, timeout=20)


def test_a_renewal_is_picked_up_without_a_signal(tmp_path: Path) -> None:
    authority = make_authority("public authority")
    first, second = (make_leaf(authority, ["c.example"], purpose="server") for _ in range(2))
    folder = tmp_path / "etc"
    folder.mkdir()
    run_hook(lay_out(tmp_path, 1, authority, first), folder)
    tls = TlsConfiguration(
        certificate=str(folder / "fullchain.pem"), private_key=str(folder / "privkey.pem")
    )
    assert (folder / "privkey.pem").stat().st_mode & 0o777 == 0o640
    clock = Clock()
    clock.advance(first.certificate.not_valid_before_utc.timestamp() + 7200)
    notices = RecordingNotices()
    watch = CertificateWatch(notices=notices, now=clock.seconds, clock=clock)  # type: ignore[arg-type]
    listener = watch.keep("source in", tls, Listener, Prerequisite("it waits"))
    watch.startService()
    run_hook(lay_out(tmp_path, 2, authority, second), folder)
    clock.advance(60)
    watch.stopService()
    chains = [leaf.certificate_pem() + authority.certificate_pem() for leaf in (first, second)]
    assert listener.served == chains
    assert notices.said == []
    assert sorted(path.name for path in folder.iterdir()) == ["fullchain.pem", "privkey.pem"]
