"""Run tests with compiled code under AddressSanitizer and UndefinedBehaviorSanitizer.

    python -m tests.sanitize                     # or `make sanitize`
    python -m tests.sanitize tests/codec -k forms

The modules are built into a copy of the project below build/, which the tests run in.  The first
report ends the run.  Leaks are not looked for: the interpreter itself would be full of them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
TREE = ROOT / "build" / "sanitize"
COPIED = ("relay", "tests", "twisted", "deploy", "pyproject.toml", "README.md")
TESTS = ("tests/codec", "tests/wire", "tests/rewrite", "tests/queue", "tests/fuzz")
SANITIZERS = "-fsanitize=address,undefined,float-cast-overflow"
# Python's own flags make signed numbers wrap, and then nothing reports that they do.
COMPILE = f"{SANITIZERS} -fno-sanitize-recover=all -fno-omit-frame-pointer -fno-wrapv"
# A library that throws exceptions of C++ needs its runtime before that of the sanitizer.
RUNTIMES = ("libasan.so", "libubsan.so", "libstdc++.so.6")


def main(arguments: list[str]) -> int:
    copy_tree()
    build()
    # pytest's own temporary file would swallow the report of a process that it ends with.
    command = ["-m", "pytest", "-p", "no:cacheprovider", "--capture=sys", "--quiet"]
    command += ["--hypothesis-profile=quick", *(arguments or TESTS)]
    return subprocess.run([sys.executable, *command], cwd=TREE, env=environment()).returncode


def copy_tree() -> None:
    shutil.rmtree(TREE, ignore_errors=True)
    TREE.mkdir(parents=True)
    for name in COPIED:
        if (ROOT / name).is_dir():
            left_out = shutil.ignore_patterns("*.so", "__pycache__")
            shutil.copytree(ROOT / name, TREE / name, ignore=left_out)
        else:
            shutil.copy2(ROOT / name, TREE / name)


def build() -> None:
    """Build a wheel and put its modules beside their sources.

    Raises:
        SystemExit: A module was not built, or without the sanitizers.
    """
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(TREE)]
    flags = {"CFLAGS": COMPILE, "LDFLAGS": SANITIZERS}
    subprocess.run([*wheel, str(ROOT)], check=True, env={**os.environ, **flags})
    with zipfile.ZipFile(next(TREE.glob("*.whl"))) as archive:
        for name in archive.namelist():
            if name.endswith(".so"):
                (TREE / name).write_bytes(archive.read(name))
    for source in TREE.glob("relay/**/*.pyx"):
        built = [*source.parent.glob(f"{source.stem}.*.so")]
        if not built or b"__asan_init" not in built[0].read_bytes():
            sys.exit(f"{source.relative_to(TREE)} was not compiled with {SANITIZERS}; it takes gcc")


def environment() -> dict[str, str]:
    """Settings of the tests' process."""
    compiler = os.environ.get("CC", "gcc")
    runtimes = [
        subprocess.check_output([compiler, f"-print-file-name={name}"], text=True).strip()
        for name in RUNTIMES
    ]
    return {
        **os.environ,
        "LD_PRELOAD": " ".join(runtimes),
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",  # Python's own would hide where an object ends
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
