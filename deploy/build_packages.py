"""Build the .deb and the .rpm: an environment of its own below /usr/lib/syslogrelay, and the rest.

    python -m deploy.build_packages deb rpm        # into dist/

The extra `kafka` is a package of its own, syslogrelay-kafka, with files in the same environment:
its library is 12 MB, and most hosts do not need it.

It runs in a Python of the version that the packages are for, the one of Debian 12, and needs a C
compiler and nfpm.  The environment's interpreter is the host's /usr/bin/python3.11: nothing of the
Python that builds gets into the package.  The date of the last commit is that of all files, so that
the same commit gives the same package.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from string import Template

from deploy.bill_of_materials import main as write_bill_of_materials

ROOT = Path(__file__).resolve().parents[1]
STAGE = ROOT / "build" / "package" / "root"
ADD_ON_STAGE = ROOT / "build" / "package" / "kafka"
ADD_ON = "syslogrelay-kafka"
ADD_ON_EXTRA = "kafka"
DIST = ROOT / "dist"
PYTHON = (3, 11)
HOME = "usr/lib/syslogrelay"
PYTHON_NAME = f"python{PYTHON[0]}.{PYTHON[1]}"
SITE = f"{HOME}/lib/{PYTHON_NAME}/site-packages"
DOCUMENTS = "usr/share/doc/syslogrelay"
COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/syslogrelay",
    "zsh": "usr/share/zsh/vendor-completions/_syslogrelay",
    "fish": "usr/share/fish/vendor_completions.d/syslogrelay.fish",
}
UNITS = ("syslogrelay.service", "syslogrelay.socket")
EXAMPLES = ("host.toml", "central.toml", "syslog.conf", "prometheus", "grafana")
FORMATS = ("deb", "rpm")
# Sources, headers and tests of others, which nothing uses while the relay runs.
NOT_NEEDED = ("*.pyx", "*.pxd", "*.c", "*.h", "*.pyi", "*.exe", "*.bat", ".gitignore")
NOT_NEEDED += ("test", "tests", "newsfragments")
SCRIPT = """\
#!{home}/bin/python
import sys

from {module} import {function}

sys.exit({function}())
"""
SCRIPTS = {
    "syslogrelay": ("relay.cli.main", "main"),
    "twistd": ("twisted.scripts.twistd", "run"),
}
_GLIBC = re.compile(rb"GLIBC_([0-9]+)\.([0-9]+)")


class BuildFailed(Exception):
    """A package could not be built; the text says why and what to do."""


def run(*command: str | Path, **environment: str) -> str:
    """The output of a program.

    Raises:
        BuildFailed: It has failed, or is not there.
    """
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildFailed(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise BuildFailed(f"{' '.join(map(str, command))}:\n{said}")
    return done.stdout


def install(version: str) -> None:
    """Lay out the environment, with the project and what it needs."""
    site = STAGE / SITE
    site.mkdir(parents=True)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    with tempfile.TemporaryDirectory() as wheels:
        # Without the folders of libraries of the Python that builds, which the host does not have.
        plain = {"LDSHARED": "cc -shared"}
        run(*pip, "wheel", "--no-deps", "--wheel-dir", wheels, ".", **plain)
        wheel = next(Path(wheels).glob(f"syslogrelay-{version}-*.whl"), None)
        if wheel is None:
            raise BuildFailed(f"pip has built no wheel of version {version}")
        run(*pip, "install", "--no-compile", "--target", site, f"{wheel}[top,import,nats]")
    check_compiled(site)
    trim(site)
    write_environment()


def install_add_on(version: str, moment: datetime) -> None:
    """Lay out what the extra needs beyond the environment, and its documents."""
    site = ADD_ON_STAGE / SITE
    site.mkdir(parents=True)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = project["optional-dependencies"][ADD_ON_EXTRA]
    run(*pip, "install", "--no-compile", "--target", site, *needed)
    trim(site)
    documents = ADD_ON_STAGE / "usr/share/doc" / ADD_ON
    documents.mkdir(parents=True)
    main_part = re.split("[<>=~! ]", needed[0])[0]
    if write_bill_of_materials([str(site), str(documents), main_part]):
        raise BuildFailed(f"there is no bill of materials of {ADD_ON}, so there is no package")
    overrides = ADD_ON_STAGE / "usr/share/lintian/overrides" / ADD_ON
    overrides.parent.mkdir(parents=True)
    shutil.copy(ROOT / "deploy/package/lintian-overrides-kafka", overrides)
    entry = changelog_entry(ADD_ON, version, moment)
    (documents / "changelog.Debian.gz").write_bytes(gzip.compress(entry, 9, mtime=0))


def trim(site: Path) -> None:
    """Remove from an environment what nothing uses while the relay runs."""
    shutil.rmtree(site / "bin", ignore_errors=True)
    for pattern in NOT_NEEDED:
        for path in sorted(site.rglob(pattern)):
            if path.is_dir():
                shutil.rmtree(path)
            elif path.exists():
                path.unlink()
    for path in site.rglob("__pycache__"):
        shutil.rmtree(path)
    for path in site.rglob("*.so*"):
        run("strip", "--strip-unneeded", path)
    # Who installed it and from where is not true on the host.
    for path in [
        *site.rglob("direct_url.json"),
        *site.rglob("INSTALLER"),
        *site.rglob("REQUESTED"),
    ]:
        path.unlink()


def check_compiled(site: Path) -> None:
    """Raise BuildFailed unless every module in Cython is there as compiled code."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    sources = [path.relative_to(ROOT) for path in (ROOT / "relay").rglob("*.pyx")]
    missing = [str(path) for path in sources if not (site / path.with_suffix(suffix)).exists()]
    if missing or not sources:
        raise BuildFailed(
            f"not compiled: {', '.join(missing)}; install a C compiler and Python.h (Debian: gcc "
            "libc6-dev python3-dev)"
        )


