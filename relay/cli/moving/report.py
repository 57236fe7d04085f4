"""The report of an import: what became of each statement, and why.

A reader opens each statement when it comes upon it (`Report.statement`), so none can be forgotten:
one about which nothing was said counts as not supported.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from relay.model.text import counted, printable

__all__ = ["Place", "Report", "Said", "Statement", "Verdict"]

_EXCERPT_MAX = 100
_WHOLE = re.compile(r"([0-9][0-9_]*)\s*([kKmMgG]?)(i?)[bB]?")
_EXPONENTS = {"": 0, "k": 1, "m": 2, "g": 3}
_WHOLE_MAX, _DIGITS_MAX = 1 << 44, 15
_NOBODY = "the import has no rule for this"


class Place(NamedTuple):
    """Where something stands in the configuration that is imported."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Verdict(IntEnum):
    """The verdict on a statement, the best first."""

    TAKEN = 0
    APPROXIMATED = 1
    UNSUPPORTED = 2

    @property
    def text(self) -> str:
        return ("taken over", "approximated", "not supported")[self]


class Finding(NamedTuple):
    verdict: Verdict
    reason: str


@dataclass(slots=True)
class Statement:
    """One statement of the configuration that is imported, and what is said about it.

    Attributes:
        text: What the report shows of it, on one line.
    """

    place: Place
    text: str
    findings: list[Finding] = field(default_factory=list)

    def taken(self, reason: str) -> None:
        """It is in the result with the same meaning; `reason` says where or why."""
        self._add(Verdict.TAKEN, reason)

    def approximated(self, reason: str) -> None:
        """Something of it is in the result with a meaning that differs as `reason` says."""
        self._add(Verdict.APPROXIMATED, reason)

    def unsupported(self, reason: str) -> None:
        """Something of it is not in the result, because of `reason`."""
        self._add(Verdict.UNSUPPORTED, reason)

    @property
    def verdict(self) -> Verdict:
        """The worst of all that was said."""
        return max((finding.verdict for finding in self.findings), default=Verdict.UNSUPPORTED)

    def _add(self, verdict: Verdict, reason: str) -> None:
        finding = Finding(verdict, reason)
        if finding not in self.findings:
            self.findings.append(finding)


@dataclass(frozen=True, slots=True)
class Said:
    """Something that the configuration says, with its statement in the report."""

    statement: Statement

    @property
    def text(self) -> str:
        """The whole entry, as one text."""
        raise NotImplementedError

    @property
    def whole(self) -> int | None:
        """Its number, with a unit such as ``10M`` or ``4KiB``; None if it is none."""
        found = _WHOLE.fullmatch(self.text)
        if found is None or len(found[1]) > _DIGITS_MAX:
            return None
        base = 1024 if found[3] else 1000
        number = int(found[1].replace("_", "")) * base ** _EXPONENTS[found[2].lower()]
        return number if number <= _WHOLE_MAX else None

    def taken(self, reason: str) -> None:
        """See `Statement`."""
        self.statement.taken(reason)

    def approximated(self, reason: str) -> None:
        """See `Statement`."""
        self.statement.approximated(reason)

    def unsupported(self, reason: str) -> None:
        """See `Statement`."""
        self.statement.unsupported(reason)


class Report:
    """All statements of a configuration, in the order in which they were opened."""

    def __init__(self) -> None:
        self.statements: list[Statement] = []
        self._secrets: set[str] = set()

    def statement(self, place: Place, text: str) -> Statement:
        """Open a statement, of which `text` is what the file says."""
        statement = Statement(place, text)
        self.statements.append(statement)
        return statement

    def hide(self, secret: str) -> None:
        """Show `****` for `secret` (a token, a password) wherever the report would quote it."""
        if len(secret) >= 4:
            self._secrets.add(secret)

    @property
    def verdict(self) -> Verdict:
        """The worst of all statements."""
        return max((each.verdict for each in self.statements), default=Verdict.TAKEN)

    def lines(self) -> Iterator[str]:
        """The report: a line for each thing said, `FILE:LINE: VERDICT: STATEMENT: REASON`."""
        for statement in self.statements:
            findings = statement.findings or [Finding(Verdict.UNSUPPORTED, _NOBODY)]
            excerpt = self.excerpt(statement)
            for finding in findings:
                yield printable(
                    f"{statement.place}: {finding.verdict.text}: "
                    f"{excerpt}: "
                    f"{self._masked(finding.reason)}",
                    length_max=None,
                )
        yield self.summary()

    def excerpt(self, statement: Statement) -> str:
        """The part of a statement that may be shown: at most 100 characters, and no secrets."""
        text = self._masked(" ".join(statement.text.split()))
        return printable(text, length_max=_EXCERPT_MAX)

    def summary(self) -> str:
        """How many statements there are of each verdict."""
        counts = Counter(statement.verdict for statement in self.statements)
        each = ", ".join(f"{counts[verdict]:,} {verdict.text}" for verdict in Verdict)
        return f"{counted(len(self.statements), 'statement')}: {each}"

    def _masked(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "****")
        return text
