"""Character sets other than UTF-8: cutting lines, and conversion to UTF-8.

Everything after the sources is UTF-8.  In a superset of US-ASCII, such as ISO-8859-1, the
bytes that end lines and make up headers are what they seem, so lines are cut first and
converted then.  In others (UTF-16, EBCDIC) they are not: a text has to be whole before it is
converted, or be cut where a line feed is written in *this* character set.
"""

from __future__ import annotations

import codecs
import warnings
from functools import cached_property, lru_cache

from relay.wire.framing.byte_order_mark import without_byte_order_mark

HEAD_BYTES = 4
"""How many bytes at the beginning of a text its byte order mark may take."""

_ASCII = bytes(range(128))
_MARK = "\ufeff"
# By the bytes of a character that is not longer than others.  The longer marks come first:
# that of UTF-16LE is the beginning of that of UTF-32LE.
_MARKS = {
    4: ((codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be")),
    2: ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")),
}


class Charset:
    """One of Python's text encodings.

    Args:
        name: Any of its names, such as ``ISO-8859-1``.

    Raises:
        ValueError: There is no such encoding, or it is none of text.
    """

    def __init__(self, name: str) -> None:
        try:
            codec = codecs.lookup(name).name
            b"a".decode(codec, "replace")
        except (LookupError, UnicodeError) as error:
            raise ValueError(f"encoding {name!r}: {error}") from error
        # A mark at the start of a text is removed in any case.
        self.name = "utf-8" if codec == "utf-8-sig" else codec

    @cached_property
    def is_ascii_superset(self) -> bool:
        """Whether bytes below 128 are US-ASCII wherever they stand between characters.

        Found out by converting all of US-ASCII there and back; and no other character may be
        written in these bytes alone, as ISO-2022-JP does it between escape sequences.
        """
        text = _ASCII.decode("ascii")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                same = _ASCII.decode(self.name) == text and text.encode(self.name) == _ASCII
        except UnicodeError:
            return False
        others = _others().encode(self.name, "ignore") if same else b""
        return same and not (others and others.isascii())

    @cached_property
    def line_feed(self) -> bytes:
        """How LF is written; empty if that does not tell where lines end.

        Of several bytes the first one stands at a multiple of their number.
        """
        try:
            one, two = (text.encode(self.name) for text in ("\n", "\n\n"))
            data = one[len(one) - (len(two) - len(one)) :]
            if data.decode(self._marked_name(b"")) != "\n":
                return b""
        except UnicodeError:
            return b""
        return data if len(data) == 1 or self.name.startswith(("utf-16", "utf-32")) else b""

    @cached_property
    def shrinkage_max(self) -> int:
        """How many bytes may become one byte of UTF-8; not less than that."""
        if not self.is_ascii_superset:
            return 4 if len(self.line_feed) > 1 else 8  # escape sequences take some
        return 1 if len(bytes(range(256)).decode(self.name, "replace")) == 256 else 4

    def marked(self, head: bytes) -> Charset:
        """The character set of a text that begins with `head`.

        Of UTF-16 and UTF-32 a byte order mark says which; without one it is little endian,
        unless this character set says otherwise.
        """
        name = self._marked_name(head)
        return self if name == self.name else Charset(name)

    def without_mark(self, data: bytes) -> bytes:
        """The beginning of a text without a byte order mark."""
        if self.is_ascii_superset:
            return without_byte_order_mark(data)
        for mark, name in _MARKS.get(len(self.line_feed), ()):
            if name == self.name:
                return data.removeprefix(mark)
        return data

    def to_utf8(self, data: bytes) -> bytes:
        """A whole text in UTF-8, without a byte order mark at its beginning.

        What means nothing becomes U+FFFD; a text that cannot be converted at all stays as it is.
        """
        charset = self.marked(data[:HEAD_BYTES])
        return charset.line_to_utf8(charset.without_mark(data))

    def line_to_utf8(self, data: bytes) -> bytes:
        """Like `to_utf8`, for text from the middle of another one."""
        try:
            return data.decode(self.name, "replace").encode("utf-8", "replace")
        except UnicodeError:
            return data

    def _marked_name(self, head: bytes) -> str:
        family = self.name[:6]
        if family not in ("utf-16", "utf-32"):
            return self.name
        for mark, name in _MARKS[2 if family == "utf-16" else 4]:
            if head.startswith(mark):
                return name
        return f"{family}-le" if self.name == family else self.name


@lru_cache(1)
def _others() -> str:
    """The characters of the Basic Multilingual Plane beyond US-ASCII; made when first asked for.

    To make it takes 1.5 MiB and 10 ms, and most sources have no character set but UTF-8.
    """
    return "".join(map(chr, [*range(0x80, 0xD800), *range(0xE000, 0x10000)]))


def whole_characters(text: bytes, bytes_max: int) -> bytes:
    """The beginning of `text`, UTF-8, in at most so many bytes, without a part of a character."""
    if len(text) <= bytes_max:
        return text
    while bytes_max and text[bytes_max] & 0xC0 == 0x80:  # a later byte of a sequence (RFC 3629 §3)
        bytes_max -= 1
    return text[:bytes_max]
