"""Everything one interoperability test puts together: daemons, relay, certificates, files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tests.certificate_files import CLIENT_NAME, SERVER_NAME, CertificateFiles
from tests.interop.daemons import Rsyslog, SyslogNg
from tests.interop.packages import PackagesRoot
from tests.processes import Program, Programs
from tests.relay_process import RelayProcess

__all__ = ["Lab"]

P = TypeVar("P", bound=Program)


class Lab:
    """Starts programs that end with the test.

    Attributes:
        arrived: The file where the last program of the chain writes what arrives.
    """

    def __init__(
        self,
        packages: PackagesRoot,
        certificates: CertificateFiles,
        programs: Programs,
        folder: Path,
    ) -> None:
        self.certificates = certificates
        self.arrived = folder / "received.log"
        self._packages = packages
        self._programs = programs
        self._folder = folder

    def rsyslog(
        self,
        config: str,
        *,
        tcp: Sequence[int] = (),
        udp: Sequence[int] = (),
        name: str = "rsyslog",
    ) -> Rsyslog:
        """A running rsyslogd; see `Rsyslog` for the arguments."""
        program = Rsyslog(self._packages, self._folder, config, tcp=tcp, udp=udp, name=name)
        return self._started(program)

    def syslog_ng(
        self, config: str, *, tcp: Sequence[int] = (), udp: Sequence[int] = ()
    ) -> SyslogNg:
        """A running syslog-ng; see `SyslogNg` for the arguments."""
        return self._started(SyslogNg(self._packages, self._folder, config, tcp=tcp, udp=udp))

    def relay_to(self, port: int, destination: Mapping[str, Any]) -> RelayProcess:
        """A running relay that passes on what it gets at TCP port `port`."""
        sources = {"feed": {"listen": f"tcp://127.0.0.1:{port}"}}
        relay = RelayProcess(
            self._folder,
            sources=sources,
            destinations={"upstream": {"retry_seconds_max": 1.0, **destination}},
        )
        return self._started(relay)

    def relay_from(self, source: Mapping[str, Any]) -> RelayProcess:
        """A running relay that writes what it gets to the file `arrived`."""
        relay = RelayProcess(
            self._folder,
            sources={"network": source},
            destinations={"file": {"connect": f"file://{self.arrived}"}},
        )
        return self._started(relay)

    def relay(
        self, name: str, *, source: Mapping[str, Any], destination: Mapping[str, Any]
    ) -> RelayProcess:
        """A running relay with a folder of its own; its source is called as it is."""
        relay = RelayProcess(
            self._folder / name,
            sources={name: source},
            destinations={"next": {"retry_seconds_max": 1.0, **destination}},
            name=name,
        )
        return self._started(relay)

    @property
    def server_tls(self) -> dict[str, Any]:
        """The relay as a server that asks for a certificate."""
        return {
            "certificate": self.certificates.server_certificate,
            "private_key": self.certificates.server_key,
            "trusted_ca": self.certificates.ca,
        }

    @property
    def client_tls(self) -> dict[str, Any]:
        """The relay as a client that verifies the name of the upstream."""
        return {
            "certificate": self.certificates.client_certificate,
            "private_key": self.certificates.client_key,
            "trusted_ca": self.certificates.ca,
            "server_name": SERVER_NAME,
        }

    def rsyslog_relp_tls(self, role: str, *, permitted_peer: str = "") -> str:
        """Parameters of imrelp (role server) or omrelp (role client) with names verified."""
        own = self.certificates
        certificate, key, peer = (
            (own.server_certificate, own.server_key, CLIENT_NAME)
            if role == "server"
            else (own.client_certificate, own.client_key, SERVER_NAME)
        )
        return (
            f'tls="on" tls.authMode="name" tls.permittedPeer=["{permitted_peer or peer}"]'
            f' tls.caCert="{own.ca}" tls.myCert="{certificate}" tls.myPrivKey="{key}"'
        )

    def rsyslog_stream_tls(self, role: str, driver: str) -> str:
        """A `global` statement for imtcp (role server) or omfwd (role client)."""
        own = self.certificates
        certificate, key = (
            (own.server_certificate, own.server_key)
            if role == "server"
            else (own.client_certificate, own.client_key)
        )
        return (
            f'global(defaultNetstreamDriver="{driver}" defaultNetstreamDriverCAFile="{own.ca}"'
            f' defaultNetstreamDriverCertFile="{certificate}"'
            f' defaultNetstreamDriverKeyFile="{key}")'
        )

    def syslog_ng_tls(self, role: str) -> str:
        """The option tls() with certificates required on both sides."""
        own = self.certificates
        certificate, key = (
            (own.server_certificate, own.server_key)
            if role == "server"
            else (own.client_certificate, own.client_key)
        )
        return (
            f'tls(ca-file("{own.ca}") cert-file("{certificate}") key-file("{key}")'
            " peer-verify(required-trusted))"
        )

    def _started(self, program: P) -> P:
        self._programs.add(program)
        program.start()
        return program
