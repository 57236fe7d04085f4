"""Paths of systemd's credentials: ``$CREDENTIALS_DIRECTORY/NAME``, as in systemd.exec(5).

systemd sets the variable for a unit with ``LoadCredential=`` and for nobody else.  An
administrator runs `check` and `status` without it, so the directory of the packaged unit stands
in for it: a file that is missing there is reported like any other missing file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

__all__ = ["UNIT_DIRECTORY", "VARIABLE", "is_assumed", "with_credentials"]

VARIABLE = "CREDENTIALS_DIRECTORY"
UNIT_DIRECTORY = "/run/credentials/syslogrelay.service"
"""Where systemd keeps the credentials of the packaged unit while it runs."""

_BEGINNING = re.compile(rf"\$(?:{VARIABLE}(?![A-Za-z0-9_])|\{{{VARIABLE}\}})")
# systemd takes a file name: no slash, neither "." nor "..", and no control characters.
_NAME = re.compile(r"/(?!\.\.?\Z)[!-.0-~]{1,255}")


def with_credentials(path: str, environment: Mapping[str, str] = os.environ) -> str:
    """`path` with the directory of credentials in place of the variable, if it begins with that.

    Raises:
        ValueError: It names no credential; the text says what to write.
    """
    if path == "%d" or path.startswith("%d/"):
        raise ValueError(
            f"%d is known to units only, found {path!r}; write ${VARIABLE}/NAME, where NAME is "
            "that of LoadCredential= in the unit"
        )
    beginning = _BEGINNING.match(path)
    if beginning is None:
        return path
    name = path[beginning.end() :]
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"expected ${VARIABLE}/NAME, where NAME is that of LoadCredential= in the unit and has "
            f"no '/', found {path!r}"
        )
    directory = environment.get(VARIABLE, "")
    return (directory if os.path.isabs(directory) else UNIT_DIRECTORY) + name


def is_assumed(path: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether `path` names a credential, and nothing says where credentials are."""
    known = os.path.isabs(environment.get(VARIABLE, ""))
    return not known and _BEGINNING.match(path) is not None