def write_environment() -> None:
    """What makes a folder a virtual environment: its interpreter, a mark, and programs."""
    programs = STAGE / HOME / "bin"
    programs.mkdir()
    (programs / PYTHON_NAME).symlink_to(f"/usr/bin/{PYTHON_NAME}")
    (programs / "python3").symlink_to(PYTHON_NAME)
    (programs / "python").symlink_to("python3")
    version = ".".join(map(str, PYTHON))
    mark = f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {version}\n"
    (STAGE / HOME / "pyvenv.cfg").write_text(mark)
    for name, (module, function) in SCRIPTS.items():
        text = SCRIPT.format(home=f"/{HOME}", module=module, function=function)
        write(f"{HOME}/bin/{name}", text.encode(), mode=0o755)
    (STAGE / "usr/bin").mkdir()
    (STAGE / "usr/bin/syslogrelay").symlink_to(f"../lib/{Path(HOME).name}/bin/syslogrelay")


def write(name: str, data: bytes, *, mode: int = 0o644) -> None:
    path = STAGE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)


def write_compressed(name: str, data: bytes) -> None:
    write(f"{name}.gz", gzip.compress(data, 9, mtime=0))


def add_documents(version: str, moment: datetime) -> None:
    """Manual pages, completions, documents and examples."""
    with tempfile.TemporaryDirectory() as folder:
        stamp = str(int(moment.timestamp()))
        run(sys.executable, "docs/write_man_pages.py", folder, SOURCE_DATE_EPOCH=stamp)
        for page in Path(folder).iterdir():
            section = page.suffix.removeprefix(".")
            write_compressed(f"usr/share/man/man{section}/{page.name}", page.read_bytes())
    for shell, name in COMPLETIONS.items():
        script = run(Path(sys.executable).with_name("syslogrelay"), "completion", shell)
        if not script:
            raise BuildFailed(f"syslogrelay completion {shell} writes nothing, expected a script")
        write(name, script.encode())
    for document in ("README.md", *map(str, (ROOT / "docs").rglob("*.md"))):
        path = ROOT / document
        write(f"{DOCUMENTS}/{path.relative_to(ROOT)}", path.read_bytes())
    write_compressed(f"{DOCUMENTS}/changelog", (ROOT / "CHANGES.md").read_bytes())
    entry = changelog_entry("syslogrelay", version, moment)
    write_compressed(f"{DOCUMENTS}/changelog.Debian", entry)
    for name in EXAMPLES:
        target = STAGE / DOCUMENTS / "examples" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        source = ROOT / "deploy" / name
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)


def changelog_entry(package: str, version: str, moment: datetime) -> bytes:
    return (
        f"{package} ({version}-1) unstable; urgency=medium\n\n"
        "  * See /usr/share/doc/syslogrelay/changelog.gz.\n\n"
        f" -- The syslogrelay authors <syslogrelay@example.com>  {moment:%a, %d %b %Y %T +0000}\n"
    ).encode()


