"""syslog-ng as a dialect of `syslogrelay import`."""

from __future__ import annotations

import os
import re

from relay.cli.moving.dialect import Dialect
from relay.cli.moving.files import ImportRefused, InputFiles
from relay.cli.moving.imported import Imported
from relay.cli.moving.report import Place, Report
from relay.cli.moving.syslog_ng.assembly import assemble
from relay.cli.moving.syslog_ng.scanner import ConfigurationText, SyntaxProblem
from relay.cli.moving.syslog_ng.tree import Included, Tree, parse

__all__ = ["SYSLOG_NG"]

_SIGNS = re.compile(
    r"""^[ \t]*(?:
          @(?:version|include|define|module)\b
        | (?:source|destination|filter|parser|rewrite|template)[ \t]+"?[\w.-]+"?[ \t]*\{
        | (?:log|options)[ \t]*\{
        | block[ \t]+\w+[ \t]+[\w-]+[ \t]*\(
        )""",
    re.MULTILINE | re.VERBOSE,
)
_DIRECTIVES = {
    "version": "the meaning of statements is that of syslog-ng 3 and 4",
    "module": "the relay has all of its parts",
    "define": "its value stands where its name is used",
    "requires": "the relay has all of its parts",
}
_FOLDERS = ("/etc/syslog-ng", "/usr/share/syslog-ng/include")
_LIBRARY = re.compile(r"(?:^|/)(?:scl\.conf|scl/.*)$")
_VARIABLES = {
    "syslog-ng-sysconfdir": "/etc/syslog-ng",
    "syslog-ng-include": "/usr/share/syslog-ng/include",
    "syslog-ng-data": "/usr/share/syslog-ng",
    "scl-root": "/usr/share/syslog-ng/include/scl",
    "module-path": "/usr/lib/syslog-ng",
}


def _score(text: str) -> int:
    return len(_SIGNS.findall(text))


def _read(files: InputFiles, path: str) -> Imported:
    report = Report()
    imported = Imported("syslog-ng", report)
    with files.opened(path) as text:
        includes = _Includes(files, path)
        source = ConfigurationText(text, path, name=path)
        try:
            tree = parse(source, includes.find, {**_VARIABLES, **_environment()})
        except SyntaxProblem as problem:
            raise ImportRefused(f"{problem}; is it a configuration of syslog-ng?") from None
        _say_directives(tree, report)
        if not tree.items and not report.statements:
            raise ImportRefused(f"{path}: has no statement")
        assemble(tree, imported, files)
    _in_order(report)
    return imported


def _environment() -> dict[str, str]:
    """Variables of the environment, which backticks name as well."""
    return {name: value for name, value in os.environ.items() if "\n" not in value}


class _Includes:
    """Finds files of ``@include``."""

    def __init__(self, files: InputFiles, main: str) -> None:
        self._files = files
        self._folder = os.path.dirname(main)

    def find(self, pattern: str, place: Place) -> Included:
        if _LIBRARY.search(pattern):
            return Included(note="syslog-ng's own library; its blocks are known by name")
        for folder in ("", self._folder, os.path.dirname(place.file), *_FOLDERS):
            full = os.path.join(folder, pattern)
            if os.path.isdir(full):
                full = os.path.join(full, "*")
            if full.startswith("/") or folder:
                paths = [path for path in self._files.matching(full) if os.path.isfile(path)]
                if paths:
                    return self._read(paths)
            if os.path.isabs(pattern):
                break
        return Included(note="there is no such file here", is_missing="*" not in pattern)

    def _read(self, paths: list[str]) -> Included:
        texts = []
        for path in paths:
            try:
                with self._files.opened(path) as text:
                    texts.append(ConfigurationText(text, path, name=path))
            except OSError as error:
                return Included(note=f"{path}: {error.strerror}", is_missing=True)
        return Included(tuple(texts), note=f"read: {', '.join(paths)}")


def _say_directives(tree: Tree, report: Report) -> None:
    for directive, included in tree.directives:
        statement = report.statement(directive.place, f"@{directive.name} {directive.text}")
        if included is not None and included.is_missing:
            statement.unsupported(included.note)
        elif included is not None:
            statement.taken(included.note)
        else:
            reason = _DIRECTIVES.get(directive.name)
            if reason is not None:
                statement.taken(reason)
            else:
                statement.unsupported("the relay has nothing like it")
    for name, place in tree.blocks:
        report.statement(place, f"block {name}").taken("is read where it is called")
    for name, place in tree.calls_of_blocks:
        report.statement(place, f"{name}()").taken("its block stands in its place")
    for name, place in tree.unknown_variables:
        statement = report.statement(place, f"`{name}`")
        statement.approximated("the variable is not defined here: it is empty")


def _in_order(report: Report) -> None:
    """Sort the report as the files are: the drivers of a body are read later than it."""
    files: dict[str, int] = {}
    for statement in report.statements:
        files.setdefault(statement.place.file, len(files))
    report.statements.sort(key=lambda each: (files[each.place.file], each.place.line))


SYSLOG_NG = Dialect("syslog-ng", _score, _read)
