"""What build_wheels.py decides; the builds themselves are `make wheels`."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from deploy import build_wheels
from deploy.build_wheels import (
    BuildFailed,
    Found,
    candidates,
    check_contents,
    cross_environment,
    found,
    modules_wanted,
    probed,
)

LINES, TEXT = "relay/codec/lines", "relay/codec/text"
X86_311 = ".cpython-311-x86_64-linux-gnu.so"


def test_pythons_are_those_of_path_and_of_pyenv_unless_they_are_named(tmp_path: Path) -> None:
    for version in ("3.10.13", "3.12.1", "3.12.0"):
        programs = tmp_path / version / "bin"
        programs.mkdir(parents=True)
        (programs / f"python{version[:4]}").touch()
    named = {"PYTHONS": " /a/python  python3.12 "}
    assert list(candidates(named, tmp_path)) == ["/a/python", "python3.12"]
    assert list(candidates({}, tmp_path)) == [
        "python3.11",
        "python3.12",
        "python3.13",
        "python3.14",
        f"{tmp_path}/3.12.0/bin/python3.12",
        f"{tmp_path}/3.12.1/bin/python3.12",
    ]


def test_the_first_python_of_a_version_that_can_build_wins() -> None:
    answers = [
        ("python3.13", ""),  # a shim of nothing
        ("python3.12", "3.12 False True\n"),
        ("/b/python3.12", "3.12 True True\n"),
        ("/c/python3.12", "3.12 True True\n"),
        ("python3.11", "3.11 True True\n"),
        ("python3.14t", "3.14 True False\n"),
    ]
    choice = found(answers)
    assert choice == Found(
        {"3.11": "python3.11", "3.12": "/b/python3.12"},
        ["Python 3.13: not found", "Python 3.14: python3.14t is free-threaded"],
    )
    assert list(choice.pythons) == ["3.11", "3.12"]


def test_why_a_python_is_left_out() -> None:
    answers = [("python3.11", "3.11 False True"), ("/a/python", "3.10 True True"), ("false", "")]
    assert found(answers).left_out[:3] == [
        "/a/python: no Python 3.11 to 3.14",
        "false: no Python 3.11 to 3.14",
        "Python 3.11: python3.11 has no Python.h",
    ]


def test_what_is_no_python_answers_nothing(tmp_path: Path) -> None:
    assert probed(str(tmp_path / "python3.11")) == ""
    assert probed("false") == ""


def test_a_cross_build_takes_the_header_files_of_its_version(tmp_path: Path) -> None:
    headers = tmp_path / "aarch64-linux-gnu" / "python3.12"
    headers.mkdir(parents=True)
    assert cross_environment("3.12", tmp_path) is None
    (headers / "pyconfig.h").touch()
    assert cross_environment("3.11", tmp_path) is None
    variables = cross_environment("3.12", tmp_path)
    assert variables is not None
    assert variables["SETUPTOOLS_EXT_SUFFIX"] == ".cpython-312-aarch64-linux-gnu.so"
    assert f"-I{tmp_path}/python3.12 " in variables["CFLAGS"]


@pytest.mark.parametrize(
    ("names", "wrong"),
    [
        ([LINES + X86_311, TEXT + X86_311, "relay/__init__.py"], ""),
        ([LINES + X86_311], f"lacks {TEXT}{X86_311}"),
        ([LINES + X86_311, TEXT + ".cpython-312-x86_64-linux-gnu.so"], f"lacks {TEXT}{X86_311}"),
        (
            [LINES + X86_311, TEXT + X86_311, f"relay/old{X86_311}", "relay/codec/text.pyx"],
            f"has relay/codec/text.pyx, relay/old{X86_311} as well",
        ),
    ],
)
def test_a_wheel_has_all_modules_for_its_python_and_no_other(
    names: list[str], wrong: str, tmp_path: Path
) -> None:
    wheel = tmp_path / "relay.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    wanted = modules_wanted([Path(f"{LINES}.pyx"), Path(f"{TEXT}.pyx")], "3.11", "x86_64")
    try:
        check_contents(wheel, wanted)
    except BuildFailed as error:
        assert str(error) == f"relay.whl {wrong}"
    else:
        assert wrong == ""


def test_without_any_python_there_is_no_wheel(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONS", "false")
    assert build_wheels.main() == 1
    shown = capsys.readouterr()
    assert shown.out.splitlines()[:2] == [
        "left out: false: no Python 3.11 to 3.14",
        "left out: Python 3.11: not found",
    ]
    assert shown.err == "no Python to build a wheel with; name some in PYTHONS\n"