def add_units() -> None:
    for unit in UNITS:
        data = (ROOT / "deploy" / unit).read_bytes()
        write(f"usr/lib/systemd/system/{unit}", data)
    package = ROOT / "deploy/package"
    write("usr/lib/sysusers.d/syslogrelay.conf", (package / "sysusers.conf").read_bytes())
    write("usr/share/lintian/overrides/syslogrelay", (package / "lintian-overrides").read_bytes())


def add_bill_of_materials() -> None:
    folder = STAGE / DOCUMENTS
    if write_bill_of_materials([str(STAGE / SITE), str(folder)]):
        raise BuildFailed("there is no bill of materials, so there is no package")


def glibc_needed(modules: Iterator[Path]) -> str:
    """The oldest version of glibc that has what the modules take from it."""
    found = {version for path in modules for version in _GLIBC.findall(path.read_bytes())}
    versions = [(int(major), int(minor)) for major, minor in found]
    return ".".join(map(str, max(versions, default=(2, 17))))


def settle_modes() -> None:
    """The modes of a package, whatever the umask of the build; programs stay programs."""
    for path in (*STAGE.rglob("*"), *ADD_ON_STAGE.rglob("*")):
        if path.is_symlink():
            continue
        is_program = path.is_dir() or path.parent == STAGE / HOME / "bin"
        path.chmod(0o755 if is_program else 0o644)


def pack(package: str, kind: str, version: str, moment: datetime) -> Path:
    """Have nfpm make a package of what is laid out."""
    stage = ADD_ON_STAGE if package == ADD_ON else STAGE
    description_name = "nfpm-kafka.yaml" if package == ADD_ON else "nfpm.yaml"
    machine = run("dpkg", "--print-architecture").strip()
    variables = {
        "PACKAGE_VERSION": version,
        "PACKAGE_ARCH": machine,
        "PACKAGE_GLIBC": glibc_needed((stage / SITE).rglob("*.so*")),
    }
    nfpm = Path(sys.executable).with_name("nfpm")
    target = (
        DIST
        / {
            "deb": f"{package}_{version}-1_{machine}.deb",
            "rpm": f"{package}-{version}-1.{os.uname().machine}.rpm",
        }[kind]
    )
    DIST.mkdir(exist_ok=True)
    description = (ROOT / "deploy/package" / description_name).read_text()
    description = Template(description).substitute(variables)
    filled_in = STAGE.with_name(description_name)
    filled_in.write_text(description)
    command = (nfpm, "package", "--config", filled_in, "--packager", kind, "--target", target)
    run(*command, SOURCE_DATE_EPOCH=str(int(moment.timestamp())))
    return target


def build(kinds: list[str]) -> list[Path]:
    """Lay out what a package has, once, and pack it in each format.

    Raises:
        BuildFailed: Something of it could not be done.
    """
    if sys.version_info[:2] != PYTHON:
        raise BuildFailed(
            f"this is Python {sys.version_info[0]}.{sys.version_info[1]}, and the packages are for "
            f"{PYTHON_NAME}; run `make deb PYTHON={PYTHON_NAME}` in a fresh checkout"
        )
    found = re.search(r'__version__ = "([^"]+)"', (ROOT / "relay/__init__.py").read_text())
    assert found is not None
    version = found[1]
    moment = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH") or commit_time()), UTC)
    for stage in (STAGE, ADD_ON_STAGE):
        shutil.rmtree(stage, ignore_errors=True)
        stage.mkdir(parents=True)
    install(version)
    install_add_on(version, moment)
    add_documents(version, moment)
    add_units()
    add_bill_of_materials()
    settle_modes()
    packages = ("syslogrelay", ADD_ON)
    return [pack(package, kind, version, moment) for kind in kinds for package in packages]


def commit_time() -> str:
    """Of the last commit, in seconds since 1970-01-01 UTC."""
    return run("git", "log", "-1", "--format=%ct").strip()


def main(kinds: list[str]) -> int:
    if not kinds or set(kinds) - set(FORMATS):
        print(f"usage: build_packages.py {' and '.join(FORMATS)}, one or both", file=sys.stderr)
        return 2
    try:
        packages = build(kinds)
    except BuildFailed as error:
        print(f"no package: {error}", file=sys.stderr)
        return 1
    for package in packages:
        print(f"{package.relative_to(ROOT)}  {package.stat().st_size / 2**20:.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
