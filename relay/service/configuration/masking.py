"""Mask secrets in what a configuration says, so that it can be shown to others.

A configuration names files with secrets and should hold none.  But people paste a token where the
name of its file belongs, write a password into a URL, or an authorization into a header.  So more
is masked than has to be.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

MASK = "MASKED"
"""Stands for a secret.  It is valid in URLs, headers, patterns and names of files."""

SECRET_CHARACTERS_MIN = 4
"""Shorter texts are masked nowhere: they are parts of too many words."""

_FORM = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_PEM = re.compile(r"-----BEGIN .*", re.DOTALL)
_USER = re.compile(r"(?<=://)[^/\s]*@")
_QUERY = re.compile(r"([?&][^=&\s]*=)[^&\s]+")
_PATH = re.compile(r"(?<=://)([^/]*/).+", re.DOTALL)
_WORDS = r"pass(?:word|phrase|wd)?|secret|token|api[-_]?key|auth\w*|credentials?|bearer|community"
_NAME = re.compile(rf"[-\w]*(?:{_WORDS}|key)[-\w]*", re.IGNORECASE)
_SETTING = re.compile(rf"[a-z]\w*(?:\.\w+)*\.(?:{_WORDS}|pem|config)")  # of a library, as in Kafka
_ASSIGNED = re.compile(rf"((?:{_WORDS})[-\w]*\s*[=:]\s*)\S.*", re.IGNORECASE | re.DOTALL)
_LIKE_A_TOKEN = re.compile(r"(?=.*[0-9])[A-Za-z0-9_+=-]{20,}")


def masked(value: object, secrets: Sequence[str]) -> object:
    """A TOML value without known secrets, and without what looks like one.

    Args:
        secrets: The tokens that are known.
    """
    if isinstance(value, str):
        return _masked_text(value, secrets)
    if isinstance(value, Mapping):
        return {name: masked_named(item, name, secrets) for name, item in value.items()}
    if isinstance(value, Sequence):
        return [masked(item, secrets) for item in value]
    return value


def masked_named(value: object, key: str, secrets: Sequence[str]) -> object:
    """The value of a key whose name may say that it names a file or a variable with a secret.

    A name with dots is a setting of a library, whose value is the secret itself.
    """
    if not isinstance(value, str):
        return masked(value, secrets)
    if _SETTING.fullmatch(key):
        return MASK
    last = value.rpartition("/")[2]
    is_pasted = _NAME.fullmatch(key) and _LIKE_A_TOKEN.fullmatch(last)
    if is_pasted and last not in os.environ and not os.path.exists(value):
        return value[: len(value) - len(last)] + MASK
    return _masked_text(value, secrets)


def masked_whole(value: object) -> object:
    """`value` with a mask in place of each text and number in it."""
    if isinstance(value, Mapping):
        return {name: masked_whole(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [masked_whole(item) for item in value]
    return value if isinstance(value, bool) else MASK


def masked_arguments(arguments: Sequence[object], secrets: Sequence[str]) -> list[object]:
    """Arguments of a program without those that seem to be secrets, by the option before them."""
    found: list[object] = []
    is_secret = False
    for argument in arguments:
        text = masked(argument, secrets)
        if isinstance(text, str):
            text = MASK if is_secret else _ASSIGNED.sub(rf"\g<1>{MASK}", text)
            is_secret = text.startswith("-") and _NAME.fullmatch(text) is not None
        found.append(text)
    return found


def masked_path(url: object) -> object:
    """A URL whose path is a secret."""
    return _PATH.sub(rf"\g<1>{MASK}", url) if isinstance(url, str) else url


def _masked_text(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        if len(secret) >= SECRET_CHARACTERS_MIN:
            text = text.replace(secret, MASK)
    text = _PEM.sub(MASK, _FORM.sub(MASK, text))
    if "://" in text:
        text = _QUERY.sub(rf"\g<1>{MASK}", _USER.sub(f"{MASK}@", text))
    return text
