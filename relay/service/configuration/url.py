"""Read the URLs that say where to listen and where to connect.

    udp tcp tls relp relp+tls   scheme://host:port   IPv6 addresses in brackets;
                                                     no host = all addresses (listen only)
    unixgram unix file          scheme:///path       absolute
                                scheme:path          relative to a base directory
    systemd                     scheme://NAME        of a socket that systemd passes on, or its
                                                     descriptor's number, from 3 on
    journald                    scheme://            the system's journal, or with a path one in
                                                     that directory
    default-network
    sematext-receiver           scheme://host        several listeners; no host = all addresses

Paths are taken as they stand: nothing in them is percent-decoded.  Where a file is
listened to, * ? […] and ** in its path are wildcards.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
from difflib import get_close_matches
from typing import Literal

from relay.service.configuration.model import Url
from relay.service.sources.listener_set import SET_SCHEMES

__all__ = [
    "CONNECT_SCHEMES",
    "LISTEN_SCHEMES",
    "NETWORK_SCHEMES",
    "UNIX_PATH_OCTETS_MAX",
    "Role",
    "id_from_url",
    "is_host",
    "parse_url",
    "url_shown",
]

Role = Literal["listen", "connect"]

NETWORK_SCHEMES = ("udp", "tcp", "tls", "relp", "relp+tls")
LISTEN_SCHEMES = (
    *(*NETWORK_SCHEMES, "unixgram", "unix", "file", "systemd", "journald"),
    *SET_SCHEMES,
)
CONNECT_SCHEMES = (*NETWORK_SCHEMES, "file")

UNIX_PATH_OCTETS_MAX = 107
"""sun_path of unix(7) has 108 octets, the last of them NUL."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)
_HOST_PORT = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::([^:]*))?")
_PORT = re.compile(r"[0-9]{1,5}")
_HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_.])?")
_LOOKS_LIKE_IPV4 = re.compile(r"[0-9.]+")
_DESCRIPTOR_NAME = re.compile(r"[!-9;-~]{1,255}")  # ASCII, no space, no colon
_USER = re.compile(r".*@", re.DOTALL)

_EXAMPLE_PORTS = {"udp": 514, "tcp": 514, "tls": 6514, "relp": 20514, "relp+tls": 20515}

# What other programs call our schemes.  "relps" is nearest to "relp" by letters,
# and to follow that advice would turn encryption off.
_FOREIGN_SCHEMES = {"ssl": "tls", "relps": "relp+tls", "relp-tls": "relp+tls", "tcp+tls": "tls"}


def parse_url(text: str, role: Role, *, base_dir: str) -> Url:
    """Read `text` as a place to listen or to connect.

    Args:
        role: Listening allows an empty host and port 0 (the kernel picks one);
            connecting needs a host and a port from 1 to 65535.
        base_dir: Directory for relative paths; the result is absolute.

    Raises:
        ValueError: One line: what was found, what is allowed, what to write.
    """
    scheme, rest = _split_scheme(text, role)
    allowed = LISTEN_SCHEMES if role == "listen" else CONNECT_SCHEMES
    if scheme not in allowed:
        other = "connected to" if role == "listen" else "listened on"
        raise ValueError(f"{scheme} can only be {other}; {role} takes one of {_listed(allowed)}")
    if scheme in NETWORK_SCHEMES:
        return _network_url(scheme, rest, role)
    if scheme == "systemd":
        return _systemd_url(rest)
    if scheme == "journald":
        return _journal_url(rest)
    if scheme in SET_SCHEMES:
        return _set_url(scheme, rest)
    if role == "connect" and "$" in rest:
        raise ValueError(
            f"found '$' in {url_shown(text)}; files for each host or day, with macros in their "
            "names, are not available yet; write a path without '$'"
        )
    return _path_url(scheme, rest, base_dir)


def id_from_url(url: Url) -> str:
    """An id for a source or destination that has only a URL.

    It depends on the URL alone, so that a queue is found again after other URLs
    were added or removed: ``udp-127.0.0.1-514``, ``relp_tls-central.example-20515``,
    ``tcp-all-514`` (no host), ``unixgram-run-log`` (a path).  Where different URLs
    would get the same id, or one too long, eight digits of a hash follow.
    """
    scheme = url.scheme.replace("+", "_")
    if scheme == "journald" and not url.path:
        return scheme
    if url.inherited:
        plain = re.fullmatch(r"[a-z0-9_.-]+", url.inherited) is not None
        text = f"systemd-{url.inherited}"
    elif url.path:
        path = url.path.lstrip("/")
        plain = re.fullmatch(r"[a-z0-9_./]+", path) is not None
        text = f"{scheme}-{path.replace('/', '-')}"
    else:
        plain = "%" not in url.host
        text = f"{scheme}-{url.host.replace(':', '_') or 'all'}-{url.port}"
    if plain and len(text) <= 63:
        return text
    digest = hashlib.sha256(os.fsencode(str(url))).hexdigest()[:8]
    return re.sub(r"[^a-z0-9_.-]", "_", text.lower())[:54] + "-" + digest


