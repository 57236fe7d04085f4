"""rsyslog as a dialect of `syslogrelay import`."""

from __future__ import annotations

import re

from relay.cli.moving.dialect import Dialect
from relay.cli.moving.files import InputFiles
from relay.cli.moving.imported import Imported
from relay.cli.moving.report import Report
from relay.cli.moving.rsyslog.filters import FilterReader
from relay.cli.moving.rsyslog.forms.steps import Steps
from relay.cli.moving.rsyslog.inputs import Inputs
from relay.cli.moving.rsyslog.language.legacy import DEFAULT_RULESET, Modern
from relay.cli.moving.rsyslog.language.parser import parse
from relay.cli.moving.rsyslog.language.syntax import Object
from relay.cli.moving.rsyslog.language.values import Reader
from relay.cli.moving.rsyslog.rules import Rules
from relay.cli.moving.rsyslog.settings import Settings, say_of_queue

__all__ = ["RSYSLOG"]

_SIGNS = re.compile(
    r"""^[ \t]*(?:
          \$[A-Z][A-Za-z]+[ \t]+\S
        | (?:module|input|action|ruleset|global|template|main_queue|include)[ \t]*\(
        | (?:\*|[a-z][a-z0-9]*(?:,[a-z0-9]+)*)\.[=!*a-z]\S*[ \t]+(?!=)\S
        | :[A-Za-z-]+,[ \t]*!?[a-z]+,[ \t]*"
        | if[ \t]+.*\bthen\b
        )""",
    re.MULTILINE | re.VERBOSE,
)


def _score(text: str) -> int:
    return len(_SIGNS.findall(text))


def _read(files: InputFiles, path: str) -> Imported:
    """Read rsyslog's configuration at `path`."""
    report = Report()
    modern = Modern(parse(files, path, report))
    imported = Imported("rsyslog", report, path)
    settings = Settings(imported)
    settings.read(modern.others)
    inputs = Inputs(imported, settings)
    inputs.read(modern.others)
    rules = Rules(
        imported,
        inputs,
        FilterReader(inputs.by_name, settings.has_slashes),
        settings,
        Steps(imported, settings),
        modern.rulesets,
        frozenset(_name(each) for each in modern.ruleset_objects if _has_queue(each)),
    )
    rules.walk(settings.default_ruleset)
    rules.finish()
    for each in modern.ruleset_objects:
        _say_of_ruleset(each)
    settings.finish()
    return imported


def _name(ruleset: Object) -> str:
    return "".join(ruleset.parameters.values.get("name", []))


def _has_queue(ruleset: Object) -> bool:
    kind = "".join(ruleset.parameters.values.get("queue.type", ["direct"]))
    return kind.lower() != "direct"


def _say_of_ruleset(each: Object) -> None:
    read = Reader(each.parameters, each.said)
    each.said.taken(f"the rules of {read.text('name', DEFAULT_RULESET)}")
    say_of_queue(read)
    read.ignore(["queue.maxdiskspace"], "each destination has its own queue")
    read.refuse(["parser"], "parsers of rsyslog; see the options of parse in docs/sources.md")
    read.finish()


RSYSLOG = Dialect("rsyslog", _score, _read)
