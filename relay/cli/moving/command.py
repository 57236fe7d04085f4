"""`syslogrelay import`: turn the configuration of another program into one of the relay."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import click

from relay import __version__
from relay.cli.moving.acceptance import accepted_tables, open_problems
from relay.cli.moving.dialect import Dialect, guess
from relay.cli.moving.files import ImportRefused, InputFiles
from relay.cli.moving.imported import Imported
from relay.cli.moving.logagent.dialect import LOGAGENT
from relay.cli.moving.report import Verdict
from relay.cli.moving.rsyslog.dialect import RSYSLOG
from relay.cli.moving.syslog_ng.dialect import SYSLOG_NG
from relay.cli.moving.vector.dialect import VECTOR
from relay.cli.output import give_up
from relay.cli.toml_writing import Table, write_toml
from relay.service.writing import PUBLIC_MODE, SECRET_MODE, Written, write_files

DIALECTS: Mapping[str, Dialect] = {
    dialect.name: dialect for dialect in (RSYSLOG, SYSLOG_NG, LOGAGENT, VECTOR)
}
"""All dialects, by the name that `--from` has for them."""

_STDOUT = "-"
_LOGS = "/var/log/syslogrelay"


@click.command("import")
@click.argument("file", type=click.Path())
@click.option(
    "--from",
    "dialect",
    type=click.Choice([*DIALECTS]),
    help="The program that FILE is for; default: guessed from what it says.",
)
@click.option(
    *("-o", "--output", "output"),
    default=_STDOUT,
    type=click.Path(),
    metavar="FILE",
    help="Write the configuration there; default: to standard output.",
)
@click.option(
    "--report",
    "report_path",
    type=click.Path(),
    metavar="FILE",
    help="Write the report there; default: to standard error.",
)
@click.option("--force", is_flag=True, help="Overwrite files that exist.")
def import_command(
    file: str, dialect: str | None, output: str, report_path: str | None, force: bool
) -> None:
    """Write a relay.toml that does what FILE does, the configuration of another syslog daemon.

    Files that FILE includes are read as well.  The report has a line for each thing that is to be
    said about a statement: it is taken over, approximated, or not supported, and why.  Nothing of
    FILE is left out of the report.

    What the relay would refuse is left out, and the report has its reason.  Certificates that FILE
    names and that are not here are at the end of the report.

    Tokens and tables of FILE become files beside the one of -o, tokens with permissions for their
    owner only.  Without -o only their names are said.

    Ends with status 0 if everything was taken over, with 1 if something is approximated or not
    supported (the configuration is written all the same), and with 2 if FILE cannot be read.
    """
    try:
        imported = _read(file, dialect)
    except ImportRefused as error:
        give_up(str(error))
    except OSError as error:
        give_up(f"{error.filename or file}: cannot read it: {error.strerror or error}")
    tables = accepted_tables(imported)
    text = write_toml(tables, head=_head(file, imported))
    if not force:
        _refuse_existing([output, report_path, *_beside(output, imported.extra_files)])
    missing: list[str] = []
    try:
        _write_all(imported, text, output, force=force)
        missing = [] if output == _STDOUT else open_problems(output)
        lines = [
            *_report_lines(imported, tables, output),
            *(f"{each} (to be done)" for each in missing),
        ]
        report = "".join(f"{line}\n" for line in lines)
        if report_path is None:
            click.echo(report, nl=False, err=True)
        else:
            write_files([_file(report_path, report)], replace=force)
    except OSError as error:
        give_up(f"{error.filename}: cannot write it: {error.strerror}")
    if missing or imported.report.verdict != Verdict.TAKEN:
        raise SystemExit(1)


def _read(path: str, name: str | None) -> Imported:
    with InputFiles().opened(path) as text:
        dialect = guess(path, text, DIALECTS) if name is None else DIALECTS[name]
    return dialect.read(InputFiles(), path)


def _head(path: str, imported: Imported) -> list[str]:
    return [
        f"Made by syslogrelay {__version__} import from {path} ({imported.dialect}).",
        "Comments say which statement each table comes from.  Check it, and try a message:",
        "    syslogrelay check FILE; syslogrelay explain --config FILE '<13>test: hello'",
    ]


def _elsewhere(tables: Iterable[Table]) -> list[str]:
    """Destinations with files that the shipped unit does not let the relay write."""
    return [
        ".".join(table.path)
        for table in tables
        if table.path[0] == "destinations"
        and str(table.values.get("connect", "")).startswith("file://")
        and not str(table.values["connect"]).startswith(
            (f"file://{_LOGS}/", "file:///var/lib/syslogrelay/")
        )
    ]


def _report_lines(imported: Imported, tables: Iterable[Table], output: str) -> Iterable[str]:
    yield from imported.report.lines()
    if elsewhere := _elsewhere(tables):
        yield (
            f"{', '.join(elsewhere)}: the relay of a package may write files below {_LOGS} only "
            '(to be done): change the paths, or see "Rights of the relay" in moving.md'
        )
    for name, extra in imported.extra_files.items():
        what = "a secret, readable for its owner only" if extra.is_secret else "a table"
        if output == _STDOUT:
            yield f"{name}: not written: {what}; give -o FILE, and it is written beside FILE"
        else:
            yield f"{os.path.join(os.path.dirname(output), name)}: written: {what}"


def _beside(output: str, names: Iterable[str]) -> list[str]:
    """The paths of files beside the configuration; none if that goes to standard output."""
    return [] if output == _STDOUT else [os.path.join(os.path.dirname(output), n) for n in names]


def _refuse_existing(paths: Iterable[str | None]) -> None:
    for path in paths:
        if path is not None and path != _STDOUT and os.path.lexists(path):
            give_up(f"{path}: is there already; choose another name, or overwrite it with --force")


def _write_all(imported: Imported, text: str, output: str, *, force: bool) -> None:
    """Write the configuration and the files beside it: all of them, or none."""
    if output == _STDOUT:
        click.echo(text, nl=False)
        return
    extra = imported.extra_files.values()
    files = [
        _file(path, file.text, is_secret=file.is_secret)
        for path, file in zip(_beside(output, imported.extra_files), extra, strict=True)
    ]
    write_files([*files, _file(output, text)], replace=force)


def _file(path: str, text: str, *, is_secret: bool = False) -> Written:
    umask = os.umask(0o077)
    os.umask(umask)
    return Written(Path(path), text.encode(), SECRET_MODE if is_secret else PUBLIC_MODE & ~umask)
