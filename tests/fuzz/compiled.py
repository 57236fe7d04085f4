"""Compiled code makes the same of any input as the Python that it stands for."""

from __future__ import annotations

import random

from relay.model.token import Token
from relay.rewrite.json_text import json_string
from relay.rewrite.token import members_of, object_writer

try:
    from relay.codec import objects, text
except ImportError:  # the package was installed without a C compiler
    IS_COMPILED = False
else:
    IS_COMPILED = True

__all__ = ["IS_COMPILED", "check_object", "check_string"]

_TOKEN = Token(b"01234567-89ab-cdef-0123-456789abcdef")
_TAGS = ((), ("a", '"'))
_REFERENCES = [object_writer(_TOKEN, tags) for tags in _TAGS]
_KEY = b"logsene-app-token"
_ENDS = [b"", b" ", b"\n", b"\xef\xbb\xbf", b"@cee:", b"}", b"{", b'"', b"\\u0061", b"\xc4\x9b"]


def check_object(msg: bytes, source: random.Random) -> None:
    variants = [msg, msg + b"}", b"{" + msg, source.choice(_ENDS) + msg + source.choice(_ENDS)]
    for tags, reference in zip(_TAGS, _REFERENCES, strict=True):
        writer = objects.ObjectWriter(_KEY, members_of(_TOKEN), members_of(_TOKEN, tags), reference)
        for variant in variants:
            written = writer.write(variant)
            assert written == reference(variant)
            if written is not None:  # it has a token now
                assert writer.write(written) == written


def check_string(octets: bytes, source: random.Random) -> None:
    for variant in (octets, octets[source.randrange(len(octets) + 1) :], octets[::-1]):
        assert text.string(variant) == json_string(variant)
