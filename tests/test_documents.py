"""README.md and docs/: configurations are loaded, commands exist, links and paths lead somewhere.

Commands are executed in `tests/end_to_end/test_documents.py`.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import get_args

import click
import pytest
from click.testing import CliRunner

from relay.cli.main import main
from relay.model.origin import Origin, Transport
from relay.model.parse_options import ParseOptions
from relay.service.configuration.keys import keys_of
from relay.service.configuration.table import Size
from relay.service.configuration.tables.format import FORMAT
from relay.service.configuration.tables.parse import PARSE
from relay.service.configuration.tables.rewrite import REWRITE_MODES
from relay.service.configuration.tables.step import Action
from relay.service.options import Options
from relay.wire.parse_options import new_parser
from tests.documents import DOCUMENTS, ROOT, Block, blocks, make_stand_ins, with_stand_ins
from tests.lines import read_by

LINKED = [
    *DOCUMENTS,
    ROOT / "ARCHITECTURE.md",
    ROOT / "tests" / "bench" / "RESULTS.md",
    ROOT / "tests" / "crash" / "PROMISES.md",
]
PAGES = [path for path in DOCUMENTS if ROOT / "docs" in path.parents and path.stem != "README"]
README_LINES_MAX, ARCHITECTURE_LINES_MAX, PAGE_LINES_MAX = 250, 315, 350
LONG = [ROOT / "docs" / "configuration.md"]
SOURCE = '\n[sources.stand-in]\nlisten = "udp://127.0.0.1:5514"\n'
DESTINATION = '\n[destinations.stand-in]\nconnect = "relp://127.0.0.1:20514"\n'
OPTION = re.compile(r"--?[A-Za-z][\w-]*")

each_configuration = pytest.mark.parametrize("block", blocks("toml"), ids=lambda block: block.place)
each_script = pytest.mark.parametrize("block", blocks("sh"), ids=lambda block: block.place)
each_document = pytest.mark.parametrize("path", LINKED, ids=lambda path: path.name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("etc")
    make_stand_ins(made)
    return made


def completed(block: Block) -> str:
    """A configuration with everything that it needs beside what the document shows."""
    text = block.text
    if block.table:
        text = f'[{block.table}]\nconnect = "relp://127.0.0.1:20514"\n{text}'
    tables = tomllib.loads(text)
    text += "" if "sources" in tables else SOURCE
    return text + ("" if "destinations" in tables else DESTINATION)


@each_configuration
def test_a_configuration_is_valid(block: Block, folder: Path) -> None:
    path = folder / "relay.toml"
    path.write_text(with_stand_ins(completed(block), folder))
    result = CliRunner().invoke(main, ["check", str(path)])
    assert result.exit_code == 0, result.output


def test_a_wrong_configuration_would_be_noticed(folder: Path) -> None:
    path = folder / "relay.toml"
    wrong = Block("here", "toml", "framign = 'newline'\n", table="destinations.central")
    path.write_text(completed(wrong))
    assert CliRunner().invoke(main, ["check", str(path)]).exit_code == 1


MOVING = [block for block in blocks("rsyslog", "syslog-ng", "toml") if "moving" in block.place]
EXAMPLES = list(zip(MOVING[::2], MOVING[1::2], strict=True))
"""Each configuration of another program, and what it is here."""


@pytest.mark.parametrize("pair", EXAMPLES, ids=lambda pair: pair[0].place)
def test_import_makes_the_sources_and_destinations_that_the_page_shows(
    pair: tuple[Block, Block], folder: Path
) -> None:
    theirs, ours = pair
    path = folder / "theirs.conf"
    path.write_text(theirs.text)
    result = CliRunner().invoke(main, ["import", str(path), "--report", str(folder / "report")])
    assert result.exit_code in (0, 1), result.output
    assert "not supported:" not in (folder / "report").read_text()
    (folder / "report").unlink()
    assert ways(result.stdout) == ways(ours.text)


def ways(text: str) -> list[tuple[str, object]]:
    """What a configuration listens and connects to, and limits."""
    tables = tomllib.loads(text)
    sources = [(source["listen"], None) for source in tables["sources"].values()]
    return sources + [
        (destination["connect"], Size(0, 2**60).read(destination.get("queue_bytes_max", 0)))
        for destination in tables["destinations"].values()
    ]


@each_script
def test_commands_are_shell(block: Block) -> None:
    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True, timeout=10)


def commands(text: str) -> Iterator[list[str]]:
    """The words of each simple command."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("|&;<>"):
                yield words
                words = []
            else:
                words.append(word)


