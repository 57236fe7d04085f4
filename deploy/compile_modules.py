"""Build hook of hatchling: compile the modules of relay that are written in Cython.

They are optional.  Where there is no C compiler, or SYSLOGRELAY_PURE is set, the package is
built without them and says so; it then does the same in Python.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from Cython.Build import cythonize
from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from setuptools import Distribution, Extension
from setuptools.errors import CCompilerError, ExecError, PlatformError

PURE_VARIABLE = "SYSLOGRELAY_PURE"


class CompiledModules(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the compiled modules to a wheel, or puts them beside their sources."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling; `version` is "editable" or "standard"."""
        root = Path(self.root)
        if version == "editable":  # what is there may be older than its source
            for module in root.glob("relay/**/*.so"):
                module.unlink()
        if os.environ.get(PURE_VARIABLE):
            self.app.display_warning(f"{PURE_VARIABLE} is set: built without compiled modules")
            return
        self._directory = tempfile.TemporaryDirectory(prefix="syslogrelay-build-")
        try:
            modules = compiled(root, Path(self._directory.name))
        except (CCompilerError, ExecError, PlatformError, OSError) as error:
            self.app.display_warning(
                f"built without compiled modules, so rewrites will be slower: {error}"
            )
            return
        for module in modules:
            inside = module.relative_to(self._directory.name).as_posix()
            if version == "editable":
                (root / inside).write_bytes(module.read_bytes())
            else:
                build_data["force_include"][str(module)] = inside
        build_data["pure_python"] = False
        build_data["infer_tag"] = True


def compiled(root: Path, directory: Path) -> list[Path]:
    """Compile what there is below `root`, in `directory`; returns the modules there."""
    sources = [source.relative_to(root) for source in sorted(root.glob("relay/**/*.pyx"))]
    extensions = [
        Extension(
            ".".join(source.with_suffix("").parts),
            [source.as_posix()],
            # Loops over the bytes of a message in large steps; nothing for a debugger.
            extra_compile_args=["-O3", "-g0"],
        )
        for source in sources
    ]
    extensions = cythonize(
        extensions, build_dir=str(directory), include_path=[str(root)], quiet=True
    )
    command = Distribution({"ext_modules": extensions}).get_command_obj("build_ext")
    command.build_lib = command.build_temp = str(directory)
    command.parallel = os.cpu_count()
    command.ensure_finalized()
    command.run()
    return [Path(output) for output in command.get_outputs()]
