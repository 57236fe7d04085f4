"""Syslog messages as the field sends them, made from templates and a seed.

The same kind and seed give the same messages, in each run and on each machine; a longer corpus
begins with the shorter one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice
from random import Random
from typing import NamedTuple

from relay.cli.traffic import texts

HOSTS = 300
PROGRAMS_OF_HOST = 14
BYTES_MIN, BYTES_MAX = 40, 900
SD_SHARE = 0.4
ODD_SHARE = 0.03
UTF8_SHARE, LATIN_SHARE = 0.03, 0.01
"""Of the RFC 3164 and RFC 5424 lines in `mixed`."""
UNIFORM_BYTES = 256
BEGIN = datetime(2026, 11, 20, 22, 58, tzinfo=UTC)
HOST_RATE, CENTRAL_RATE = 40, 2000
"""Messages a second, by the stamps."""
SEVERITIES, SEVERITY_WEIGHTS = (6, 5, 4, 3, 7), (70, 12, 8, 6, 4)

_ROLES = "web app db mail dns cache node queue auth log build proxy".split()  # noqa: SIM905
_SITES = "ams fra lon nyc sin".split()  # noqa: SIM905
_ZONES = (0, 0, 0, 0, 120, -300, 330)  # minutes
_FIELD = re.compile(r"\{([a-z0-9]+)\}")
_STAMP_FIELDS = ("bsd", "clf", "iso", "slashes")


class Line(NamedTuple):
    family: str
    """`uniform`, `rfc3164`, `rfc5424`, `json5424`, a device, or `odd`."""
    raw: bytes


@dataclass(frozen=True)
class Host:
    name: str
    zone: timezone
    skew: timedelta
    """By which its clock is wrong."""
    digits: int
    """Of the fraction of a second in its stamps, 0 to 6."""
    forwards_iso: bool
    """Writes RFC 3339 stamps into RFC 3164 headers, as rsyslog's forward format does."""
    programs: tuple[str, ...]
    first_pid: int

    def pid(self, rng: Random, program: str) -> int | None:
        manner = texts.PROGRAMS[program].pid
        if manner == "none":
            return None
        if manner == "new" and rng.random() < 0.8:
            return rng.randrange(1000, 32768)
        return self.first_pid + 37 * self.programs.index(program)