def missing(words: list[str]) -> str:
    """What a command names that does not exist; empty = nothing, or it is another program's."""
    while words and ("=" in words[0] or words[0] in ("watch", "-n", "5")):  # before the program
        words = words[1:]
    match [Path(words[0]).name if words else "", *words[1:]]:
        case ["syslogrelay", *rest]:
            return _missing_option(rest)
        case ["twistd", *rest]:
            known = {f"--{name.rstrip('=')}" for name, *_ in Options.optParameters}
            known |= {f"--{name[4:].replace('_', '-')}" for name in dir(Options)}
            own = rest[rest.index("syslogrelay") :]
            return next((word for word in own if OPTION.match(word) and word not in known), "")
        case ["make", *rest]:
            targets = [word for word in rest if "=" not in word]
            makefile = (ROOT / "Makefile").read_text()
            return next((word for word in targets if f"\n{word}:" not in makefile), "")
        case ["python", "-m", "pytest", *rest]:
            paths = [word for word in rest if word.startswith("tests/")]
            return next((path for path in paths if not (ROOT / path).exists()), "")
        case ["python", "-m", module, *_] if module.startswith("tests."):
            return "" if importlib.util.find_spec(module) else module
        case ["install", *rest]:
            paths = [word for word in rest if word.startswith("deploy/")]
            return next((path for path in paths if not (ROOT / path).exists()), "")
    return ""


def _missing_option(words: list[str]) -> str:
    command: click.Command = main
    context = click.Context(main)
    while isinstance(command, click.Group) and words:
        found = command.get_command(context, words[0])
        if found is None:
            return words[0]
        command, words = found, words[1:]
    known = {name for parameter in command.params for name in parameter.opts}
    return next((word for word in words if OPTION.fullmatch(word) and word not in known), "")


@each_script
def test_commands_and_their_options_exist(block: Block) -> None:
    for words in commands(block.text):
        assert not missing(words), words


@each_document
def test_commands_in_the_text_exist(path: Path) -> None:
    """Those of one line between backquotes; names in capitals stand for values."""
    for command in re.findall(r"`(syslogrelay [a-z][^`\n]*)`", path.read_text()):
        assert not missing(command.replace("…", "").split()), command


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("syslogrelay queue lst", "lst"),
        ("syslogrelay queue export central --line > file", "--line"),
        ("A=1 .venv/bin/syslogrelay status --chek", "--chek"),
        ("true && syslogrelay pauze central", "pauze"),
        ("make tests", "tests"),
        ("python -m tests.benches", "tests.benches"),
        ("twistd --nodaemon syslogrelay --listne udp://:514", "--listne"),
    ],
)
def test_what_is_missing_would_be_noticed(command: str, word: str) -> None:
    assert word in [missing(words) for words in commands(command)]


def anchors(path: Path) -> set[str]:
    """Anchors of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    words = (re.sub(r"[^\w\s-]", "", heading.lower()) for heading in headings)
    return {text.replace(" ", "-") for text in words}


@each_document
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if not target.startswith("https://"):
            name, _, anchor = target.partition("#")
            file = (path.parent / name).resolve() if name else path
            assert file.exists(), target
            assert not anchor or anchor in anchors(file), target


@each_document
def test_paths_in_the_text_exist(path: Path) -> None:
    for name in re.findall(r"`((?:relay|tests|deploy)/[\w./-]+)`", path.read_text()):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_everything_shown_is_in_a_block_that_is_tested(path: Path) -> None:
    indented = re.findall(r"\n\n    \S.*", re.sub(r"```.*?```", "", path.read_text(), flags=re.S))
    assert not indented
    fences = re.findall(r"^```(.*)$", path.read_text(), re.MULTILINE)
    assert set(fences) <= {"", "sh", "toml", "text", "python", "rsyslog", "syslog-ng"}


RECIPE = re.compile(r"^\| [^|]+ \| `(<.+)` \| (\S+) \| (\S+) \|$", re.MULTILINE)
NOTHING = "\N{EN DASH}"


def test_messages_of_devices_are_read_as_the_recipes_say() -> None:
    rows = RECIPE.findall((ROOT / "docs" / "recipes.md").read_text())
    assert len(rows) > 10
    read = new_parser(ParseOptions(adapters=True), zone=UTC)
    origin = Origin("in", Transport.UDP, "192.0.2.1", 514, received_at=1795000000.0)
    for text, *expected in rows:
        (message,) = read_by(read, [text.encode()], origin)
        found = [message.hostname, message.app_name]
        assert [f"`{name.decode()}`" if name else NOTHING for name in found] == expected, text


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_manual_lists_every_page_and_none_is_long(path: Path) -> None:
    name = path.relative_to(ROOT / "docs")
    assert f"]({name})" in (ROOT / "docs" / "README.md").read_text()
    assert len(path.read_text().splitlines()) <= PAGE_LINES_MAX or path in LONG


def test_their_length_and_the_way_in() -> None:
    readme = (ROOT / "README.md").read_text().splitlines()
    assert len(readme) <= README_LINES_MAX
    assert "development.md#how-to-add-a-kind" in "\n".join(readme[:50])
    assert len((ROOT / "ARCHITECTURE.md").read_text().splitlines()) <= ARCHITECTURE_LINES_MAX


def texts_in(folder: Path) -> Iterator[str]:
    """Each text in the code below `folder`, with … for values that are put in."""
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [
                    part.value if isinstance(part, ast.Constant) else "…" for part in node.values
                ]
                yield "".join(map(str, parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield re.sub(r"\{[^}]*\}", "…", node.value)


FROM_ELSEWHERE = (
    r"Permission denied|Address already in use|Input/output error|tmpfs|everything|/data\.mdb|:514"
    r"|'N'|\b(?:[ABN]|ID|FILE|PATH|HOST|PORT)\b"
)
"""What stands for a value, or is one, in the symptoms of troubleshooting.md."""


def test_symptoms_are_what_the_relay_says() -> None:
    said = "\n".join(texts_in(ROOT / "relay"))
    document = (ROOT / "docs" / "troubleshooting.md").read_text()
    section = document.partition("\n## Why messages are dropped\n")[0]
    rows = [row for row in section.splitlines() if row.startswith("| `")]
    assert len(rows) > 40
    for row in rows:
        for symptom in re.findall(r"`([^`]+)`", row.split(" | ")[0]):
            pieces = re.split(rf"…|{FROM_ELSEWHERE}", symptom)
            pieces = [piece.strip(" ,;:()") for piece in pieces]
            unknown = [piece for piece in pieces if len(piece) > 3 and piece not in said]
            assert not unknown, symptom


HOP = re.compile(r"^\| `([\w/]+\.pyx?)` \| (.+) \|$", re.MULTILINE)


def test_the_hops_exist_and_are_counted() -> None:
    """The functions that ARCHITECTURE.md lists for the way of a message."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    hops = [
        (module, call)
        for module, calls in HOP.findall(text)
        for call in re.findall(r"`(\w+)`", calls)
    ]
    for module, call in hops:
        assert f"def {call}(" in (ROOT / "relay" / module).read_text(), (module, call)
    modules = {module for module, _ in hops}
    assert f"{len(hops)} calls in {len(modules)} modules" in text.replace("\n", " ")


