"""What the rules of `[[watch]]` count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ERRORS = 4
"""Severities below this one are errors (RFC 5424, table 2)."""


@dataclass(slots=True)
class RuleCounter:
    """One rule, and the messages that it has decided since the start."""

    id: str
    counts_as: str
    """warning, error or ignore."""
    records: int = 0
    per_second_max: float = 0.0
    """More raise an alert; 0 = there is no limit."""


@dataclass(slots=True)
class Watched:
    """What counts as a warning and an error at one source, beside what severities say.

    Attributes:
        warnings: How many messages more count as warnings than have this severity; negative if
            rules make others of them.
        errors: The same of errors.
    """

    warnings: int = 0
    errors: int = 0

    def note(self, counts_as: str, severities: Sequence[int]) -> None:
        """Count messages as a rule says, whatever their severities are.

        Args:
            severities: How many there are of each, 0 to 7.
        """
        self.errors -= sum(severities[:ERRORS])
        self.warnings -= severities[ERRORS]
        if counts_as == "error":
            self.errors += sum(severities)
        elif counts_as == "warning":
            self.warnings += sum(severities)

    def warnings_of(self, severities: Sequence[int]) -> int:
        """What counts as a warning of messages, given how many have each severity."""
        return severities[ERRORS] + self.warnings

    def errors_of(self, severities: Sequence[int]) -> int:
        """The same of errors."""
        return sum(severities[:ERRORS]) + self.errors