def is_host(text: str) -> bool:
    """True for a host name, an IPv4 or an IPv6 address (without brackets)."""
    if ":" in text or _LOOKS_LIKE_IPV4.fullmatch(text):
        try:
            ipaddress.ip_address(text)
        except ValueError:
            return False
        return True
    return _HOST_NAME.fullmatch(text.lower()) is not None


def url_shown(text: str) -> str:
    """`text` for an error: bounded, and without what stands before an '@'."""
    text = _USER.sub("…@", text)
    return repr(text if len(text) <= 80 else text[:79] + "…")


def _split_scheme(text: str, role: Role) -> tuple[str, str]:
    known = {*LISTEN_SCHEMES, *CONNECT_SCHEMES}
    allowed = LISTEN_SCHEMES if role == "listen" else CONNECT_SCHEMES
    found = _SCHEME.fullmatch(text)
    if found is None or (found[1].lower() not in known and not found[2].startswith("/")):
        raise ValueError(
            f"{url_shown(text)} has no scheme; write one of {_listed(allowed)} and :// before it"
        )
    scheme = found[1].lower()
    if scheme not in known:
        near = get_close_matches(scheme, allowed, n=1)
        suggestion = _FOREIGN_SCHEMES.get(scheme) or (near[0] if near else "")
        question = f", did you mean {suggestion!r}?" if suggestion else ";"
        raise ValueError(f"unknown scheme {scheme!r}{question} {role} takes {_listed(allowed)}")
    return scheme, found[2]


def _network_url(scheme: str, rest: str, role: Role) -> Url:
    example = f"{scheme}://{'' if role == 'listen' else 'host'}:{_EXAMPLE_PORTS[scheme]}"
    if not rest.startswith("//"):
        raise ValueError(f"{scheme} needs two slashes and a port, as in {example}")
    authority = rest[2:]
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
            f"as in {scheme}://[::1]:{_EXAMPLE_PORTS[scheme]}"
        )
    host = _host(parts[1], role, example)
    if parts[2] is None or parts[2] == "":
        raise ValueError(f"the port is missing; write it as in {example}")
    port_min = 0 if role == "listen" else 1
    if not _PORT.fullmatch(parts[2]) or not port_min <= int(parts[2]) <= 65535:
        raise ValueError(f"expected a port from {port_min} to 65535, found {parts[2]!r}")
    return Url(scheme, host=host, port=int(parts[2]))


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


def _path_url(scheme: str, rest: str, base_dir: str) -> Url:
    if rest.startswith("//") and not rest.startswith("///"):
        raise ValueError(
            f"{scheme + ':' + rest!r} names a host; write {scheme}:///{rest[2:]} for an absolute "
            f"path or {scheme}:{rest[2:]} for a relative one"
        )
    if "\0" in rest:
        raise ValueError("a path cannot contain the character NUL")
    if not rest.strip("/"):
        raise ValueError(f"the path is missing; write it as in {scheme}:///var/path")
    if rest.rpartition("/")[2] in ("", ".", ".."):
        raise ValueError(f"{rest!r} names a directory; add the name of the {_thing(scheme)} to it")
    # normpath keeps exactly two leading slashes (POSIX lets them be special).
    absolute = os.path.normpath(os.path.join(base_dir, re.sub(r"\A/+", "/", rest)))
    octets = len(os.fsencode(absolute))
    if scheme in ("unixgram", "unix") and octets > UNIX_PATH_OCTETS_MAX:
        raise ValueError(
            f"a socket's path has at most {UNIX_PATH_OCTETS_MAX} octets, {absolute!r} has "
            f"{octets}; choose a shorter one"
        )
    return Url(scheme, path=absolute)


def _set_url(scheme: str, rest: str) -> Url:
    parts = _HOST_PORT.fullmatch(rest[2:]) if rest.startswith("//") else None
    if parts is None or parts[2] is not None:
        raise ValueError(
            f"{scheme} takes a host and no port, as in {scheme}://127.0.0.1, or nothing for all "
            f"addresses, as in {scheme}://; its ports have keys of their own; found {rest!r}"
        )
    return Url(scheme, host=_host(parts[1], "listen", f"{scheme}://"))


def _journal_url(rest: str) -> Url:
    if rest == "//":
        return Url("journald")
    if not rest.startswith("///") or "\0" in rest:
        raise ValueError(
            "expected journald:// for the system's journal, or a directory with journal files, as "
            f"in journald:///var/log/journal/remote, found {rest!r}"
        )
    return Url("journald", path=os.path.normpath("/" + rest.lstrip("/")))


def _systemd_url(rest: str) -> Url:
    name = rest[2:]
    if not rest.startswith("//") or not _DESCRIPTOR_NAME.fullmatch(name):
        raise ValueError(
            "expected the name that the socket unit gives with FileDescriptorName= (default: the "
            f"unit's own name), as in systemd://syslog.socket, found {rest!r}"
        )
    return Url("systemd", inherited=name)


def _thing(scheme: str) -> str:
    return "file" if scheme == "file" else "socket"


def _listed(schemes: tuple[str, ...]) -> str:
    return f"{', '.join(schemes[:-1])} or {schemes[-1]}"
