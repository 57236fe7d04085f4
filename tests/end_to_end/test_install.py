"""What a user gets from `pip install .`: checked from a wheel, in an environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import relay
from relay import codec

PROJECT = Path(__file__).parents[2]
PIP_SECONDS_MAX = 300


def built_in(directory: Path, **environment: str) -> Path:
    """A wheel of the project."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--wheel-dir", directory, PROJECT],
        check=True,
        timeout=PIP_SECONDS_MAX,
        cwd=directory,
        env={**os.environ, **environment},
    )
    (built,) = directory.glob("syslogrelay-*.whl")
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_in(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of an environment with nothing but the wheel and what it needs."""
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, with_pip=True)
    subprocess.run(
        [environment / "bin" / "python", "-m", "pip", "--quiet", "install", wheel],
        check=True,
        timeout=PIP_SECONDS_MAX,
        cwd=environment,
    )
    return environment / "bin"


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


def test_the_wheel_carries_package_plugin_and_types(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "twisted/plugins/syslogrelay_plugin.py" in names
    assert "relay/py.typed" in names
    assert {f"relay/observe/web/page/{name}" for name in ("page.html", "page.js", "uplot.js")} <= {
        *names
    }
    assert "twisted/plugins/__init__.py" not in names  # that would hide other plugins
    assert {name.split("/")[0] for name in names} == {
        "relay",
        "twisted",
        f"syslogrelay-{relay.__version__}.dist-info",
    }


@pytest.mark.skipif(
    shutil.which("cc") is None or bool(os.environ.get("SYSLOGRELAY_PURE")),
    reason="there is no C compiler here, or it is not to be used",
)
def test_the_wheel_carries_what_is_compiled_and_not_its_sources(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    compiled = {Path(name).name.split(".")[0] for name in names if name.endswith(".so")}
    assert compiled == {source.stem for source in Path(codec.__file__).parent.glob("*.pyx")}
    assert not [name for name in names if name.endswith((".pyx", ".pxd", ".c"))]
    assert not wheel.name.endswith("-any.whl")


@pytest.mark.parametrize("compiler", ["/nonexistent/cc", "false"])  # or one without headers
def test_without_a_compiler_the_package_is_built_all_the_same(
    tmp_path: Path, compiler: str
) -> None:
    wheel = built_in(tmp_path, CC=compiler)
    assert wheel.name.endswith("-py3-none-any.whl")
    assert not [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".so")]


@pytest.mark.parametrize(
    ("program", "arguments", "words"),
    [
        ("twistd", ["--help"], "syslogrelay"),
        ("twistd", ["syslogrelay", "--help"], "--config"),
        ("twistd", ["syslogrelay", "--version"], f"syslogrelay {relay.__version__}"),
        ("syslogrelay", ["--help"], "status"),
        ("syslogrelay", ["--version"], relay.__version__),
    ],
)
def test_commands_from_any_directory(
    programs: Path, tmp_path: Path, program: str, arguments: list[str], words: str
) -> None:
    done = run(programs / program, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert words in done.stdout
    assert list(tmp_path.iterdir()) == []  # no side effects


def test_check_works_without_the_checkout(programs: Path, tmp_path: Path) -> None:
    (tmp_path / "relay.toml").write_text(
        '[sources.a]\nlisten = "udp://127.0.0.1:5514"\n'
        '[destinations.b]\nconnect = "relp://127.0.0.1:20514"\n'
    )
    done = run(programs / "syslogrelay", "check", "relay.toml", cwd=tmp_path)
    assert done.returncode == 0
    assert [line for line in done.stderr.splitlines() if "checked as root" not in line] == []
    assert done.stdout == "relay.toml: ok: 1 source, 1 destination\n"
