"""Values of a configuration, by what is written in the file."""

from __future__ import annotations

from collections.abc import Mapping

from relay.model.token import Token
from relay.service.configuration.model import TokenChoice, UnreadToken
from relay.service.configuration.reading import Reading
from relay.service.configuration.tables.filter import MATCH, Filter
from relay.service.configuration.tables.rewrite import slot_of
from relay.service.configuration.tables.step import Step, StepTable

ERRORS = {"errors": {"severity": "..err"}}


def reading_in(base_dir: str = "", named: Mapping[str, object] = ERRORS) -> Reading:
    return Reading(base_dir, sources=["in"], apps=["shop"], filters=named)


def filter_of(value: object) -> Filter:
    return reading_in().read(MATCH, value, "match")


def steps_of(*tables: object) -> tuple[Step, ...]:
    reading = reading_in("/etc")
    return tuple(reading.read(StepTable(), table, "step") for table in tables)


def choice(match: object, token: Token | UnreadToken) -> TokenChoice:
    return TokenChoice(token, filter_of(match), slot_of(match))
