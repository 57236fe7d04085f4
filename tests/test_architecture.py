"""The rules of ARCHITECTURE.md that a machine can check."""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from relay.service.kinds import KINDS

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "relay").rglob("*.py"))
COMPILED = sorted(
    path for path in (ROOT / "relay").rglob("*.p*") if path.suffix in (".pyx", ".pxd")
)
TESTS = sorted((ROOT / "tests").rglob("*.py"))

LAYERS = ["model", "codec", "wire", "rewrite", "queue", "flow", "transport"]
LAYERS += ["observe", "service", "cli"]
"""A package may import packages to its left and nothing else in relay."""
APART = {"queue": {"wire", "rewrite"}}
"""What a queue stores are payloads: how they come about only the flows know."""
SUB_PACKAGES = {
    "queue": ["admission", "files", "repair", "history", "compaction", "inspect", "backup"],
    "service": [
        *("configuration", "tables", "checks", "probes", "routes", "process", "tls", "queue"),
        *("destinations", "sources", "direct", "kafka", "log", "nats", "alerts", "web", "handover"),
        "reloading",
    ],
    "observe": ["alerts", "web", "page"],
}
"""The sub-packages of a package.  What is left in the package itself puts them together, or is so
general that all of them use it."""
IN_ORDER = {"queue"}
"""Packages whose sub-packages import only those to their left in `SUB_PACKAGES`."""
MODULES_OF_A_FOLDER_MAX = 15
PURE = {"model", "codec", "wire", "rewrite"}
IMPURE = {"asyncio", "lmdb", "logging", "os", "random", "socket", "threading", "time", "twisted"}
CODEC_SWITCH = "relay/codec/__init__.py"  # asks whether there is compiled code, and may be used
LMDB_IMPORTERS = {  # the second one only names its types
    "relay/queue/files/environment.py",
    "relay/queue/files/trees.py",
}
REACTOR_IMPORTERS = {  # inside a function, so twistd --reactor works
    "relay/service/options.py": "makeService",
}
CATCHES_EVERYTHING = {
    "relay/service/relay_service.py",
    "relay/service/queue/worker.py",
    "relay/service/reloading/changeover.py",
    "relay/transport/stream/shared_reads.py",
    "relay/transport/turn_batch.py",
}
BANNED_NAMES = {"base", "common", "core", "handler", "helpers", "manager", "misc", "util", "utils"}
ANY_LINES_MAX = 60
"""Lines with the word `Any`, imports left out; mypy checks nothing of what has this type."""
CLASS_LINES_MAX, FUNCTION_LINES_MAX, PARAMETERS_MAX, MODULES_PER_FOLDER_MAX = 250, 50, 8, 15
EXCEPTIONS: set[str] = set()  # none may be added
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


each_module = pytest.mark.parametrize("path", MODULES, ids=name_of)
each_file = pytest.mark.parametrize("path", MODULES + TESTS, ids=name_of)


@functools.cache
def nodes_of(path: Path) -> list[ast.AST]:
    """The syntax tree of a module, flat; the module itself comes first."""
    return list(ast.walk(ast.parse(path.read_text())))


def imported(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Every dotted name that `nodes` import, as in ``twisted.internet.reactor``."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def lines_without_docstrings(tree: ast.AST, lines: int) -> int:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | FUNCTION) and ast.get_docstring(node):
            lines -= node.body[0].end_lineno - node.body[0].lineno + 1
    return lines


@each_module
def test_imports_go_down(path: Path) -> None:
    package = path.relative_to(ROOT).parts[1]
    for name in imported(nodes_of(path)):
        top, layer = [*name.split("."), ""][:2]
        if top == "relay" and (layer in LAYERS or name.count(".") > 1):
            allowed = LAYERS[: LAYERS.index(package) + 1]
            assert layer in allowed, f"{package} imports {name}"
            assert layer not in APART.get(package, ()), f"{package} imports {name}"
        is_pure = package in PURE and name_of(path) != CODEC_SWITCH
        assert not (is_pure and top in IMPURE), f"pure {package} imports {name}"
        assert top != "lmdb" or name_of(path) in LMDB_IMPORTERS


@each_module
def test_sub_packages_import_down(path: Path) -> None:
    """A sub-package may import those to its left, and modules that lie in the package itself."""
    package, folder = [*path.relative_to(ROOT).parts, ""][1:3]
    order = SUB_PACKAGES[package] if package in IN_ORDER else []
    for name in imported(nodes_of(path)):
        top, layer, other = [*name.split("."), "", ""][:3]
        if (top, layer) == ("relay", package) and folder in order and other in order:
            assert order.index(other) <= order.index(folder), f"{folder} imports {name}"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "relay/service/configuration").rglob("*.py")), ids=name_of
)
def test_the_configuration_knows_nothing_of_what_it_configures(path: Path) -> None:
    known = ("relay.model.", "relay.service.configuration.")
    for name in imported(nodes_of(path)):
        top = name.split(".")[0]
        assert name.startswith(known) or top in (*sys.stdlib_module_names, "_typeshed"), name


@each_file
def test_what_may_not_be_imported(path: Path) -> None:
    nodes, its_own_affair = nodes_of(path), set[ast.AST]()
    for node in nodes:
        if isinstance(node, FUNCTION) and node.name == REACTOR_IMPORTERS.get(name_of(path)):
            its_own_affair |= {*ast.walk(node)}
        assert "inlineCallbacks" not in (getattr(node, "attr", ""), getattr(node, "name", ""))
    found = imported(node for node in nodes if node not in its_own_affair)
    assert not [n for n in found if n.startswith(("unittest", "twisted.internet.reactor"))]


