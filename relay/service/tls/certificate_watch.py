"""Use new certificate, key, CA and revocation files without a restart; warn before they expire."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Protocol, TypeVar

from cryptography import x509
from OpenSSL import SSL
from twisted.logger import Logger

from relay.model.clock import Now
from relay.model.text import Document
from relay.service.configuration.model import TlsConfiguration
from relay.service.periodic import PeriodicService
from relay.service.prerequisite import Prerequisite, Reminder, Stamp, stamp_of
from relay.service.tls.files import file_problems, read_material, read_options, read_policy
from relay.transport.notices import Notices
from relay.transport.tls.endpoints import TlsListener, TlsMaterial, load_crls

_DAY_SECONDS = 86400.0
_CERTIFICATE_WARNINGS = (0.0, 1 * _DAY_SECONDS, 7 * _DAY_SECONDS, 30 * _DAY_SECONDS)
_UNUSABLE = "new TLS files cannot be used, the old ones still are: "


class Renewable(Protocol):
    """A listener, an upstream, or several that have the same files."""

    def renew(self, material: TlsMaterial) -> None: ...


Endpoint = TypeVar("Endpoint", bound=Renewable)


@dataclass(slots=True)
class _Watched:
    """One listener or upstream and its files."""

    subject: str
    tls: TlsConfiguration
    target: Renewable
    needed: Prerequisite
    """Has trouble until the files could be used for the first time."""
    used: list[Stamp]
    """The files as they were when what is in use was read."""
    expiries: list[Expiry]
    reminder: Reminder = field(default_factory=Reminder)
    """Of why the files as they are now are not in use."""


@dataclass(eq=False, repr=False, kw_only=True)
class CertificateWatch(PeriodicService):
    """Looks at the files of TLS every minute, and when it is told to.

    New files are read and checked together, as at the start.  If they are right, new
    connections use them; those that exist go on as they are.  If they are not, what
    was used before still is: a certificate and its key cannot be replaced in one step,
    so a pair that does not fit is looked at again with the next check.  Where nothing was used
    before, a listener or upstream waits for files that are right.

    Warns as well when our certificates and the revocation lists are about to expire.

    A file counts as new when its inode, size or time of modification has changed.
    """

    name = "certificates"
    _log = Logger(namespace="relay")

    notices: Notices
    now: Now
    interval_seconds: float = 60.0
    _watched: list[_Watched] = field(default_factory=list, init=False)

    def keep(
        self,
        subject: str,
        tls: TlsConfiguration,
        new: Callable[[None], Endpoint],
        needed: Prerequisite,
    ) -> Endpoint:
        """Make a listener or upstream from the files of `tls`, and renew it from now on.

        Args:
            subject: Whose files they are, for warnings: ``source relays``.
            new: Makes it, without the content of files.
            needed: Has trouble as long as the files cannot be used.
        """
        target = new(None)
        watched = _Watched(subject, tls, target, needed, _stamps(tls), [])
        needed.trouble = _use(watched)
        needed.look = partial(self._renew, watched)
        self._watched.append(watched)
        return target

    def keep_listener(
        self, subject: str, tls: TlsConfiguration, needed: Prerequisite
    ) -> TlsListener:
        """`keep` for the TLS of a listener."""
        new = partial(
            TlsListener,
            peer_verify=tls.peer_verify,
            policy=read_policy(tls),
            options=read_options(tls),
        )
        return self.keep(subject, tls, new, needed)

    def release(self, subject: str) -> list[_Watched]:
        """Look at the files of `subject` no more; returns what `restore` takes."""
        released = [each for each in self._watched if each.subject == subject]
        self._watched = [each for each in self._watched if each.subject != subject]
        return released

    def restore(self, released: Sequence[_Watched]) -> None:
        """Look at files again."""
        self._watched += released

    def look(self) -> None:
        """Look at all files now."""
        for watched in self._watched:
            self._renew(watched)
            self._warn_of_expiry(watched)

    def report(self) -> list[Document]:
        """For status: what is in use, with the days it has left, and files that cannot be used."""
        now = self.now()
        expiries = [
            expiry.report(watched.subject, now)
            for watched in self._watched
            for expiry in watched.expiries
        ]
        return expiries + [
            {
                "subject": watched.subject,
                "kind": "unusable",
                "problem": _UNUSABLE + watched.reminder.trouble,
            }
            for watched in self._watched
            if watched.reminder.trouble and not watched.needed.trouble
        ]

    def _renew(self, watched: _Watched) -> None:
        stamps = _stamps(watched.tls)  # first: a change while they are read is a change
        waits = bool(watched.needed.trouble)
        # What is not used yet may become right without a change: by rights, or by time.
        if stamps == watched.used and not waits:
            watched.reminder.forget()
            return
        trouble = _use(watched)
        if not trouble:
            watched.used = stamps
            watched.reminder.forget()
            self._log.info("{who}: new TLS files are in use", who=watched.subject)
            if waits:
                watched.needed.fulfil()
            return
        if waits:
            watched.needed.trouble = trouble
        if watched.reminder.is_due(trouble, self.clock.seconds()):
            text = _UNUSABLE + trouble
            self.notices.warn(watched.subject, "certificates", watched.needed.state or text)

    def _warn_of_expiry(self, watched: _Watched) -> None:
        now = self.now()
        for expiry in watched.expiries:
            if text := expiry.warning(now):
                group = f"{watched.subject}, {expiry.path}, {expiry.issuer}"
                self.notices.warn(watched.subject, "expiry", text, group=group)


def _use(watched: _Watched) -> str:
    """Make `watched` use its files as they are now; return what keeps it from that."""
    problems = file_problems(watched.tls, lambda key: key)
    if problems:
        return "; ".join(problems)
    try:
        material = read_material(watched.tls)
        watched.target.renew(material)
    except (ValueError, SSL.Error) as error:  # changed since they were looked at, or odd
        return f"OpenSSL does not take them: {error}"
    watched.expiries = expiries_of(material, certificate=watched.tls.certificate)
    return ""


def _stamps(tls: TlsConfiguration) -> list[Stamp]:
    keys = (tls.certificate, tls.private_key, tls.private_key_passphrase_file)
    return [stamp_of(path) for path in (*keys, tls.trusted_ca, tls.crl)]


@dataclass(slots=True)
class Expiry:
    """The end of one certificate or revocation list."""

    path: str
    """The file that it is in."""
    ends_at: float
    """Seconds since 1970."""
    warnings: Sequence[float]
    """How many seconds before the end to warn, ascending."""
    issuer: str = ""
    """Whose revocation list it is; empty = it is our certificate."""
    _warned: float | None = None
    """The one of `warnings` that was warned of last."""

    def warning(self, now: float) -> str:
        """What to warn of at `now`; empty if nothing, or if it was warned of already."""
        left = self.ends_at - now
        due = next((seconds for seconds in self.warnings if left <= seconds), None)
        if due is None or due == self._warned:
            return ""
        self._warned = due
        if not self.issuer:
            return self._problem(left)
        if left > 0:
            return f"{self._what} expires in {left / 3600:.1f} hours; put the next one there"
        return (
            f"{self._what} has expired: every peer whose certificate this issuer has signed is "
            "refused until the next one is there"
        )

    def report(self, subject: str, now: float) -> Document:
        """For status: whose it is, the days that are left, and the same for people."""
        left = self.ends_at - now
        days = left / _DAY_SECONDS
        if not self.issuer:
            return {
                "subject": subject,
                "kind": "certificate",
                "certificate": self.path,
                "expires_days": round(days, 1),
                "expires_at": self._ends,
                "problem": self._problem(left),
            }
        return {
            "subject": subject,
            "kind": "crl",
            "crl": self.path,
            "issuer": self.issuer,
            "next_update": self._ends,
            "days_left": round(days, 2),
            "is_due": left <= self.warnings[-1],
            "problem": self._problem(left),
        }

    @property
    def _what(self) -> str:
        if self.issuer:
            return f"the revocation list of {self.issuer!r} in {self.path}"
        return f"the certificate in {self.path}"

    @property
    def _ends(self) -> str:
        return f"{datetime.fromtimestamp(self.ends_at, UTC):%Y-%m-%dT%H:%M:%SZ}"

    def _problem(self, left: float) -> str:
        """When it ends or has ended; `left` seconds are left."""
        if self.issuer:
            when = "expires at" if left > 0 else "should have been replaced by"
            return f"{self._what} {when} {self._ends}"
        when = "has expired" if left <= 0 else f"expires in {left / _DAY_SECONDS:.1f} days"
        return f"{self._what} {when}"


def expiries_of(material: TlsMaterial, *, certificate: str) -> list[Expiry]:
    """What of `material` expires: our certificate, and one revocation list of each issuer.

    Args:
        certificate: The file of our certificate, for people.
    """
    expiries = []
    if material.certificate_pem:
        own = x509.load_pem_x509_certificate(material.certificate_pem)
        ends_at = own.not_valid_after_utc.timestamp()
        expiries.append(Expiry(certificate, ends_at, _CERTIFICATE_WARNINGS))
    if material.crl_pem:
        expiries += _crl_expiries(material)
    return expiries


def _crl_expiries(material: TlsMaterial) -> list[Expiry]:
    """The list that holds longest counts, of each issuer; one without nextUpdate holds for ever."""
    last: dict[str, Expiry | None] = {}
    for crl in load_crls(material.crl_pem):
        issuer = crl.issuer.rfc4514_string() or "nobody"
        if crl.next_update_utc is None:
            last[issuer] = None
            continue
        ends_at = crl.next_update_utc.timestamp()
        life_seconds = ends_at - crl.last_update_utc.timestamp()
        before = max(0.0, min(_DAY_SECONDS, life_seconds / 4))
        expiry = Expiry(material.crl, ends_at, (0.0, before), issuer)
        known = last.setdefault(issuer, expiry)
        if known is not None and known.ends_at < ends_at:
            last[issuer] = expiry
    return [expiry for expiry in last.values() if expiry is not None]
