"""Values of parameters: switches, sizes, and which parameters nobody asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable

from relay.cli.moving.report import Statement
from relay.cli.moving.rsyslog.language.syntax import Parameters

__all__ = ["Reader", "is_on", "size_of"]

_SIZE = re.compile(r"([0-9][0-9.,]*)\s*([kKmMgGtTpPeE]?)[bB]?")
_UNITS = {"k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4, "p": 1024**5, "e": 1024**6}
_DECIMAL = {"K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4, "P": 1000**5, "E": 1000**6}


def is_on(text: str) -> bool:
    """Whether a switch is on."""
    return text.strip().lower() in ("on", "yes", "1", "true")


def size_of(text: str) -> int | None:
    """A size in bytes: ``64k`` is 65,536 and ``64K`` is 64,000; None if it is no size."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        return None
    number = found[1].replace(",", "").rstrip(".")
    unit = {**_UNITS, **_DECIMAL}.get(found[2], 1)
    try:
        return int(float(number) * unit)
    except (ValueError, OverflowError):
        return None


class Reader:
    """The parameters of one statement.

    What is asked for counts as known; `finish` says in the report which ones nobody asked for.
    """

    def __init__(self, parameters: Parameters, said: Statement) -> None:
        self._parameters = parameters
        self.said = said

    def has(self, name: str) -> bool:
        """Whether the parameter is there; asks for it."""
        self._parameters.asked.add(name)
        return bool(self._parameters.values.get(name))

    def text(self, name: str, default: str = "") -> str:
        """The value of a parameter, or the first of several."""
        self._parameters.asked.add(name)
        values = self._parameters.values.get(name)
        return values[0] if values else default

    def texts(self, name: str) -> list[str]:
        """All values of a parameter."""
        self._parameters.asked.add(name)
        return list(self._parameters.values.get(name, ()))

    def is_on(self, name: str, *, default: bool = False) -> bool:
        """Whether a switch is on."""
        return is_on(self.text(name)) if self.has(name) else default

    def number(self, name: str) -> int | None:
        """A whole number; None if it is not there or none, which the report says."""
        text = self.text(name)
        if re.fullmatch(r"-?[0-9]{1,18}", text.strip()):
            return int(text)
        if text:
            self.said.unsupported(f"{name}: expected a number, found {text[:30]!r}")
        return None

    def size(self, name: str) -> int | None:
        """A size in bytes; None if it is not there or none, which the report says."""
        text = self.text(name)
        size = size_of(text)
        if text and size is None:
            self.said.unsupported(f"{name}: expected a size, found {text[:30]!r}")
        return size

    def ignore(self, names: Iterable[str], reason: str) -> None:
        """Say of those of `names` that are there that they have no effect here, which is right."""
        found = [name for name in names if self.has(name)]
        if found:
            self.said.taken(f"{', '.join(found)}: {reason}")

    def approximate(self, names: Iterable[str], reason: str) -> None:
        """Say of those of `names` that are there that the relay does it in another way."""
        found = [name for name in names if self.has(name)]
        if found:
            self.said.approximated(f"{', '.join(found)}: {reason}")

    def refuse(self, names: Iterable[str], reason: str) -> None:
        """Say of those of `names` that are there that the relay cannot do it."""
        found = [name for name in names if self.has(name)]
        if found:
            self.said.unsupported(f"{', '.join(found)}: {reason}")

    def finish(self) -> None:
        """Say which parameters nobody asked for."""
        rest = [name for name in self._parameters.values if name not in self._parameters.asked]
        if rest:
            self.said.unsupported(f"{', '.join(sorted(rest))}: the import does not know it")
