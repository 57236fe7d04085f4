"""rsyslog as a dialect of `syslogrelay import`."""

from __future__ import annotations

import re

from relay.cli.moving.dialect import Dialect
from relay.cli.moving.files import InputFiles
from relay.cli.moving.imported import Imported
from relay.cli.moving.report import Place, Report

__all__ = ["RSYSLOG"]

_SIGNS = re.compile(
    r"""^[ \t]*(?:
          \$[A-Z][A-Za-z]+[ \t]+\S
        | (?:module|input|action|ruleset|global|template|main_queue|include)[ \t]*\(
        | (?:\*|[a-z][a-z0-9]*(?:,[a-z0-9]+)*)\.[=!*a-z]\S*[ \t]+\S
        | :[A-Za-z-]+,[ \t]*!?[a-z]+,[ \t]*"
        | if[ \t]+.*\bthen\b
        )""",
    re.MULTILINE | re.VERBOSE,
)


def _score(text: str) -> int:
    return len(_SIGNS.findall(text))


def _read(files: InputFiles, path: str) -> Imported:
    report = Report()
    with files.opened(path) as text:
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip() and not line.lstrip().startswith("#"):
                report.statement(Place(path, number), line).unsupported("not read yet")
    return Imported("rsyslog", report)


RSYSLOG = Dialect("rsyslog", _score, _read)
