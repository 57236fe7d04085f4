"""TLS of clients whose library reads the files by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, TypeVar

from relay.model.errors import UpstreamError
from relay.service.configuration.model import TlsConfiguration
from relay.service.prerequisite import Prerequisite
from relay.service.tls.certificate_watch import CertificateWatch
from relay.service.tls.files import read_material
from relay.transport.tls.endpoints import TlsMaterial


@dataclass(frozen=True, slots=True)
class ClientTls(TlsConfiguration):
    """Of connections to brokers or servers, also of a source."""

    always_connects: ClassVar[bool] = True


class ClientCertificates:
    """The files of TLS for one client; `tls` names them.

    Args:
        material: Their contents; None = they are read when they are needed.
    """

    def __init__(self, material: TlsMaterial | None, *, tls: TlsConfiguration) -> None:
        self._material = material
        self._tls = tls

    def renew(self, material: TlsMaterial) -> None:
        self._material = material

    def passphrase(self) -> bytes:
        """That of the private key; empty = none.  UpstreamError says which file cannot be read."""
        try:
            return (self._material or read_material(self._tls)).passphrase
        except ValueError as error:
            raise UpstreamError(f"a file of TLS cannot be used: {error}") from None


C = TypeVar("C", bound=ClientCertificates)


def keep_certificates(
    new: Callable[..., C],
    subject: str,
    tls: TlsConfiguration | None,
    watch: CertificateWatch,
    files: Prerequisite,
) -> C | None:
    """The files of TLS, watched from now on; None without TLS.

    Args:
        new: The class of the result.
        subject: Whose files they are, for warnings.
        files: Has trouble as long as they cannot be used.
    """
    return None if tls is None else watch.keep(subject, tls, partial(new, tls=tls), files)