def test_modules_that_the_architecture_names_exist() -> None:
    folders = "|".join(path.name for path in (ROOT / "relay").iterdir() if path.is_dir())
    text = (ROOT / "ARCHITECTURE.md").read_text()
    named = re.findall(rf"`((?:{folders})/[\w/]*(?:\.pyx?)?)`", text)
    assert len(named) > 40
    for name in named:
        assert (ROOT / "relay" / name).exists(), name


def test_make_help_lists_every_command() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[0].split()
    command = ["make", "--no-print-directory", "help"]  # the tests may run under make
    help = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert sorted(named) == sorted(line.split()[0] for line in help.stdout.splitlines())


def test_the_commit_hook_runs_what_make_check_runs() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    checked = (ROOT / "Makefile").read_text().partition("\ncheck:")[2].partition("\n\n")[0]
    entries = re.findall(r"entry: \.venv/bin/(.+)", hooks)
    assert entries == ["ruff check", "ruff format --check", "mypy"]
    for entry in entries:
        assert f"$(BIN)/{entry}" in checked


def test_each_yes_of_the_comparison_names_its_tests() -> None:
    readme = (ROOT / "README.md").read_text()
    rows = readme.partition("## Compared with others")[2].partition("\n\nIn short")[0].splitlines()
    claims = [row.split(" | ")[0][2:] for row in rows if re.match(r"\| [^|]+ \| yes", row)]
    guarantees = (ROOT / "docs" / "guarantees.md").read_text()
    section = guarantees.partition("## The comparison in the README\n")[2]
    assert claims == re.findall(r"^\| (.+?) \| `", section, re.MULTILINE)
    for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", section):
        assert f"def {name}(" in (ROOT / path).read_text(), name


def in_backticks(path: Path) -> set[str]:
    """All words that stand in code in a document."""
    return {
        word
        for code in re.findall(r"`([^`\n]+)`", path.read_text().replace("```", ""))
        for word in re.findall(r"[\w-]+", code)
    }


def test_every_key_of_a_table_is_explained() -> None:
    assert not set(PARSE) - in_backticks(ROOT / "docs" / "sources.md")
    steps = {name for action in get_args(Action) for name in keys_of(action)}
    known = {*steps, *FORMAT, *REWRITE_MODES}
    assert len(known) > 40
    assert not known - in_backticks(ROOT / "docs" / "rewriting.md")


def leaves(group: click.Group, path: str = "") -> Iterator[str]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from leaves(command, f"{path}{name} ")
        else:
            yield path + name


def test_every_command_is_in_the_documents() -> None:
    text = "\n".join(path.read_text() for path in DOCUMENTS)
    found = list(leaves(main))
    assert len(found) > 20
    for name in found:
        assert re.search(rf"(`|syslogrelay ){name}\b", text), name


def test_rates_in_the_readme_are_those_of_the_results() -> None:
    readme = " ".join((ROOT / "README.md").read_text().split())
    results = " ".join((ROOT / "tests" / "bench" / "RESULTS.md").read_text().split())
    rates = re.findall(r"\d\.\d to \d\.\d", readme)
    assert rates
    for rate in rates:
        assert rate in results, f"{rate}: not in RESULTS.md"
