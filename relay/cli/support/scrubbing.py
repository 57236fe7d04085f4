"""Remove secrets and texts of messages from what is given to others.

Errors quote what a peer has sent, and pass on what upstreams and programs say, which may repeat a
message.  So quoted texts go, unless the configuration has them, and so does what others say; that
is more than has to be.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress

from relay.model.text import counted
from relay.service.configuration.credentials import with_credentials
from relay.service.configuration.masking import MASK, SECRET_CHARACTERS_MIN, masked
from relay.service.configuration.model import Configuration
from relay.service.configuration.reading import content_of

_QUOTED = re.compile(r"""b?'((?:[^'\\\n]|\\.){3,})'|b?"((?:[^"\\\n]|\\.){3,})\"""")
_APOSTROPHE = re.compile(r"(?<=\w\w)'(?=(?:s|t|d|ll|re|ve)\b)")
_SAID = re.compile(
    r"(standard error: |refus(?:ed|es)\b[^:\n]*: (?:\d{3} )?|broken answer: "
    r"|tests\[\d+\][^:\n]*: \S+ )(?=\S)([^\n]+)"
)
_SECRET_FILE = re.compile(r"(?:.*_)?(?:token|password|passphrase|key|index)_files?|private_key")
_SECRET_VARIABLE = re.compile(r"(?:.*_)?token_env")
_QUERY_VALUE = re.compile(r"[?&][^=&]*=([^&]+)")
_ASSIGNED = re.compile(r"[=: ]([^=: ]{8,})")
_FILE_BYTES_MAX = 64 * 1024
_PEM_LINE = re.compile(r"[A-Za-z0-9+/=]{16,}")


class Scrubber:
    """Removes them from texts and JSON documents.

    Args:
        secrets: Texts that must not be in anything.
        known: Texts that may stay in quotation marks: those of the configuration.
    """

    def __init__(self, secrets: Collection[str] = (), known: Collection[str] = ()) -> None:
        # A secret may be a part of another one.
        self._secrets = sorted(
            {each for each in secrets if len(each) >= SECRET_CHARACTERS_MIN}, key=len, reverse=True
        )
        self._known = frozenset(known)

    def text(self, text: str) -> str:
        """A text of people or programs: of the log, for example."""
        text = self.without_secrets(_SAID.sub(_removed, text))
        # An apostrophe inside of a word begins no quotation.
        text = _APOSTROPHE.sub("\0", text)
        return _QUOTED.sub(self._quoted, text).replace("\0", "'")

    def without_secrets(self, text: str) -> str:
        """A text that has no messages in it."""
        return str(masked(text, self._secrets))

    def document(self, value: object) -> object:
        """A JSON document: all texts in it, names of members too."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {
                self.without_secrets(str(name)): self.document(item) for name, item in value.items()
            }
        if isinstance(value, Sequence):
            return [self.document(item) for item in value]
        return value

    def _quoted(self, found: re.Match[str]) -> str:
        inside = found[1] or found[2]
        is_known = inside in self._known or inside == MASK
        return found[0] if is_known else f"[{counted(len(inside), 'character')}]"


def _removed(found: re.Match[str]) -> str:
    return f"{found[1]}[{counted(len(found[2]), 'character')}]"


def secrets_of(
    configuration: Configuration | None, environment: Mapping[str, str] = os.environ
) -> set[str]:
    """The tokens of a configuration, and what is in the files with secrets that it names.

    Args:
        environment: Has the variables that `token_env` names: those of the relay's process.
    """
    if configuration is None or configuration.origin is None:
        return set()
    found = {secret.decode("latin-1") for secret in configuration.secrets}
    for key, where, text in _texts(configuration.origin.values, ""):
        found.update(_secrets_of_value(key, where, text))
        if _SECRET_VARIABLE.fullmatch(key):
            found.add(environment.get(text, ""))
        elif _SECRET_FILE.fullmatch(key):
            with suppress(ValueError):  # no path
                path = with_credentials(text, environment)
                directory = configuration.origin.directory_of(where)
                found.update(_secrets_in(os.path.join(directory, path)))
    return {secret for secret in found if secret}


def _secrets_of_value(key: str, where: str, text: str) -> Iterator[str]:
    """The parts of a key's value that are masked, and may be in the log on their own."""
    if ".headers" in where:
        yield text
    elif key == "webhook":
        yield text.partition("://")[2].partition("/")[2]
    elif key in ("arguments", "program"):
        yield from _ASSIGNED.findall(text)
    elif "://" in text:
        authority, _, rest = text.partition("://")[2].partition("/")
        yield from _QUERY_VALUE.findall(rest)
        yield authority.rpartition("@")[0]


def texts_of(configuration: Configuration | None) -> set[str]:
    """Ids, paths and other texts of a configuration, without those of its tests."""
    if configuration is None or configuration.origin is None:
        return set()
    tables = {name: table for name, table in configuration.origin.values.items() if name != "tests"}
    found = {text for _, _, text in _texts(tables, "")}
    ids = [each.id for each in (*configuration.sources, *configuration.destinations)]
    return found | {*ids, *configuration.files}


def _texts(value: object, where: str, key: str = "") -> Iterator[tuple[str, str, str]]:
    """All texts in a table: the last key before each, the dotted path of that, the text."""
    if isinstance(value, str):
        yield key, where, value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _texts(item, f"{where}.{name}" if where else name, name)
    elif isinstance(value, Sequence):
        for item in value:
            yield from _texts(item, where, key)


def _secrets_in(path: str) -> Iterator[str]:
    """The lines of a file with secrets; of a PEM file those that are no headers."""
    try:
        text = content_of(path, bytes_max=_FILE_BYTES_MAX).decode("latin-1")
    except OSError:
        return
    lines = [line.strip() for line in text.splitlines()]
    yield from lines if "-----BEGIN" not in text else filter(_PEM_LINE.fullmatch, lines)
