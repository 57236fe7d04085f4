"""Write the reference of the configuration from the kinds of sources and destinations.

    python docs/write_reference.py

`make reference` does that; a test fails while `docs/configuration.md` is another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from relay.service.configuration.keys import Key, keys_of
from relay.service.configuration.kinds import AnyKind
from relay.service.configuration.model import (
    AlertsConfiguration,
    Configuration,
    WatchConfiguration,
    WebConfiguration,
)
from relay.service.configuration.table import (
    Named,
    Permissions,
    Size,
    plain,
    size_text,
)
from relay.service.configuration.url import Role
from relay.service.kinds import KINDS

PATH = Path(__file__).with_name("configuration.md")

BEGINNING = """\
# Configuration reference

All keys of `relay.toml`.  This file is made by `make reference` from the declarations in
`relay/service/sources/` and `relay/service/destinations/`; edit those.

[sources.md](sources.md) explains the keys of sources, TLS and `[apps.ID]`,
[rewriting.md](rewriting.md) `match`, `rewrite`, `format`, `[filters.ID]` and `[[tests]]`,
[queue.md](queue.md) limits, order and history.

A size is a number of bytes, or a text with a unit, KiB to TiB or kB to TB: `"64 KiB"` is 65,536
bytes, `"4 GB"` is 4,000,000,000.  A path may be `"$CREDENTIALS_DIRECTORY/NAME"`, a credential of
systemd (`LoadCredential=NAME:/path` in the unit).  A key without a default may be left out.
`syslogrelay check FILE` names a wrong key with its line and says what is allowed.

## `include`

A list of names and patterns (`*`, `?`, `[…]`) of other files, above all tables:
`include = ["conf.d/*.toml"]`. Patterns are relative to the file that they stand in, and relative
paths in an included file are relative to that file. The files of a pattern are read in the order of
their names, after the file that includes them; destinations that are `final` depend on that order.
A pattern may fit no file, while a name has to be that of one. Hidden files fit no pattern, and
included files cannot include others. 1,000 files of 16 MiB together are allowed.

Tables such as `[sources.ID]`, and the keys of `[relay]`, `[alerts]` and `[web]`, may be in any of
the files, each in one of them; entries of `[[tests]]` and `[[watch]]` come one after another.
"""


class Part(NamedTuple):
    """A section of the reference: a text, and tables."""

    title: str
    """Markdown."""
    text: str
    """Markdown, in one paragraph."""
    tables: list[list[list[str]]]
    """Each a list of rows, of which the first one is the head."""


def parts() -> Iterator[Part]:
    """All sections with keys."""
    yield Part("`[relay]`", "", [_keys_of(Configuration)])
    yield Part(
        "`[[watch]]`",
        "Rules that say what counts as a warning or an error; the first that fits decides. See "
        "[alerts.md](alerts.md).",
        [_keys_of(WatchConfiguration)],
    )
    yield Part(
        "`[alerts]`",
        "What raises an alert, and who is told; see [alerts.md](alerts.md). "
        "Without this table there is no alert; an empty one is enough.",
        [_keys_of(AlertsConfiguration)],
    )
    yield Part(
        "`[web]`",
        "The web server, with [the page](web.md), "
        "[metrics and health](metrics.md). Without this table there is none.",
        [_keys_of(WebConfiguration)],
    )
    yield Part(
        "`[sources.ID]`",
        "`listen` is the URL to listen to:",
        [_urls("listen", "What is taken, and when it is answered"), _keys_by_kind("listen")],
    )
    yield Part(
        "`[destinations.ID]`",
        "`connect` is the URL to send to, or a list of several with the same scheme (see "
        "[several targets](destinations/targets.md)):",
        [_urls("connect", "A message counts as delivered when"), _keys_by_kind("connect")],
    )


def reference() -> str:
    texts = [BEGINNING]
    for part in parts():
        text = f"\n\n{part.text}" if part.text else ""
        tables = "\n\n".join(_table(*rows) for rows in part.tables)
        texts.append(f"## {part.title}{text}\n\n{tables}\n")
    return "\n".join(texts)


def _keys_of(cls: type[object]) -> list[list[str]]:
    keys = {name: {"": key} for name, key in keys_of(cls).items()}
    return [["Key", "Default", "Value", "Meaning"], *_keys(keys)]


def _keys_by_kind(role: Role) -> list[list[str]]:
    return [["Key", "Of", "Default", "Value", "Meaning"], *_keys(_by_kind(role), role)]


def _urls(role: Role, meaning: str) -> list[list[str]]:
    kinds = KINDS.by_scheme(role).values()
    rows = [[f"`{kind.scheme}{kind.address.form}`", kind.delivered] for kind in kinds]
    return [["URL", meaning], *rows]


def _by_kind(role: Role) -> dict[str, dict[str, Key]]:
    """Each key as each kind has it, by its name and the scheme."""
    found: dict[str, dict[str, Key]] = {}
    for kind in KINDS.by_scheme(role).values():
        of_members = {name for member in kind.members for name in member.kind.keys}
        for name, key in kind.keys.items():
            if name not in of_members:
                found.setdefault(name, {})[kind.scheme] = key
    return found


def _keys(keys: Mapping[str, Mapping[str, Key]], role: Role | None = None) -> Iterator[list[str]]:
    for name, of_kinds in keys.items():
        columns: tuple[Callable[[Key], str], ...] = (
            *(_default, lambda key: str(key.kind.allowed)),
            lambda key: key.help,
        )
        row = [f"`{name}`", *(_by_schemes(of_kinds, text_of) for text_of in columns)]
        if role is not None:
            row.insert(1, _schemes(of_kinds, KINDS.by_scheme(role)))
        yield row


def _schemes(of_kinds: Iterable[str], every: Mapping[str, AnyKind]) -> str:
    schemes = list(of_kinds)
    if schemes == [kind.scheme for kind in every.values() if not kind.members]:
        return "all"
    return ", ".join(f"`{scheme}`" for scheme in schemes)


def _by_schemes(of_kinds: Mapping[str, Key], text_of: Callable[[Key], str]) -> str:
    """A text about a key, or that of most kinds and those that have another."""
    schemes: dict[str, list[str]] = {}
    for scheme, key in of_kinds.items():
        schemes.setdefault(text_of(key), []).append(scheme)
    usual, *others = sorted(schemes, key=lambda words: -len(schemes[words]))
    words = [f"{', '.join(schemes[other])}: {other}" for other in others]
    return "; ".join([usual, *words])


def _default(key: Key) -> str:
    if key.default_text:
        return key.default_text
    match key.kind, key.default:
        case Named(names=names), number:
            return f'`"{next(name for name, each in names.items() if each == number)}"`'
        case Permissions(), int(mode):
            return f"`0o{mode:o}`"
        case Size(), int(size) if size:
            return f'`"{size_text(size)}"`'
        case _, bool(flag):
            return f"`{str(flag).lower()}`"
        case _, int(number) | float(number):
            return f"`{plain(number)}`".replace(",", "")
        case _, str(text) if text:
            return f'`"{text}"`'
        case _, tuple(items) if items:
            return f"`{list(items)}`".replace("'", '"')
    return ""


def _table(head: list[str], *rows: list[str]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines
    )


if __name__ == "__main__":
    PATH.write_text(reference())