def oversized_definitions(path: Path) -> Iterator[str]:
    """Modules have no limit of their own: cutting one for its length makes splinters, not nouns."""
    nodes = nodes_of(path)
    owners = {
        method: f"{owner.name}."
        for owner in nodes
        if isinstance(owner, ast.ClassDef)
        for method in owner.body
    }
    for node in nodes:
        if isinstance(node, FUNCTION | ast.ClassDef):
            lines = lines_without_docstrings(node, node.end_lineno - node.lineno + 1)
            is_class = isinstance(node, ast.ClassDef)
            if lines > (CLASS_LINES_MAX if is_class else FUNCTION_LINES_MAX):
                yield f"{'class' if is_class else 'function'} {node.name}"
            if not is_class and len(parameters_of(node)) > PARAMETERS_MAX:
                yield f"parameters of {owners.get(node, '')}{node.name}"


def parameters_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    arguments = function.args
    given = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [item.arg for item in given if item.arg not in ("self", "cls")]


def oversized_folders() -> Iterator[str]:
    modules = [path for path in [*MODULES, *COMPILED] if path.suffix in (".py", ".pyx")]
    counts = Counter(path.parent for path in modules if path.name != "__init__.py")
    for folder, count in counts.items():
        if count > MODULES_PER_FOLDER_MAX:
            yield f"folder {name_of(folder)}"


@each_module
def test_classes_functions_and_parameter_lists_are_short(path: Path) -> None:
    assert set(oversized_definitions(path)) <= EXCEPTIONS


def test_few_things_have_any_type() -> None:
    lines = [line for path in MODULES for line in path.read_text().splitlines()]
    found = [line for line in lines if re.search(r"\bAny\b", line) and "import" not in line]
    assert len(found) <= ANY_LINES_MAX


def test_folders_are_small() -> None:
    assert set(oversized_folders()) <= EXCEPTIONS


def test_exceptions_still_apply() -> None:
    found = {name for path in MODULES for name in oversized_definitions(path)}
    assert EXCEPTIONS - found - set(oversized_folders()) == set()


@pytest.mark.parametrize("path", COMPILED, ids=name_of)
def test_what_is_compiled_keeps_to_the_same_rules(path: Path) -> None:
    text = path.read_text()
    for function in re.split(r"^(?=(?:    )?c?p?def )", text, flags=re.MULTILINE):
        assert function.rstrip().count("\n") < FUNCTION_LINES_MAX, function
    package = path.relative_to(ROOT).parts[1]
    for layer in re.findall(r"^from relay\.(\w+)", text, flags=re.MULTILINE):
        assert LAYERS.index(layer) <= LAYERS.index(package)
    assert path.suffix == ".pxd" or path.with_suffix(".pyi").exists()


def test_what_is_compiled_is_newer_than_its_source() -> None:
    """Or the tests would try something else than what is written here; `make venv` compiles."""
    modules = sorted((ROOT / "relay").rglob("*.so"))
    if modules:
        newest = max(COMPILED, key=lambda path: path.stat().st_mtime)
        for module in modules:
            assert module.stat().st_mtime >= newest.stat().st_mtime, f"{module} or {newest}"


@each_module
def test_defects_are_not_swallowed(path: Path) -> None:
    for node in nodes_of(path):
        if isinstance(node, ast.ExceptHandler) and name_of(path) not in CATCHES_EVERYTHING:
            caught = ast.unparse(node.type) if node.type else "BaseException"
            passed_on = ast.unparse(node.body[-1]) == "raise"
            assert passed_on or not re.search(r"\b(Base)?Exception\b", caught)


@each_module
def test_modules_are_named_for_what_they_do_and_tested(path: Path) -> None:
    assert path.stem not in BANNED_NAMES
    tests = ROOT / "tests" / path.relative_to(ROOT / "relay").parent / f"test_{path.name}"
    assert path.name == "__init__.py" or tests.exists()


@pytest.mark.parametrize("package", sorted(SUB_PACKAGES))
def test_folders_are_small_and_named_here(package: str) -> None:
    top = ROOT / "relay" / package
    folders = [path for path in top.rglob("*") if path.is_dir() and path.name != "__pycache__"]
    assert sorted(path.name for path in folders) == sorted(SUB_PACKAGES[package])
    for folder in [top, *folders]:
        modules = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(modules) <= MODULES_OF_A_FOLDER_MAX, f"{name_of(folder)}: {len(modules)}"


@pytest.mark.parametrize("path", [path for path in MODULES if "service" in path.parts], ids=name_of)
def test_only_kinds_know_the_names_of_schemes(path: Path) -> None:
    """A new kind of source or destination is its own module and a line in the list of kinds."""
    schemes = {kind.scheme for kind in (*KINDS.sources, *KINDS.sets, *KINDS.destinations)}
    schemes.remove("systemd")  # warnings are about the program of this name
    is_kind = path.parent.name in ("sources", "destinations", "kafka", "nats")
    for node in nodes_of(path):
        if isinstance(node, ast.Constant) and not is_kind:
            assert node.value not in schemes, f"line {node.lineno}: {node.value}"


def test_state_machines_are_marked_slow() -> None:
    """They try many random cases, and `make test-unit` takes a minute."""
    made = re.compile(r"^\w+ = .*\.TestCase\b.*$", re.MULTILINE)
    lines = [line for path in TESTS for line in made.findall(path.read_text())]
    assert lines
    assert [line for line in lines if " = pytest.mark.slow(" not in line] == []