class Draw:
    """Fills the fields of a text."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng

    def text(self, template: str, host: Host, now: datetime) -> str:
        def value(match: re.Match[str]) -> str:
            name = match[1]
            if name in _STAMP_FIELDS:
                return str(_stamp(name, host, now))
            return host.name if name == "host" else _FIELDS[name](self.rng)

        return _FIELD.sub(value, template)


def _hexadecimal(digits: int) -> Callable[[Random], str]:
    return lambda rng: f"{rng.getrandbits(4 * digits):0{digits}x}"


def _ip(rng: Random) -> str:
    return f"{rng.choice(('192.0.2', '198.51.100', '203.0.113'))}.{rng.randrange(1, 255)}"


def _words(rng: Random) -> str:
    """Mostly a few words, sometimes very many."""
    count = min(90, int(4 * rng.paretovariate(1.1)))
    return " ".join(rng.choices(texts.WORDS, k=count))


def _query(rng: Random) -> str:
    count = min(20, int(rng.paretovariate(1.0)))
    return "&".join(f"{word}={_HEX8(rng)}" for word in rng.choices(texts.WORDS, k=count))


_HEX8 = _hexadecimal(8)
_FIELDS: dict[str, Callable[[Random], str]] = {
    "base64": lambda rng: f"{rng.getrandbits(128):022x}".swapcase() + "+/",
    "big": lambda rng: str(rng.randrange(10**6, 10**9)),
    "digit": lambda rng: str(rng.randrange(1, 10)),
    "hex12": _hexadecimal(12),
    "hex32": _hexadecimal(32),
    "hex4": _hexadecimal(4),
    "hex8": _HEX8,
    "ip": _ip,
    "ip6": lambda rng: f"2001:db8:{rng.getrandbits(16):x}::{rng.getrandbits(16) | 1:x}",
    "letter": lambda rng: rng.choice("abcdef"),
    "mac": lambda rng: "02:00:5e:" + ":".join(f"{rng.getrandbits(8):02x}" for _ in range(3)),
    "micro": lambda rng: f"{rng.randrange(10**6):06d}",
    "milli": lambda rng: f"{rng.randrange(1000):03d}",
    "port": lambda rng: str(rng.randrange(1024, 65536)),
    "query": _query,
    "small": lambda rng: str(rng.randrange(10, 1000)),
    "status": lambda rng: str(rng.choice((200, 200, 201, 204, 301, 304, 400, 404, 500, 502))),
    "user": lambda rng: rng.choice(texts.USERS),
    "word": lambda rng: rng.choice(texts.WORDS),
    "words": _words,
}


def _stamp(form: str, host: Host, now: datetime) -> str:
    then = (now + host.skew).astimezone(host.zone)
    if form == "bsd":
        return f"{then:%b} {then.day:2d} {then:%H:%M:%S}"
    if form == "clf":
        return f"{then:%d/%b/%Y:%H:%M:%S}.{then.microsecond // 1000:03d}"
    if form == "slashes":
        return f"{then:%Y/%m/%d %H:%M:%S}"
    fraction = f".{then.microsecond:06d}"[: host.digits + 1] if host.digits else ""
    offset = f"{then:%z}"
    zone = "Z" if offset == "+0000" else f"{offset[:3]}:{offset[3:]}"
    return f"{then:%Y-%m-%dT%H:%M:%S}{fraction}{zone}"


def _hosts(rng: Random, count: int) -> list[Host]:
    found = []
    for number in range(count):
        name = f"{rng.choice(_ROLES)}-{rng.choice(_SITES)}-{number:03d}"
        if number % 4 == 2:
            name = f"{rng.choice(_ROLES)}{number}"
        elif number % 10 == 3:
            name += ".example.net"
        elif number % 50 == 7:
            name = f"198.51.100.{number % 250 + 1}"
        elif number % 100 == 9:
            name = f"2001:db8::{number:x}"
        chosen = list(texts.PROGRAMS)
        if count > 1:
            chosen = rng.sample(chosen, PROGRAMS_OF_HOST)
        found.append(
            Host(
                name=name,
                zone=timezone(timedelta(minutes=rng.choice(_ZONES))),
                skew=timedelta(seconds=rng.gauss(0, 1)),
                digits=rng.choice((6, 6, 3, 0)),
                forwards_iso=count > 1 and number % 8 == 5,
                programs=tuple(chosen),
                first_pid=rng.randrange(300, 30000),
            )
        )
    return found


class _Field:
    """All that one corpus comes from: hosts, a clock and the draws."""

    def __init__(self, kind: str, seed: int, hosts: int, rate: int) -> None:
        self.rng = Random(f"{kind} {seed}")
        self.draw = Draw(self.rng)
        self.hosts = _hosts(self.rng, hosts)
        self.weights = [1 / (place + 20) for place in range(hosts)]
        self.rate = rate
        self.now = BEGIN

    def lines(self, make: Callable[[_Field, Host], Line]) -> Iterator[Line]:
        while True:
            self.now += timedelta(seconds=self.rng.expovariate(self.rate))
            host = self.rng.choices(self.hosts, self.weights)[0]
            line = make(self, host)
            while not (BYTES_MIN <= len(line.raw) <= BYTES_MAX or line.family == "odd"):
                line = make(self, host)
            yield line

    def text(self, template: str, host: Host) -> str:
        return self.draw.text(template, host, self.now)

    def pri(self, facility: int) -> str:
        return f"<{facility * 8 + self.rng.choices(SEVERITIES, SEVERITY_WEIGHTS)[0]}>"


def _rfc3164(field: _Field, host: Host, text: str = "") -> Line:
    name = field.rng.choice(host.programs)
    program = texts.PROGRAMS[name]
    pid = host.pid(field.rng, name)
    tag = name if pid is None else f"{name}[{pid}]"
    stamp = _stamp("iso" if host.forwards_iso else "bsd", host, field.now)
    said = field.text(text or field.rng.choice(program.texts), host)
    return Line(
        "rfc3164", f"{field.pri(program.facility)}{stamp} {host.name} {tag}: {said}".encode()
    )


def _rfc5424(field: _Field, host: Host, text: str = "", family: str = "rfc5424") -> Line:
    name = field.rng.choice(host.programs)
    program = texts.PROGRAMS[name]
    pid = host.pid(field.rng, name) or "-"
    data = "-"
    if field.rng.random() < SD_SHARE:
        count = field.rng.choice((1, 1, 1, 2))
        data = "".join(
            field.text(element, host) for element in field.rng.sample(texts.SD_ELEMENTS, count)
        )
    msgid = field.rng.choice(("-", "-", "-", f"ID{field.rng.randrange(100)}"))
    said = field.text(text or field.rng.choice(program.texts), host)
    header = f"{field.pri(program.facility)}1 {_stamp('iso', host, field.now)} {host.name}"
    return Line(family, f"{header} {name} {pid} {msgid} {data} {said}".encode())


def _json5424(field: _Field, host: Host) -> Line:
    return _rfc5424(field, host, field.rng.choice(texts.JSON), "json5424")


def _asa(field: _Field, host: Host) -> str:
    then = field.now + host.skew
    text = field.rng.choice(texts.ASA)
    # With `logging device-id`, without, and without `logging timestamp`.
    start = field.rng.choices(
        (f"{then:%b %d %Y %H:%M:%S} {{host}} : ", f"{then:%b %d %Y %H:%M:%S}: ", ""), (8, 1, 1)
    )
    return field.pri(20) + start[0] + text


def _ios(field: _Field, host: Host) -> str:
    then = _stamp("bsd", host, field.now) + f".{field.rng.randrange(1000):03d}"
    star = field.rng.choice(("", "", "*", "."))
    zone = field.rng.choice(("", " UTC"))
    number = field.rng.randrange(1, 10**6)
    return f"{field.pri(23)}{number}: {{host}}: {star}{then}{zone}: {field.rng.choice(texts.IOS)}"


def _fortigate(field: _Field, host: Host) -> str:
    then = field.now + host.skew
    return f"{field.pri(23)}date={then:%Y-%m-%d} time={then:%H:%M:%S} " + field.rng.choice(
        texts.FORTIGATE
    )


def _panos(field: _Field, host: Host) -> str:
    serial = f"0018{host.first_pid:011d}"
    return f"{field.pri(1)}{{bsd}} {{host}} 1,{{slashes}},{serial}," + field.rng.choice(texts.PANOS)


def _junos(field: _Field, host: Host) -> str:
    if field.rng.random() < 0.5:
        return f"{field.pri(3)}{{bsd}} {{host}} " + field.rng.choice(texts.JUNOS)
    return f"{field.pri(1)}1 {{iso}} {{host}} " + field.rng.choice(texts.JUNOS_SD)


def _esxi(field: _Field, host: Host) -> str:
    return f"{field.pri(20)}{{iso}} {{host}} " + field.rng.choice(texts.ESXI)


_DEVICES = {
    "asa": _asa,
    "ios": _ios,
    "fortigate": _fortigate,
    "panos": _panos,
    "junos": _junos,
    "esxi": _esxi,
}


def _device(field: _Field, host: Host) -> Line:
    # A host stays a device of one make.
    family = list(_DEVICES)[host.first_pid % len(_DEVICES)]
    return Line(family, field.text(_DEVICES[family](field, host), host).encode())


def _mixed(field: _Field, host: Host) -> Line:
    rng = field.rng
    if rng.random() < ODD_SHARE:
        return Line("odd", field.text(rng.choice(texts.ODD), host).encode())
    make = rng.choices((_rfc3164, _rfc5424, _json5424, _device), (40, 25, 12, 23))[0]
    if make is not _rfc3164 and make is not _rfc5424:
        return make(field, host)
    chance = rng.random()
    if chance < UTF8_SHARE:
        return make(field, host, rng.choice(texts.UTF8_TEXTS))
    if chance < UTF8_SHARE + LATIN_SHARE:
        line = make(field, host, rng.choice(texts.LATIN_TEXTS))
        return line._replace(raw=line.raw.decode().encode("latin-1"))
    return make(field, host)


def _uniform() -> Iterator[Line]:
    """One host, one program, one header, as the generator of `make bench` sends them."""
    number = 0
    while True:
        stamp = f"2026-11-21T05:00:00.{number % 10**6:06d}Z"
        start = f"<165>1 {stamp} web-1 app 123 ID47 - load {number} ".encode()
        yield Line("uniform", start.ljust(UNIFORM_BYTES, b"x"))
        number += 1


_MADE: dict[str, tuple[Callable[[_Field, Host], Line], int, int]] = {
    "host3164": (_rfc3164, 1, HOST_RATE),
    "central3164": (_rfc3164, HOSTS, CENTRAL_RATE),
    "host5424": (_rfc5424, 1, HOST_RATE),
    "central5424": (_rfc5424, HOSTS, CENTRAL_RATE),
    "json5424": (_json5424, HOSTS, CENTRAL_RATE),
    "devices": (_device, HOSTS, CENTRAL_RATE),
    "mixed": (_mixed, HOSTS, CENTRAL_RATE),
}
KINDS = ("uniform", *_MADE)


def lines(kind: str, seed: int = 1) -> Iterator[Line]:
    """The messages of one of KINDS with their families, without end."""
    if kind == "uniform":
        return _uniform()
    make, hosts, rate = _MADE[kind]
    return _Field(kind, seed, hosts, rate).lines(make)


def messages(kind: str, count: int, seed: int = 1) -> list[bytes]:
    """The first `count` messages of a kind, without framing; none contains LF."""
    return [line.raw for line in islice(lines(kind, seed), count)]
