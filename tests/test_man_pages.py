from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from docs.roff import Page
from docs.write_man_pages import pages
from docs.write_reference import reference
from relay.cli.main import main

ROOT = Path(__file__).parents[1]
PAGES = pages(date="2026-10-11")


def made(*steps: tuple[str, ...]) -> str:
    """What a page has below its head after some steps: names of methods, and arguments."""
    page = Page("p", 1, "a page", date="2026-10-11", version="1")
    for name, *arguments in steps:
        getattr(page, name)(*arguments)
    return page.text().split("a page\n", 1)[1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a `--b` c", "a \\fB\\-\\-b\\fR c\n"),
        ("see [the page](web.md#x)", "see the page\n"),
        (".so it is", "\\&.so it is\n"),
        ("C:\\x … ~", "C:\\ex \\[u2026] \\(ti\n"),
        ("One. Two", "One.\nTwo\n"),
        ("x " * 38 + "x .y", "x " * 38 + "x\n\\&.y\n"),
    ],
)
def test_nothing_in_a_text_means_anything_to_troff(text: str, expected: str) -> None:
    assert made(("section", "S"), ("paragraph", text)) == f'.SH "S"\n{expected}'


def test_literal_lines_stay_as_they_are() -> None:
    assert made(("literal", "a\n\n.b")) == ".PP\n.RS 4\n.nf\na\n\\&\n\\&.b\n.fi\n.RE\n"


def test_every_command_and_option_has_its_place() -> None:
    page = PAGES["syslogrelay.1"].replace("\\-", "-")
    context = click.Context(main)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        assert f'.SS "{name}"' in page
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.opts[-1] in page, (name, option.opts)
    assert '.SS "queue peek"' in page


def test_every_key_has_its_place() -> None:
    page = PAGES["syslogrelay.toml.5"].replace("\\-", "-")
    keys = re.findall(r"^\| `([a-z_]+)` \|", reference(), re.MULTILINE)
    assert len(keys) > 90
    assert [key for key in keys if f"\\fB{key}\\fR\n" not in page] == []


def test_the_daemon_has_its_flags_and_signals() -> None:
    page = PAGES["syslogrelay.8"].replace("\\-", "-")
    for word in ("--config", "--listen", "SIGHUP", "/etc/syslogrelay/relay.toml", "twistd"):
        assert word in page


def test_pages_are_ascii_with_short_lines() -> None:
    for text in PAGES.values():
        assert text.isascii()
        assert max(map(len, text.splitlines())) <= 160


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(
    "command",
    [
        ("mandoc", "-T", "lint", "-W", "warning"),
        ("groff", "-man", "-ww", "-Tutf8", "-z"),
        ("man", "--warnings", "-l"),
    ],
    ids=lambda command: command[0],
)
def test_formatters_have_nothing_to_say(
    name: str, command: tuple[str, ...], tmp_path: Path
) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    path = tmp_path / name
    path.write_text(PAGES[name])
    done = subprocess.run(
        [*command, str(path)], capture_output=True, text=True, timeout=30, check=False
    )
    said = done.stdout if command[0] == "mandoc" else ""
    assert (done.returncode, said + done.stderr) == (0, "")


@pytest.mark.slow
def test_the_script_writes_the_same_pages_for_the_same_date(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, ROOT / "docs" / "write_man_pages.py", tmp_path / "man"],
        env={"SOURCE_DATE_EPOCH": "1791676800", "PATH": "/usr/bin:/bin"},
        timeout=60,
        check=True,
    )
    assert {path.name: path.read_text() for path in (tmp_path / "man").iterdir()} == PAGES
