"""Read tables of a TOML file by a schema, and report everything that is wrong.

A schema maps the keys of a table to kinds.  A kind turns a TOML value into a
Python value, or raises ValueError saying what is allowed and what was found.
Nothing stops at the first problem: each becomes one line with the dotted path of
its key, and the caller goes on with the keys that were right.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import ClassVar, Protocol, TypeGuard, TypeVar

from relay.model import expression
from relay.model.policy import DrainRate
from relay.model.text import counted, seconds_in
from relay.model.token import redacted_secret

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SIZE = re.compile(r"([0-9]{1,18}) ?([A-Za-z]*)")
_MULTIPLE = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,3})?) ?x")
_SIZE_UNITS: Mapping[str, int] = {
    unit: power
    for units, powers in (
        (("b", "kib", "mib", "gib", "tib"), (1, 2**10, 2**20, 2**30, 2**40)),
        (("", "kb", "mb", "gb", "tb"), (1, 10**3, 10**6, 10**9, 10**12)),
    )
    for unit, power in zip(units, powers, strict=True)
}


class Leaf(Protocol[T_co]):
    """What a key may hold, with one reason why a value is wrong.

    Those of the keys of sources, destinations and the relay also have `allowed`, what it is,
    for errors and for the reference.
    """

    def read(self, value: object) -> T_co:
        """Turn a TOML value into a Python value; ValueError says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Anything:
    """Any value; the caller looks at it."""

    def read(self, value: object) -> object:
        return value


