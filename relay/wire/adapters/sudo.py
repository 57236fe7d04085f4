"""What sudo logs: ``alice : TTY=pts/0 ; PWD=/home/alice ; USER=root ; COMMAND=/bin/ls -l``."""

from __future__ import annotations

import re

__all__ = ["read_sudo"]

_SUBJECT = re.compile(rb"\s*+([^\s;]++)")
# COMMAND comes last and may hold the separator.
_PAIR = re.compile(rb"(?:(?<=;)|(?<=:)) ?([A-Z_]{1,32}+)=((?:(?<=COMMAND=).*+)|[^;]*+)", re.DOTALL)


def read_sudo(msg: bytes) -> dict[str, bytes] | None:
    """The pairs of MSG, or None if there are none."""
    subject = _SUBJECT.match(msg)
    pairs = {".sudo." + name.decode("ascii"): value.strip() for name, value in _PAIR.findall(msg)}
    if subject is None or not pairs:
        return None
    return {".sudo.SUBJECT": subject[1], **pairs}
