from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, formatEvent

from relay.service.configuration.model import TlsConfiguration
from relay.service.prerequisite import Prerequisite
from relay.service.tls.certificate_watch import CertificateWatch
from relay.service.tls.certificates import Issued, make_authority, make_leaf
from relay.transport.tls.endpoints import TlsListener, TlsMaterial
from tests.connections import RecordingNotices
from tests.odd_certificates import make_certificate, make_crl

AUTHORITY = make_authority("Test authority", days=400)
FIRST = make_leaf(AUTHORITY, ["first.example"], purpose="server", days=90)
SECOND = make_leaf(AUTHORITY, ["second.example"], purpose="server", days=90)
DAY = 86400.0


class Target:
    """Keeps what it was renewed with."""

    def __init__(self, material: None) -> None:
        self.materials: list[TlsMaterial] = []
        self.trouble: Exception | None = None

    def renew(self, material: TlsMaterial) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.materials.append(material)

    @property
    def serves(self) -> bytes:
        return self.materials[-1].certificate_pem


class Setup:
    """A watch over the files of one listener."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock()
        self.clock.advance(FIRST.certificate.not_valid_after_utc.timestamp() - 89 * DAY)
        self.notices: Any = RecordingNotices()
        self.lines: list[str] = []
        self.watch = CertificateWatch(
            notices=self.notices, now=self.clock.seconds, clock=self.clock
        )
        self.watch._log = Logger(namespace="test", observer=self._note)
        (folder / "ca.pem").write_bytes(AUTHORITY.certificate_pem())
        self.write("certificate", FIRST.certificate_pem())
        self.write("private_key", FIRST.private_key_pem())
        self.tls = TlsConfiguration(
            trusted_ca=str(folder / "ca.pem"),
            certificate=str(folder / "certificate"),
            private_key=str(folder / "private_key"),
        )
        self.target = self.keep("source in", self.tls, Target)
        self.watch.startService()

    def keep(self, subject: str, tls: TlsConfiguration, new: Any) -> Any:
        self.needed = Prerequisite("it waits")
        return self.watch.keep(subject, tls, new, self.needed)

    def _note(self, event: LogEvent) -> None:
        self.lines.append(formatEvent(event))

    def write(self, name: str, data: bytes) -> None:
        """As careful programs do: a new file under the old name."""
        (self.folder / "new").write_bytes(data)
        os.replace(self.folder / "new", self.folder / name)

    def write_pair(self, issued: Issued) -> None:
        self.write("certificate", issued.certificate_pem())
        self.write("private_key", issued.private_key_pem())

    @property
    def said(self) -> list[str]:
        return [text for _, _, text in self.notices.said]


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    setup = Setup(tmp_path)
    yield setup
    setup.watch.stopService()
    assert setup.clock.getDelayedCalls() == []


def test_files_that_stay_are_left_alone(setup: Setup) -> None:
    for _ in range(3):
        setup.clock.advance(60)
    assert len(setup.target.materials) == 1
    assert (setup.said, setup.lines) == ([], [])


def test_a_new_pair_is_used_within_a_minute(setup: Setup) -> None:
    setup.write_pair(SECOND)
    setup.clock.advance(59)
    assert setup.target.serves == FIRST.certificate_pem()
    setup.clock.advance(1)
    assert setup.target.serves == SECOND.certificate_pem()
    assert setup.target.materials[-1].private_key_pem == SECOND.private_key_pem()
    assert setup.lines == ["source in: new TLS files are in use"]
    setup.clock.advance(60)
    assert len(setup.target.materials) == 2


def test_a_new_pair_is_used_at_once_when_told(setup: Setup) -> None:
    setup.write_pair(SECOND)
    setup.watch.look()
    assert setup.target.serves == SECOND.certificate_pem()


def test_half_a_pair_is_not_used(setup: Setup) -> None:
    setup.write("certificate", SECOND.certificate_pem())
    setup.clock.advance(60)
    setup.clock.advance(60)
    assert setup.target.serves == FIRST.certificate_pem()
    assert setup.said == [
        "new TLS files cannot be used, the old ones still are: private_key: "
        f"{setup.folder}/private_key does not belong to the first certificate in "
        f"{setup.folder}/certificate"
    ]
    setup.write("private_key", SECOND.private_key_pem())
    setup.clock.advance(60)
    assert setup.target.serves == SECOND.certificate_pem()


def test_a_broken_file_is_told_again_every_hour(setup: Setup) -> None:
    setup.write("ca.pem", b"")
    for _ in range(121):
        setup.clock.advance(60)
    assert len(setup.said) == 3
    assert f"trusted_ca: {setup.folder}/ca.pem holds no certificate" in setup.said[0]
    setup.write("ca.pem", b"-----BEGIN CERTIFICATE-----\n")
    setup.clock.advance(60)
    assert "is damaged" in setup.said[3]
    assert len(setup.target.materials) == 1


def test_a_file_that_is_gone(setup: Setup) -> None:
    os.unlink(setup.tls.private_key)
    setup.clock.advance(60)
    (message,) = setup.said
    assert f"cannot read {setup.tls.private_key}: No such file or directory" in message
    assert setup.target.serves == FIRST.certificate_pem()


def test_files_that_cannot_be_used_are_reported_until_they_can(setup: Setup) -> None:
    def problems() -> list[str]:
        return [each["problem"] for each in setup.watch.report() if each["kind"] == "unusable"]

    setup.write("certificate", SECOND.certificate_pem())
    setup.watch.look()
    (problem,) = problems()
    message = "new TLS files cannot be used, the old ones still are: "
    assert problem.startswith(f"{message}private_key: {setup.folder}/private_key does not belong")
    setup.write("private_key", SECOND.private_key_pem())
    setup.watch.look()
    assert problems() == []
    setup.write("private_key", b"")
    setup.watch.look()
    assert problems()[0].startswith(f"{message}private_key: {setup.folder}/private_key")
    setup.write_pair(SECOND)
    setup.watch.look()
    assert problems() == []


def test_files_that_openssl_does_not_take(setup: Setup) -> None:
    setup.target.trouble = ValueError("ee key too small")
    setup.write_pair(SECOND)
    setup.clock.advance(60)
    assert setup.said[0].endswith("OpenSSL does not take them: ee key too small")
    setup.target.trouble = None
    setup.clock.advance(60)
    assert setup.target.serves == SECOND.certificate_pem()


def test_a_real_listener_is_renewed(setup: Setup) -> None:
    listener = setup.keep("source b", setup.tls, TlsListener)
    before = listener._context
    setup.write_pair(SECOND)
    setup.watch.look()
    assert listener._context is not before


def test_files_that_cannot_be_used_at_the_start_are_waited_for(setup: Setup) -> None:
    setup.write("certificate", b"nonsense")
    target = setup.keep("source b", setup.tls, Target)
    begun: list[str] = []
    setup.needed.when_fulfilled(lambda: begun.append("begun"))
    for _ in range(3):
        setup.clock.advance(60)
    message = f"certificate: {setup.tls.certificate} holds no certificate; expected PEM with a line"
    assert setup.needed.state == f"{message} -----BEGIN CERTIFICATE-----; it waits"
    assert [said for said in setup.notices.said if said[0] == "source b"] == [
        ("source b", "certificates", setup.needed.state)
    ]
    assert begun == []
    setup.write_pair(SECOND)
    setup.clock.advance(60)
    assert (begun, setup.needed.state) == (["begun"], "")
    assert target.serves == SECOND.certificate_pem()


def test_files_that_become_right_without_a_change_are_used(setup: Setup) -> None:
    """By time, that is, or because somebody was given the right to read them."""
    later = make_certificate("later", days_from=1, days_to=300)
    setup.write_pair(later)
    target = setup.keep("source b", setup.tls, Target)
    assert "is not valid before" in setup.needed.trouble
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("relay.service.tls.certificate_watch.file_problems", lambda *_: [])
        setup.clock.advance(60)
    assert (setup.needed.trouble, target.serves) == ("", later.certificate_pem())


def test_a_certificate_that_has_expired_is_waited_for(setup: Setup) -> None:
    setup.write_pair(make_certificate("old", days_from=-20, days_to=-10))
    setup.keep("destination b", setup.tls, Target)
    assert setup.needed.trouble.startswith(
        f"certificate: the certificate in {setup.tls.certificate} expired on "
    )


def test_expiry_is_warned_of_at_30_7_and_1_days_and_then(setup: Setup) -> None:
    for _ in range(58):
        setup.clock.advance(DAY)
    assert setup.said == []
    path = setup.tls.certificate
    for _ in range(32 * 4):
        setup.clock.advance(DAY / 4)
    assert setup.said == [
        f"the certificate in {path} expires in 30.0 days",
        f"the certificate in {path} expires in 7.0 days",
        f"the certificate in {path} expires in 1.0 days",
        f"the certificate in {path} has expired",
    ]


def test_a_fresh_certificate_ends_the_warnings(setup: Setup) -> None:
    setup.clock.advance(85 * DAY)
    assert len(setup.said) == 1
    setup.write_pair(make_certificate("fresh", days_to=300))
    setup.clock.advance(60)
    setup.clock.advance(DAY * 4)
    assert len(setup.said) == 1


def test_without_a_certificate_nothing_expires(setup: Setup) -> None:
    alone = TlsConfiguration(trusted_ca=setup.tls.trusted_ca)
    setup.keep("destination out", alone, Target)
    setup.watch.look()
    assert setup.said == []
    path = setup.tls.certificate
    assert setup.watch.report() == [
        {
            "subject": "source in",
            "kind": "certificate",
            "certificate": path,
            "expires_days": 89.0,
            "expires_at": f"{FIRST.certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
            "problem": f"the certificate in {path} expires in 89.0 days",
        }
    ]


def test_a_revocation_list_is_watched_and_replaced(setup: Setup) -> None:
    path = str(setup.folder / "crl.pem")
    setup.write("crl.pem", make_crl(AUTHORITY, days=10, life_days=7))
    tls = TlsConfiguration(trusted_ca=setup.tls.trusted_ca, crl=path)
    setup.clock.rightNow = datetime.now(UTC).timestamp() + 8 * DAY
    setup.keep("destination out", tls, Target)
    setup.watch.look()
    assert [text for text in setup.said if "revocation" in text] == []
    for _ in range(3 * 24):
        setup.clock.advance(DAY / 24)
    what = f"the revocation list of 'CN=Test authority' in {path}"
    first, second = [text for text in setup.said if "revocation" in text]
    assert first.startswith(f"{what} expires in 2")
    assert second.startswith(f"{what} has expired: every peer whose certificate this issuer has")
    (report,) = [each for each in setup.watch.report() if each["kind"] == "crl"]
    assert (report["subject"], report["crl"], report["is_due"]) == ("destination out", path, True)
    setup.write("crl.pem", make_crl(AUTHORITY, days=20, life_days=10))
    setup.clock.advance(60)
    (report,) = [each for each in setup.watch.report() if each["kind"] == "crl"]
    assert (round(report["days_left"]), report["is_due"]) == (9, False)
    assert len([text for text in setup.said if "revocation" in text]) == 2


def test_certbots_links_are_followed_without_a_signal(setup: Setup) -> None:
    """live/NAME has links to archive/NAME; a renewal makes new files and then turns the links."""
    live, archive = setup.folder / "live", setup.folder / "archive"
    live.mkdir()
    archive.mkdir()

    def renew(number: int, issued: Issued) -> None:
        parts = {
            "privkey": issued.private_key_pem(),
            "fullchain": issued.certificate_pem() + AUTHORITY.certificate_pem(),
        }
        for name, pem in parts.items():
            (archive / f"{name}{number}.pem").write_bytes(pem)
        for name in parts:
            (live / f"{name}.pem").unlink(missing_ok=True)
            (live / f"{name}.pem").symlink_to(f"../archive/{name}{number}.pem")
            setup.watch.look()  # in the middle of it too

    renew(1, FIRST)
    tls = TlsConfiguration(
        certificate=str(live / "fullchain.pem"), private_key=str(live / "privkey.pem")
    )
    target = setup.keep("source web", tls, Target)
    renew(2, SECOND)
    setup.clock.advance(60)
    assert [
        one.certificate_pem.startswith(FIRST.certificate_pem()) for one in target.materials
    ] == [
        True,
        False,
    ]
    assert target.serves.startswith(SECOND.certificate_pem())
    assert target.materials[-1].private_key_pem == SECOND.private_key_pem()


def test_files_that_nobody_uses_any_more_are_left_alone(setup: Setup) -> None:
    setup.keep("source other", setup.tls, Target)
    released = setup.watch.release("source in")
    assert {each["subject"] for each in setup.watch.report()} == {"source other"}
    setup.write("certificate", SECOND.certificate_pem())
    setup.write("private_key", SECOND.private_key_pem())
    setup.watch.look()
    assert setup.target.serves == FIRST.certificate_pem()
    setup.watch.restore(released)
    setup.watch.look()
    assert setup.target.serves == SECOND.certificate_pem()
