"""The fenced blocks of README.md and docs/, and files that stand in for those they name.

A comment in the line before a block says what a test has to know:

    <!-- not run: REASON -->       commands that are only checked
    <!-- in: destinations.ID -->   a configuration's fragment, and the table that it is from
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.certificate_files import make_certificate_files

__all__ = ["DOCUMENTS", "PLACE", "ROOT", "Block", "blocks", "make_stand_ins", "with_stand_ins"]

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "certs" / "README.md",
]
PLACE = "/etc/syslogrelay"
TOKENS = (
    *("token", "web.token", "web-new.token", "web-admin.token"),
    *("alerts.token", "mail", "others", "central.token"),
)
_MARK = re.compile(r"<!-- (not run|in): (.+) -->")


class Block(NamedTuple):
    """A fenced block."""

    place: str
    """Document and line, for messages and names of tests."""
    language: str
    text: str
    not_run: str = ""
    """The reason why its commands are not executed."""
    table: str = ""
    """Where a configuration's fragment belongs."""


def blocks(*languages: str) -> list[Block]:
    """All blocks in these languages, in all documents."""
    found = [block for path in DOCUMENTS for block in _in(path)]
    return [block for block in found if block.language in languages]


def _in(path: Path) -> Iterator[Block]:
    lines = iter(enumerate(path.read_text().splitlines(), 1))
    before = ""
    for number, line in lines:
        if line.startswith("```"):
            inside = []
            for _, text in lines:
                if text == "```":
                    break
                inside.append(text)
            mark = _MARK.fullmatch(before)
            kind, words = mark.groups() if mark else ("", "")
            yield Block(
                f"{path.relative_to(ROOT)}:{number}",
                line[3:],
                "\n".join(inside) + "\n",
                not_run=words if kind == "not run" else "",
                table=words if kind == "in" else "",
            )
        before = line


def make_stand_ins(folder: Path) -> None:
    """Make in `folder` what the documents expect in /etc/syslogrelay, or as a credential."""
    files = make_certificate_files(folder / "made")
    for name, made in {
        "ca.pem": files.ca,
        "server.pem": files.server_certificate,
        "server-key.pem": files.server_key,
        "client.pem": files.client_certificate,
        "client-key.pem": files.client_key,
        "crl.pem": files.crl,
    }.items():
        (folder / name).symlink_to(made)
    for number, name in enumerate(TOKENS):
        (folder / name).write_text(f"{number:08}-1111-2222-3333-444444444444\n")
        (folder / name).chmod(0o600)
    (folder / "teams.csv").write_text("web-1,blue\n")
    (folder / "assets.csv").write_text("host,owner,site\nweb-1,shop,b2\n")
    # Of the page about moving here, whose commands import it.
    (folder / "rsyslog.conf").write_text(
        next(block.text for block in blocks("rsyslog") if block.place.startswith("docs/moving.md"))
    )


def with_stand_ins(text: str, folder: Path) -> str:
    text = text.replace("/etc/rsyslog.conf", str(folder / "rsyslog.conf"))
    return text.replace(PLACE, str(folder)).replace("$CREDENTIALS_DIRECTORY", str(folder))
