"""Read the URLs that say where to listen and where to connect.

What comes behind the scheme is an `Address`, of which the kind of source or destination has one:

    HostPort   //host:port     IPv6 addresses in brackets; no host = all addresses (listen only)
    Cluster    //host:port,host:port/name
    Path       ///path         absolute
               path            relative to a base directory
    Host       //host          no host = all addresses

Paths are taken as they stand: nothing in them is percent-decoded.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

Role = Literal["listen", "connect"]

UNIX_PATH_BYTES_MAX = 107
"""sun_path of unix(7) has 108 bytes, the last of them NUL."""

_HOST_PORT = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::([^:]*))?")
_PORT = re.compile(r"[0-9]{1,5}")
_HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_.])?")
_LOOKS_LIKE_IPV4 = re.compile(r"[0-9.]+")
_SERVICE = re.compile(r"_[a-z0-9-]+\._(tcp|udp)\.[^.]")
_USER = re.compile(r".*@", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Url:
    """Where to listen or to connect."""

    scheme: str
    """Names the kind of source or destination."""
    host: str = ""
    """Name or address without brackets; empty = all addresses, IPv6 and IPv4."""
    port: int = 0
    path: str = ""
    """Absolute; of sources of files with wildcards.  Behind a host and port: on that host."""
    inherited: str = ""
    """Name of a socket that systemd has bound; the address is then not ours to know."""

    is_bare: bool = False
    """There is neither port nor path, as in journald:// and sematext://eu."""

    others: tuple[tuple[str, int], ...] = ()
    """Hosts and ports of further servers of the same cluster."""

    def __str__(self) -> str:
        if self.inherited:
            return f"systemd://{self.inherited}"
        if self.local_path or self.is_bare:
            return f"{self.scheme}://{self.host}{self.path}"
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def authority(self) -> str:
        """Hosts and ports, with commas between those of a cluster."""
        if self.service_domain:
            return self.host
        servers = ((self.host, self.port), *self.others)
        return ",".join(
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in servers
        )

    @property
    def service_domain(self) -> str:
        """Of a service that SRV records place on other hosts: its domain; empty = it is a host."""
        return "" if self.port or not self.host.startswith("_") else self.host.split(".", 2)[2]

    @property
    def local_path(self) -> str:
        """The path of a file or socket of this host; empty = it names none."""
        return "" if self.port else self.path


class Address(Protocol):
    """What comes behind a scheme."""

    @property
    def form(self) -> str:
        """How it is written, such as ``://host:port``."""

    def read(self, scheme: str, rest: str, role: Role, base_dir: str) -> Url:
        """Read what comes behind the scheme and its colon.

        Args:
            base_dir: Directory for relative paths; the result is absolute.

        Raises:
            ValueError: One line: what was found, what is allowed, what to write.
        """


def id_from_url(url: Url) -> str:
    """An id for a source or destination that has only a URL.

    It depends on the URL alone, so that a queue is found again after other URLs
    were added or removed: ``udp-127.0.0.1-514``, ``relp_tls-central.example-20515``,
    ``tcp-all-514`` (no host), ``unixgram-run-log`` (a path).  Where different URLs
    would get the same id, or one too long, eight digits of a hash follow.
    """
    scheme = url.scheme.replace("+", "_")
    if url.is_bare:
        return f"{scheme}-{url.host}" if url.host else scheme
    if url.inherited:
        plain = re.fullmatch(r"[a-z0-9_.-]+", url.inherited) is not None
        text = f"systemd-{url.inherited}"
    elif url.local_path:
        path = url.path.lstrip("/")
        plain = re.fullmatch(r"[a-z0-9_./]+", path) is not None
        text = f"{scheme}-{path.replace('/', '-')}"
    else:
        plain = "%" not in url.host and not url.path and not url.others
        text = f"{scheme}-{url.host.replace(':', '_') or 'all'}-{url.port}"
    if plain and len(text) <= 63:
        return text
    digest = hashlib.sha256(os.fsencode(str(url))).hexdigest()[:8]
    return re.sub(r"[^a-z0-9_.-]", "_", text.lower())[:54] + "-" + digest


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that `host` is (without brackets); None = it is a name, or neither."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_host(text: str) -> bool:
    """True for a host name, an IPv4 or an IPv6 address (without brackets)."""
    if ":" in text or _LOOKS_LIKE_IPV4.fullmatch(text):
        return address_of(text) is not None
    return _HOST_NAME.fullmatch(text.lower()) is not None


def url_shown(text: str) -> str:
    """`text` for an error: bounded, and without what stands before an '@'."""
    text = _USER.sub("…@", text)
    return repr(text if len(text) <= 80 else text[:79] + "…")


