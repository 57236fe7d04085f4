from __future__ import annotations

from pathlib import Path

import pytest

from relay.model.errors import ConfigurationError
from relay.service.configuration.file import read_configuration
from relay.service.configuration.model import Configuration
from relay.service.direct.fitness import may_drop
from tests.log_kind import WITH_LOG

DIRECT = """
    [relay]
    state_dir = "state"
    [sources.net]
    listen = "relp://127.0.0.1:0"
    answer = "bus"
    {source}
    [sources.other]
    listen = "udp://127.0.0.1:0"
    [destinations.bus]
    connect = "log://paper"
    sources = ["net"]
    {bus}
    [destinations.file]
    connect = "file:///tmp/never"
    sources = {of_file}
"""


def read(
    folder: Path, *, source: str = "", bus: str = "", of_file: str = '["other"]'
) -> Configuration:
    path = folder / "relay.toml"
    path.write_text(DIRECT.format(source=source, bus=bus, of_file=of_file))
    return read_configuration(str(path), WITH_LOG)


def problem(folder: Path, **given: str) -> str:
    with pytest.raises(ConfigurationError) as refused:
        read(folder, **given)
    return "\n".join(refused.value.problems)


def test_a_source_may_be_answered_by_a_log(tmp_path: Path) -> None:
    configuration = read(tmp_path)
    assert [each.answered_by for each in configuration.sources] == ["bus", ""]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"source": "multi_line = '^x'"}, "multi_line"),
        ({"source": 'oversize = "split"'}, "the pieces of a message that is split"),
        ({"of_file": '["net", "other"]'}, "net also leads to file"),
        ({"bus": "rewrite = [{suppress_repeats = 10}]"}, "the step suppress_repeats of bus"),
        ({"bus": 'order = "live-first"'}, "order of bus would have no effect"),
        ({"bus": 'history = "1d"\nqueue_bytes_max = "9 MiB"'}, "queue_bytes_max, history of bus"),
        ({"bus": "rewrite = [{group_by = '$HOST', seconds_max = 1}]"}, "the step group_by of bus"),
        ({"bus": 'rewrite = {mode = "cee", token_file = "never"}'}, "writes a token"),
    ],
)
def test_what_could_not_be_answered_rightly_is_refused(
    tmp_path: Path, given: dict[str, str], expected: str
) -> None:
    found = problem(tmp_path, **given)
    assert "sources.net.answer" in found
    assert expected in found


@pytest.mark.parametrize(
    ("bus", "expected"),
    [
        ("file", "cannot answer for senders; name a destination with one of"),
        ("buss", "there is no destination 'buss', did you mean 'bus'?"),
    ],
)
def test_only_logs_answer(tmp_path: Path, bus: str, expected: str) -> None:
    path = tmp_path / "relay.toml"
    text = DIRECT.replace('answer = "bus"', f'answer = "{bus}"')
    path.write_text(text.format(source="", bus="", of_file='["other"]'))
    with pytest.raises(ConfigurationError) as refused:
        read_configuration(str(path), WITH_LOG)
    assert expected in refused.value.problems[0].replace('"', "'")


def test_the_log_has_to_take_from_the_source(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    text = DIRECT.replace('sources = ["net"]', 'sources = ["other"]')
    path.write_text(text.format(source="", bus="", of_file='["net"]'))
    with pytest.raises(ConfigurationError) as refused:
        read_configuration(str(path), WITH_LOG)
    assert "bus does not take from net" in str(refused.value.problems)


@pytest.mark.parametrize(
    ("bus", "drops"),
    [
        ("", False),
        ("rewrite = [{set_severity = 'err'}]", False),
        ("match = {severity = '..err'}", True),
        ("rewrite = [{sample = 2}]", True),
        ("rewrite = [{drop = 'noise', match = {msg = ['x']}}]", True),
        ("format = {name = 'json'}", True),
    ],
)
def test_routes_that_may_drop_are_known(tmp_path: Path, bus: str, drops: bool) -> None:
    found = read(tmp_path, bus=bus).destinations
    assert [may_drop(each) for each in found if each.id == "bus"] == [drops]


@pytest.mark.parametrize("listen", ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"])
def test_the_key_is_for_relp(tmp_path: Path, listen: str) -> None:
    path = tmp_path / "relay.toml"
    text = DIRECT.replace("relp://127.0.0.1:0", listen)
    path.write_text(text.format(source="", bus="", of_file='["other"]'))
    with pytest.raises(ConfigurationError) as refused:
        read_configuration(str(path), WITH_LOG)
    assert "sources.net.answer: has no meaning for" in str(refused.value.problems)
