"""Write pages of man(7) from text with the few marks of Markdown that our documents use."""

from __future__ import annotations

import re
from collections.abc import Iterable
from textwrap import wrap

_MARKS = re.compile(r"`([^`]+)`|\[([^\]]+)\]\([^)]*\)|\*\*([^*]+)\*\*")
_WIDTH = 78


class Page:
    """A page of a section of the manual, to which parts are added in their order."""

    def __init__(self, name: str, section: int, summary: str, *, date: str, version: str) -> None:
        title = f'.TH {name.upper()} {section} {date} "{version}" "syslogrelay manual"'
        self._lines = [title, ".SH NAME", f"{_escaped(name)} \\- {_marked(summary)}"]

    def section(self, title: str) -> None:
        """Titles are in upper case, except names in back quotes."""
        self._lines.append(f".SH {_quoted(title if '`' in title else title.upper())}")

    def subsection(self, title: str) -> None:
        self._lines.append(f".SS {_quoted(title)}")

    def paragraph(self, text: str) -> None:
        """One paragraph; its lines are filled."""
        self._begin_paragraph()
        self._lines += _filled(text)

    def paragraphs(self, text: str) -> None:
        """Paragraphs that empty lines separate."""
        for each in re.split(r"\n\s*\n", text.strip()):
            self.paragraph(each)

    def item(self, tag: str, *texts: str) -> None:
        """A term, and paragraphs that explain it."""
        first, *others = [text for text in texts if text] or ["\u00a0"]
        self._lines += [".TP", f"\\fB{_escaped(tag)}\\fR", *_filled(first)]
        for text in others:
            self._lines += [".IP", *_filled(text)]

    def literal(self, text: str) -> None:
        """Lines that stay as they are, with an indent."""
        lines = [_escaped(line) or "\\&" for line in text.strip("\n").split("\n")]
        self._begin_paragraph()
        self._lines += [".RS 4", ".nf", *lines, ".fi", ".RE"]

    def see_also(self, pages: Iterable[tuple[str, int]]) -> None:
        self.section("See also")
        marked = (f"\\fB{_escaped(name)}\\fR({section})" for name, section in pages)
        self._lines.append(",\n".join(marked))

    def _begin_paragraph(self) -> None:
        if not self._lines[-1].startswith((".SH", ".SS")):  # these begin one
            self._lines.append(".PP")

    def text(self) -> str:
        return "\n".join(self._lines) + "\n"


def _filled(text: str) -> list[str]:
    """A paragraph with its sentences on lines of their own, as man(7) wants it."""
    marked = _marked(" ".join(text.split()))
    sentences = re.split(r"(?<=[.:;!?]) (?=[A-Z])", marked)
    lines = [
        line
        for sentence in sentences
        for line in wrap(sentence, _WIDTH, break_long_words=False, break_on_hyphens=False)
    ]
    return [f"\\&{line}" if line.startswith((".", "'")) else line for line in lines]


def _marked(text: str) -> str:
    """`text` with code and strong words in bold, and links without their targets."""
    parts, position = [], 0
    for found in _MARKS.finditer(text):
        parts.append(_escaped(text[position : found.start()]))
        code, link, strong = found.groups()
        parts.append(_marked(link) if link else f"\\fB{_escaped(code or strong)}\\fR")
        position = found.end()
    return "".join([*parts, _escaped(text[position:])])


def _quoted(text: str) -> str:
    return '"' + _escaped(text.replace("`", "")).replace('"', "\\(dq") + '"'


def _escaped(text: str) -> str:
    """`text`, in which nothing means anything to troff; all of it ASCII."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("^", "\\(ha").replace("~", "\\(ti")
    text = re.sub(r"[^\0-\x7f]", lambda found: f"\\[u{ord(found[0]):04X}]", text)
    return f"\\&{text}" if text.startswith((".", "'")) else text
