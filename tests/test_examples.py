"""The configurations in deploy/ beyond their being right: what they do with tokens."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path

import pytest

from relay.model.origin import Arrival, Origin, Transport
from relay.model.token import HEADERS_OF, Token
from relay.service.configuration.file import read_configuration
from relay.service.configuration.model import Configuration
from relay.service.kinds import KINDS
from relay.service.routes.lookup_file import LookupFile
from relay.service.routes.rewriting import Rewriting, token_form
from relay.wire.parse import read_lines
from tests.documents import ROOT, make_stand_ins, with_stand_ins

EXAMPLES = sorted((ROOT / "deploy").glob("*.toml"))
SECRET = b"99999999-8888-7777-6666-555555555555"
ORIGIN = Origin("in", Transport.TCP, "192.0.2.1", received_at=1.0)
BY_HAND = [
    b'my-host my-process:@cee: {"logsene-app-token": "%s", "message": "x"}' % SECRET,
    b'<13>1 2026-10-11T22:14:15Z h a - - - {"m":1,"logsene-app-token":"%s"}' % SECRET,
    b"my-host %s:hello world!" % SECRET,
    b"<13>Oct 11 22:14:15 h %s[77]: x" % SECRET,
    b"<13>1 2026-10-11T22:14:15Z h %s 77 - - x" % SECRET,
]


def with_tokens() -> list[bytes]:
    """Messages with a token, also as relays send them."""
    lines = read_lines([b"<13>Oct 11 22:14:15 h su[77]: x"])
    forms = [
        token_form(mode, Token(SECRET), relay_name=b"vm", zone=UTC, header=header)
        for mode, headers in HEADERS_OF.items()
        for header in headers
    ]
    arrival = Arrival.of_one(1, ORIGIN)
    return BY_HAND + [payload for form in forms for payload in form.write(lines, None, arrival)]


def example(path: Path, folder: Path) -> Configuration:
    made = folder / "etc"
    made.mkdir()
    make_stand_ins(made)
    (made / "relay.toml").write_text(with_stand_ins(path.read_text(), made))
    return read_configuration(str(made / "relay.toml"), KINDS)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_no_example_writes_a_token_into_a_file(path: Path, tmp_path: Path) -> None:
    configuration = example(path, tmp_path)
    rewriting = Rewriting(configuration, zone=UTC, now=float, lookup=LookupFile)
    frames = with_tokens()
    assert all(SECRET in frame for frame in frames)
    for destination in configuration.destinations:
        if destination.connect.scheme != "file":
            continue
        rewrite = rewriting.route(destination).rewrite
        assert rewrite is not None, "frames as they came, with their tokens"
        payloads = rewrite.write(read_lines(frames), None, Arrival.of_one(len(frames), ORIGIN))
        assert len(payloads) == len(frames)
        for payload in payloads:
            assert SECRET not in payload


def test_some_example_writes_files() -> None:
    assert sum('connect = "file:' in path.read_text() for path in EXAMPLES) >= 2