@dataclass(frozen=True, slots=True)
class HostPort:
    """A host and a port.

    Listening allows an empty host and port 0 (the kernel picks one); connecting needs a host and
    a port from 1 to 65535.

    Args:
        port: The usual one, for examples.
        services: A host such as _syslog._tcp.example.com without a port is that of a service, which
            SRV records (RFC 2782) place on other hosts.
    """

    port: int
    services: bool = False
    form: ClassVar[str] = "://host:port"

    def read(self, scheme: str, rest: str, role: Role, base_dir: str) -> Url:
        example = f"{scheme}://{'' if role == 'listen' else 'host'}:{self.port}"
        if not rest.startswith("//"):
            raise ValueError(f"{scheme} needs two slashes and a port, as in {example}")
        host, port = self._split(scheme, rest[2:])
        host = _host(host, role, example)
        if self.services and not port and _SERVICE.match(host):
            return Url(scheme, host=host)
        if not port:
            raise ValueError(f"the port is missing; write it as in {example}")
        port_min = 0 if role == "listen" else 1
        if not _PORT.fullmatch(port) or not port_min <= int(port) <= 65535:
            raise ValueError(f"expected a port from {port_min} to 65535, found {port!r}")
        return Url(scheme, host=host, port=int(port))

    def _split(self, scheme: str, authority: str) -> tuple[str, str]:
        if "@" in authority:
            raise ValueError("a user name or password before '@' has no meaning here; remove it")
        cut = re.search(r"[/?#]", authority)
        if cut is not None:
            raise ValueError(
                f"{authority[cut.start() :]!r} after the port has no meaning here; "
                f"write only {scheme}://{authority[: cut.start()]}"
            )
        parts = _HOST_PORT.fullmatch(authority)
        if parts is None:
            raise ValueError(
                f"{authority!r} is not host:port; an IPv6 address goes into brackets, "
                f"as in {scheme}://[::1]:{self.port}"
            )
        return parts[1], parts[2] or ""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Servers of one cluster, each of which tells of all others, and a name in the cluster.

    Both sources and destinations connect there.

    Args:
        port: The usual one, for examples.
        thing: What the name is of: ``topic``.
        name: The pattern of a name.
        allowed: What that is, for errors.
    """

    port: int
    thing: str
    name: str
    allowed: str

    @property
    def form(self) -> str:
        return f"://host:port[,host:port…][/{self.thing}]"

    def read(self, scheme: str, rest: str, role: Role, base_dir: str) -> Url:
        authority, slash, name = rest.removeprefix("//").partition("/")
        if slash and not re.fullmatch(self.name, name):
            raise ValueError(
                f"found {url_shown(slash + name)} behind the hosts; the {self.thing} is "
                f"{self.allowed}, as in {scheme}://host:{self.port}/logs"
            )
        servers = []
        for text in authority.split(","):
            one = f"//{text}" if rest.startswith("//") else text
            url = HostPort(self.port).read(scheme, one, "connect", base_dir)
            if (url.host, url.port) in servers:
                raise ValueError(f"{url.authority} is there twice; remove one of them")
            servers.append((url.host, url.port))
        (host, port), *others = servers
        return Url(scheme, host, port, f"/{name}" if name else "", others=tuple(others))


@dataclass(frozen=True, slots=True)
class Host:
    """A host without a port; none = all addresses."""

    form: ClassVar[str] = "://[host]"

    def read(self, scheme: str, rest: str, role: Role, base_dir: str) -> Url:
        parts = _HOST_PORT.fullmatch(rest[2:]) if rest.startswith("//") else None
        if parts is None or parts[2] is not None:
            raise ValueError(
                f"{scheme} takes a host and no port, as in {scheme}://127.0.0.1, or nothing for "
                f"all addresses, as in {scheme}://; its ports have keys of their own; found "
                f"{rest!r}"
            )
        return Url(scheme, host=_host(parts[1], role, f"{scheme}://"))


@dataclass(frozen=True, slots=True)
class Path:
    """A path.

    Args:
        thing: What is there: a file, or a socket.
        bytes_max: None = any number.
    """

    thing: str
    bytes_max: int | None = None
    form: ClassVar[str] = ":///path"

    def read(self, scheme: str, rest: str, role: Role, base_dir: str) -> Url:
        if rest.startswith("//") and not rest.startswith("///"):
            raise ValueError(
                f"{scheme + ':' + rest!r} names a host; write {scheme}:///{rest[2:]} for an "
                f"absolute path or {scheme}:{rest[2:]} for a relative one"
            )
        if "\0" in rest:
            raise ValueError("a path cannot contain the character NUL")
        if not rest.strip("/"):
            raise ValueError(f"the path is missing; write it as in {scheme}:///var/path")
        if rest.rpartition("/")[2] in ("", ".", ".."):
            raise ValueError(f"{rest!r} names a directory; add the name of the {self.thing} to it")
        # normpath keeps exactly two leading slashes (POSIX lets them be special).
        absolute = os.path.normpath(os.path.join(base_dir, re.sub(r"\A/+", "/", rest)))
        size = len(os.fsencode(absolute))
        if self.bytes_max is not None and size > self.bytes_max:
            raise ValueError(
                f"a {self.thing}'s path has at most {self.bytes_max} bytes, {absolute!r} has "
                f"{size}; choose a shorter one"
            )
        return Url(scheme, path=absolute)


@dataclass(frozen=True, slots=True)
class Bare:
    """Nothing: the scheme says it all."""

    form: ClassVar[str] = "://"

    def read(self, scheme: str, rest: str, role: Role, base_dir: str) -> Url:
        if rest != "//":
            raise ValueError(f"expected {scheme}://, found {scheme}:{rest}")
        return Url(scheme, is_bare=True)


SOCKET_PATH = Path("socket", UNIX_PATH_BYTES_MAX)


def _host(text: str, role: Role, example: str) -> str:
    if text.startswith("["):
        try:
            return str(ipaddress.IPv6Address(text[1:-1]))
        except ValueError:
            raise ValueError(
                f"expected an IPv6 address in the brackets, as in [::1], found {text[1:-1]!r}"
            ) from None
    if text == "":
        if role == "listen":
            return ""
        raise ValueError(f"the host is missing; write where to connect to, as in {example}")
    if text == "*":
        raise ValueError(f"'*' is not a host; for all addresses write none, as in {example}")
    if not is_host(text):
        raise ValueError(f"expected a host name or an address, found {text!r}")
    return text.lower()