@dataclass(frozen=True, slots=True)
class Text:
    """A text that is not empty.

    Args:
        allowed: What it is, for the error: "a file name".
        pattern: What all of it has to match.
        secret: The value must not be shown, even when it is wrong.
    """

    allowed: str = "a text"
    pattern: str = r"[^\0]+"
    secret: bool = False

    def read(self, value: object) -> str:
        if isinstance(value, str) and re.fullmatch(self.pattern, value, re.DOTALL):
            return value
        raise _unfit(self.allowed, value, secret=self.secret)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few texts."""

    choices: tuple[str, ...]

    @property
    def allowed(self) -> str:
        return f"one of {', '.join(self.choices)}"

    def read(self, value: object) -> str:
        if isinstance(value, str) and value in self.choices:
            return value
        near = did_you_mean(value, self.choices) if isinstance(value, str) else ""
        raise ValueError(f"expected {self.allowed}; found {shown(value)}{near}")


@dataclass(frozen=True, slots=True)
class Named:
    """A number from 0 on, or a name for one in any case."""

    names: Mapping[str, int]
    high: int

    @property
    def allowed(self) -> str:
        return f"0 to {self.high} and {', '.join(self.names)}"

    def read(self, value: object) -> int:
        if isinstance(value, str) and value.lower() in self.names:
            return self.names[value.lower()]
        if _is_within(value, 0, self.high):
            return value
        near = did_you_mean(str(value), self.names) or ";"
        raise ValueError(f"found {shown(value)}{near} allowed are {self.allowed}")


@dataclass(frozen=True, slots=True)
class Expression:
    """A regular expression for bytes."""

    allowed: ClassVar[str] = "a regular expression"

    def read(self, value: object) -> str:
        if not isinstance(value, str) or not value:
            raise _unfit(self.allowed, value)
        try:
            expression.Expression(value)
        except ValueError as error:
            raise ValueError(f"{shown(value)} is {error}") from None
        return value


@dataclass(frozen=True, slots=True)
class Flag:
    """true or false."""

    allowed: ClassVar[str] = "true or false"

    def read(self, value: object) -> bool:
        if isinstance(value, bool):
            return value
        raise _unfit(self.allowed, value)


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number; both ends are in the range."""

    low: int
    high: int

    @property
    def allowed(self) -> str:
        return f"a whole number from {self.low:,} to {self.high:,}"

    def read(self, value: object) -> int:
        if _is_within(value, self.low, self.high):
            return value
        raise _unfit(self.allowed, value)


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes, as a whole number or as a text with a unit; both ends are in the range."""

    low: int
    high: int

    @property
    def allowed(self) -> str:
        return f"a size from {size_text(self.low)} to {size_text(self.high)}"

    def read(self, value: object) -> int:
        found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
        size = value
        if found is not None and (unit := _SIZE_UNITS.get(found[2].lower())):
            size = int(found[1]) * unit
        if _is_within(size, self.low, self.high):
            return size
        raise _unfit(f'{self.allowed}, as bytes or as a text such as "64 KiB" or "1 GiB"', value)


@dataclass(frozen=True, slots=True)
class Rate:
    """A size per second, or a multiple of what comes in, such as ``"3x"``."""

    allowed: ClassVar[str] = (
        'a size per second from 1 KiB to 1 TiB, such as "2 MiB", or more than one and up to a '
        'thousand times what comes in, such as "3x"'
    )

    def read(self, value: object) -> DrainRate:
        multiple = _MULTIPLE.fullmatch(value.strip()) if isinstance(value, str) else None
        if multiple is not None and 1 < float(multiple[1]) <= 1000:
            return DrainRate(live_multiple=float(multiple[1]))
        try:
            return DrainRate(bytes_per_second=Size(1024, 2**40).read(value))
        except ValueError:
            raise _unfit(self.allowed, value) from None


@dataclass(frozen=True, slots=True)
class Number:
    """A number, fractions allowed; both ends are in the range."""

    low: float
    high: float
    what: str = "a number"

    @property
    def allowed(self) -> str:
        return f"{self.what} from {plain(self.low)} to {plain(self.high)}"

    def read(self, value: object) -> float:
        # Compared before the conversion: TOML has integers that no float can hold.
        if isinstance(value, float) and self.low <= value <= self.high:  # never true for nan
            return value
        if _is_within(value, self.low, self.high):
            return float(value)
        raise _unfit(self.allowed, value)


def Seconds(low: float, high: float) -> Number:
    """A time in seconds."""
    return Number(low, high, "seconds, a number")


@dataclass(frozen=True, slots=True)
class Duration:
    """A time in seconds, as a number or as a text with a unit; both ends are in the range."""

    low: float
    high: float

    @property
    def allowed(self) -> str:
        return (
            f"a time from {plain(self.low)} to {plain(self.high)} seconds, as seconds or as a text "
            'such as "90s", "30m", "6h" or "7d"'
        )

    def read(self, value: object) -> float:
        try:
            seconds = seconds_in(value) if isinstance(value, str) else value
            return Number(self.low, self.high).read(seconds)
        except ValueError:
            raise _unfit(self.allowed, value) from None


@dataclass(frozen=True, slots=True)
class Permissions:
    """Permissions of a file, as an octal number."""

    allowed: ClassVar[str] = "permissions from 0o000 to 0o777, such as 0o660"

    def read(self, value: object) -> int:
        if _is_within(value, 0, 0o777):
            return value
        # 666 instead of 0o666 is a likely slip, and its bits would make no sense.
        raise _unfit(self.allowed, value)


@dataclass(frozen=True, slots=True)
class AnAddress:
    """An IP address, without brackets."""

    allowed: ClassVar[str] = 'an address, such as "192.0.2.1" or "2001:db8::1"'

    def read(self, value: object) -> str:
        try:
            if isinstance(value, str):
                return str(ipaddress.ip_address(value))
        except ValueError:
            pass
        raise _unfit(self.allowed, value)


@dataclass(frozen=True, slots=True)
class Texts:
    """A list of texts: not empty, and none twice unless they may repeat."""

    allowed: str = "a list of texts"
    may_repeat: bool = False

    def read(self, value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise _unfit(self.allowed, value)
        if not value:
            raise ValueError(f"expected {self.allowed}, found an empty list")
        twice = [shown(item) for number, item in enumerate(value) if item in value[:number]]
        if twice and not self.may_repeat:
            are = "is" if len(twice) == 1 else "are"
            raise ValueError(f"{', '.join(twice)} {are} in the list twice; remove one of each")
        return tuple(value)


@dataclass(frozen=True, slots=True)
class Choices:
    """A list of some of a few texts: not empty, none twice."""

    choices: tuple[str, ...]

    @property
    def allowed(self) -> str:
        return f"a list of {', '.join(self.choices)}"

    def read(self, value: object) -> tuple[str, ...]:
        return all_of(Choice(self.choices).read, Texts(self.allowed).read(value))


@dataclass(frozen=True, slots=True)
class Networks:
    """A list of addresses and networks (CIDR); IPv4 in IPv6 clothes becomes IPv4."""

    allowed: ClassVar[str] = 'a list of addresses and networks, such as ["10.0.0.0/8", "::1"]'

    def read(self, value: object) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        return all_of(self._network, Texts(self.allowed).read(value))

    @staticmethod
    def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ValueError(
                f"expected an address or a network, such as 192.0.2.1 or 10.0.0.0/8, found "
                f"{shown(text)}"
            ) from None
        written = ipaddress.ip_address(text.partition("/")[0])
        if written != network.network_address:
            raise ValueError(
                f"{shown(text)} has bits set after its prefix; write {network} for the network or "
                f"{written} for the one address"
            )
        if isinstance(network, ipaddress.IPv6Network):
            mapped = network.network_address.ipv4_mapped
            if mapped is not None and network.prefixlen >= 96:
                return ipaddress.IPv4Network((mapped, network.prefixlen - 96))
        return network


def all_of(read: Callable[[str], T], items: Iterable[str]) -> tuple[T, ...]:
    """What `read` makes of each item; one ValueError for all that are wrong."""
    found, wrong = [], []
    for item in items:
        try:
            found.append(read(item))
        except ValueError as error:
            wrong.append(str(error))
    if wrong:
        raise ValueError("; ".join(wrong))
    return tuple(found)


def join_path(path: str, key: str) -> str:
    """The dotted path of `key` in the table at `path`, quoted as TOML would want it."""
    if not _BARE_KEY.fullmatch(key):
        key = '"' + key.encode("unicode_escape").decode().replace('"', '\\"') + '"'
    return f"{path}.{key}" if path else key


def did_you_mean(found: str, allowed: Iterable[str]) -> str:
    """``, did you mean 'x'?`` for the nearest allowed name, or nothing."""
    names = list(allowed)
    near = get_close_matches(found, names, n=1) or get_close_matches(found.lower(), names, n=1)
    return f", did you mean {near[0]!r}?" if near else ""


def unknown_name(what: str, found: object, known: Collection[str]) -> str:
    """For an error: nothing of this name is configured."""
    near = did_you_mean(str(found), known) or ";"
    return f"there is no {what} {shown(found)}{near} the {what}s are: {', '.join(known) or 'none'}"


def shown(value: object) -> str:
    """`value`, short, for an error message; long texts are cut."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, str):
        return repr(value if len(value) <= 80 else value[:79] + "…")
    if isinstance(value, float):
        return plain(value)
    if isinstance(value, int):  # Python refuses to write out very long ones
        return f"{value:,}" if abs(value) < 10**30 else "a number of more than 30 digits"
    return str(value)  # a date or a time


def plain(number: float) -> str:
    """A number with all of its digits: ``31,536,000``, ``0.01``."""
    return f"{number:,.12g}"


def size_text(size: int) -> str:
    """`size` in the largest binary unit that divides it: ``64 KiB``."""
    for exponent, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size and size % 2**exponent == 0:
            return f"{size >> exponent:,} {unit}"
    return counted(size, "byte")


def size_value(size: int) -> str | int:
    """`size` as a file has it: ``"64 KiB"``, or the number if no unit divides it."""
    text = size_text(size)
    return size if "," in text or "byte" in text else text


def _is_within(value: object, low: float, high: float) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _unfit(allowed: str, value: object, *, secret: bool = False) -> ValueError:
    if secret and value != "":
        found = redacted_secret(os.fsencode(str(value)))
    else:
        found = "an empty text" if value == "" else shown(value)
    return ValueError(f"expected {allowed}, found {found}")
