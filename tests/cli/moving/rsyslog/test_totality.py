"""Whatever is in the file: an import ends with a refusal of one line, or with a report."""

from __future__ import annotations

import tempfile
import tomllib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from relay.cli.moving.acceptance import accepted_tables
from relay.cli.moving.files import ImportRefused, InputFiles
from relay.cli.moving.rsyslog.dialect import RSYSLOG
from relay.cli.toml_writing import write_toml
from relay.service.configuration.file import read_tables
from relay.service.kinds import KINDS
from tests.any_messages import many_examples

CORPUS = Path(__file__).parents[1] / "corpus" / "rsyslog"
TEXTS = [path.read_text() for path in sorted(CORPUS.glob("*.conf"))]
LINES = sorted(
    {line for text in TEXTS for line in text.splitlines() if "include" not in line.lower()}
)
WORDS = [
    *("if ", " then ", " else ", "{", "}", "(", ")", "[", "]", '"', "'", "`", "%", "$", "\\", ";"),
    *("&", "~", "@@", "/*", "#", "\n", "$!x", "$.y", "$msg", " and ", " or ", "not ", "== ", "1"),
    *("set ", "unset ", "call ", "stop", "foreach ", "action(", "type=", "template(", ":msg, "),
    *("%msg:R,ERE,1:", "--end%", "%msg:F,44:2%", "\x00", "\u202e", "*.*", "mail.=info", "-/x "),
]
PIECES = st.one_of(
    st.sampled_from(LINES).map(lambda line: f"{line}\n"),
    st.sampled_from(WORDS),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A configuration of the corpus with some of it cut out, doubled or moved."""
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 4))):
        start, stop = sorted(draw(st.tuples(*[st.integers(0, len(text))] * 2)))
        stop = min(stop, start + 40)
        piece = draw(st.sampled_from([text[start:stop] * 2, "", draw(st.sampled_from(WORDS))]))
        text = text[:start] + piece + text[stop:]
    return text.replace("nclude", "ncluded")


@many_examples(100)  # each reads a whole configuration twice
@given(st.one_of(st.lists(PIECES, max_size=25).map("".join), damaged()))
def test_garbage_ends_with_a_refusal_or_a_report(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.conf"
        path.write_text(text)
        try:
            imported = RSYSLOG.read(InputFiles(), str(path))
        except ImportRefused as error:
            assert "\n" not in str(error)
            return
        tables = tomllib.loads(write_toml(accepted_tables(imported)))
        for line in imported.report.lines():
            assert line.isprintable()
        _, problems = read_tables(tables, KINDS, base_dir=folder)
    # Certificates and tables of the corpus are not here.
    assert [problem for problem in problems if not _is_expected(problem)] == []


def _is_expected(problem: str) -> bool:
    return any(words in problem for words in ("No such file", ".csv", ".token", ".secret"))
