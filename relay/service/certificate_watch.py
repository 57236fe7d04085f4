"""Notice new certificate, key, CA and revocation files, and use them without a restart."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from OpenSSL import SSL
from twisted.application.service import Service
from twisted.logger import Logger

from relay.model.clock import DelayedCall
from relay.service.configuration import TlsConfiguration
from relay.service.tls_files import Where, own_expiry, read_material
from relay.transport.notices import Notices
from relay.transport.tls_context import TlsMaterial

__all__ = ["CertificateWatch", "Renewable"]

_CHECK_SECONDS = 60.0
_REPEAT_SECONDS = 3600.0
_DAY_SECONDS = 86400.0
_WARNING_DAYS = (0, 1, 7, 30)

Problems = Callable[[TlsConfiguration, Where], list[str]]
Stamp = tuple[int, int, int] | None


class Renewable(Protocol):
    """What makes TLS connections: a listener or an upstream."""

    def renew(self, material: TlsMaterial) -> None:
        """Use `material` for new connections; raises if it cannot be used."""


R = TypeVar("R", bound=Renewable)


@dataclass(slots=True)
class _Watched:
    """One listener or upstream and its files."""

    subject: str
    tls: TlsConfiguration
    problems: Problems
    target: Renewable
    used: list[Stamp]
    """The files as they were when what is in use was read."""
    expires_at: float | None
    """When our own certificate does, in seconds since 1970."""
    said: str = ""
    repeat_at: float = 0.0
    warned_days: int | None = None
    """The threshold of `_WARNING_DAYS` that was warned of last."""


class CertificateWatch(Service):
    """Looks at the files of TLS every minute, and when it is told to.

    New files are read and checked together, as at the start.  If they are right, new
    connections use them; those that exist go on as they are.  If they are not, what
    was used before still is: a certificate and its key cannot be replaced in one step,
    so a pair that does not fit is looked at again with the next check.

    A file counts as new when its inode, size or time of modification has changed.
    """

    name = "certificates"
    _log = Logger(namespace="relay")

    def __init__(self, *, notices: Notices, reactor: Any) -> None:
        self._notices = notices
        self._reactor = reactor
        self._watched: list[_Watched] = []
        self._call: DelayedCall | None = None

    def keep(
        self,
        subject: str,
        tls: TlsConfiguration,
        problems: Problems,
        new: Callable[[TlsMaterial], R],
    ) -> R:
        """Make a listener or upstream from the files of `tls`, and renew it from now on.

        Args:
            subject: Whose files they are, for warnings: ``source relays``.
            problems: What is wrong with files; looked at before they are used again.
            new: Makes it.

        Raises:
            ValueError, SSL.Error: The files cannot be used.
        """
        stamps = _stamps(tls)  # first: a change while they are read is a change
        material = read_material(tls)
        target = new(material)
        expires_at = own_expiry(material)
        self._watched.append(_Watched(subject, tls, problems, target, stamps, expires_at))
        return target

    def startService(self) -> None:
        Service.startService(self)
        self._next()

    def stopService(self) -> None:
        Service.stopService(self)
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def check(self) -> None:
        """Look at all files now."""
        for watched in self._watched:
            self._renew(watched)
            self._warn_of_expiry(watched)

    def report(self) -> list[dict[str, Any]]:
        """Our certificates and the days that they have left, for status."""
        now = self._reactor.seconds()
        return [
            {
                "subject": watched.subject,
                "certificate": watched.tls.certificate,
                "expires_days": round((watched.expires_at - now) / _DAY_SECONDS, 1),
            }
            for watched in self._watched
            if watched.expires_at is not None
        ]

    def _next(self) -> None:
        self._call = self._reactor.callLater(_CHECK_SECONDS, self._next)
        self.check()

    def _renew(self, watched: _Watched) -> None:
        stamps = _stamps(watched.tls)
        if stamps == watched.used:
            watched.said = ""
            return
        trouble = _use(watched)
        if not trouble:
            watched.used, watched.said = stamps, ""
            self._log.info("{who}: new TLS files are in use", who=watched.subject)
            return
        now = self._reactor.seconds()
        if trouble != watched.said or now >= watched.repeat_at:
            watched.said, watched.repeat_at = trouble, now + _REPEAT_SECONDS
            words = f"new TLS files cannot be used, the old ones still are: {trouble}"
            self._notices.warn(watched.subject, "certificates", words)

    def _warn_of_expiry(self, watched: _Watched) -> None:
        if watched.expires_at is None:
            return
        days = (watched.expires_at - self._reactor.seconds()) / _DAY_SECONDS
        threshold = next((limit for limit in _WARNING_DAYS if days <= limit), None)
        if threshold is None or threshold == watched.warned_days:
            return
        watched.warned_days = threshold
        words = "has expired" if days <= 0 else f"expires in {days:.1f} days"
        self._notices.warn(
            watched.subject, "expiry", f"the certificate in {watched.tls.certificate} {words}"
        )


def _use(watched: _Watched) -> str:
    """Make `watched` use its files as they are now; return what keeps it from that."""
    problems = watched.problems(watched.tls, lambda key: key)
    if problems:
        return "; ".join(problems)
    try:
        material = read_material(watched.tls)
        watched.target.renew(material)
    except (ValueError, SSL.Error) as error:  # changed since they were looked at, or odd
        return f"OpenSSL does not take them: {error}"
    watched.expires_at, watched.warned_days = own_expiry(material), None
    return ""


def _stamps(tls: TlsConfiguration) -> list[Stamp]:
    keys = (tls.certificate, tls.private_key, tls.private_key_passphrase_file)
    return [_stamp(path) for path in (*keys, tls.trusted_ca, tls.crl)]


def _stamp(path: str) -> Stamp:
    try:
        found = os.stat(path)
    except OSError:  # gone, out of reach, or not named at all
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
