"""Whole configurations, each with a file of what is expected in its report.

The files are written in the dialects' own words for these tests.  `NAME.expected` has the lines of
the report that are about something which was not taken over, and its last line.  After a change,
`EXPECTED=write` makes them anew: look at the difference before you commit it.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from relay.cli.main import main
from tests.certificate_files import make_certificate_files

CORPUS = Path(__file__).parent / "corpus"
DIALECTS = {"syslog_ng": "syslog-ng", "logagent": "logagent", "vector": "vector"}
FILES = sorted(
    path
    for folder in DIALECTS
    for path in (CORPUS / folder).iterdir()
    if path.is_file() and path.suffix != ".expected"
)
each_file = pytest.mark.parametrize(
    "path", FILES, ids=[f"{path.parent.name}-{path.stem}" for path in FILES]
)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    make_certificate_files(folder)
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


def imported(path: Path, folder: Path, certificates: Path) -> tuple[Result, list[str]]:
    """The result of the import of a copy of `path`, and the lines of the report."""
    copy = folder / path.parent.name
    shutil.copytree(path.parent, copy)
    here = copy / path.name
    here.write_text(path.read_text().replace("/CERTS", str(certificates)))
    result = run("import", here, "-o", folder / "relay.toml", "--report", folder / "report")
    lines = (folder / "report").read_text().splitlines()
    return result, [
        line.replace(f"{copy}/", "").replace(str(certificates), "/CERTS").replace(str(folder), ".")
        for line in lines
    ]


@each_file
def test_the_result_passes_check(path: Path, tmp_path: Path, certificates: Path) -> None:
    result, lines = imported(path, tmp_path, certificates)
    assert result.exit_code in (0, 1), result.output
    others = ": taken over: ", " (to be done): ", " statements: "
    statements = [line for line in lines if not any(word in line for word in others)]
    assert (result.exit_code == 1) == bool(statements)
    checked = run("check", tmp_path / "relay.toml")
    assert checked.exit_code == 0, checked.output


@each_file
def test_the_report_is_as_expected(path: Path, tmp_path: Path, certificates: Path) -> None:
    _, lines = imported(path, tmp_path, certificates)
    found = [line for line in lines if ": taken over: " not in line]
    expected = path.with_suffix(".expected")
    if os.environ.get("EXPECTED") == "write":
        expected.write_text("".join(f"{line}\n" for line in found))
    assert found == expected.read_text().splitlines()


@each_file
def test_the_dialect_is_guessed(path: Path, tmp_path: Path, certificates: Path) -> None:
    imported(path, tmp_path, certificates)
    head = (tmp_path / "relay.toml").read_text().splitlines()[0]
    assert head.endswith(f"({DIALECTS[path.parent.name]}).")


CALL = re.compile(r"(?<![\w.$-])[A-Za-z][\w-]*\(")
TEXT = re.compile(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'|#.*')


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.parent.name == "syslog_ng"], ids=lambda path: path.stem
)
def test_no_line_with_an_option_is_left_out(path: Path, tmp_path: Path, certificates: Path) -> None:
    """Each line that calls something is in the report; blocks and Python are text there."""
    _, lines = imported(path, tmp_path, certificates)
    said = {int(line.split(":")[1]) for line in lines[:-1] if line.startswith(f"{path.name}:")}
    foreign = False
    for number, line in enumerate(path.read_text().splitlines(), 1):
        foreign = foreign or line.startswith(("block ", "python "))
        if not foreign and CALL.search(TEXT.sub("''", line)):
            assert number in said, line
        foreign = foreign and not line.startswith("}")


def test_there_are_enough_of_them() -> None:
    counts = {folder: len([p for p in FILES if p.parent.name == folder]) for folder in DIALECTS}
    assert counts["syslog_ng"] >= 16
    assert min(counts["logagent"], counts["vector"]) >= 5
