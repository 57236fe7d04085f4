"""Show a payload to people: without what may be an app token in it.

What counts as a token: every value of a member ``logsene-app-token``, wherever it
stands; a tag or APP-NAME in the form of a UUID, as Sematext's tokens are; and the
secrets that the caller knows.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from relay.model.token import has_token_form, redacted_secret
from relay.rewrite.forms.find_token import find_claim, names_of
from relay.wire.parse import parse

__all__ = ["masked"]

# Backslashes: of JSON that is a string in other JSON.
_MEMBER = re.compile(rb'logsene-app-token\\*"\s*+:\s*+\\*"([^"\\]++)')


def masked(payload: bytes, known: Collection[bytes] = ()) -> bytes:
    """`payload` with at most the first and last four characters of each token."""
    message = parse(payload)
    found = {*known, *_MEMBER.findall(payload)}
    claim = find_claim(message)
    if claim is not None:
        found.update(claim.secrets)
    found.update(name for name in names_of(message) if has_token_form(name))
    for secret in sorted(found, key=len, reverse=True):  # one may be a part of another
        if secret:
            payload = payload.replace(secret, redacted_secret(secret).encode())
    return payload
