from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from relay.cli.main import main

VECTORS = json.loads((Path(__file__).parents[1] / "wire" / "vectors" / "parse.json").read_text())
FIELDS = {
    "host": "hostname",
    "program": "app_name",
    "pid": "procid",
    "msgid": "msgid",
    "message": "msg",
    "facility": "facility",
    "severity": "severity",
}


def run(*arguments: str, input: str = "") -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["explain", *arguments], input=input.encode())
    return result.exit_code, result.stdout, result.stderr


def options_of(vector: dict[str, Any]) -> list[str]:
    options = vector.get("options", {})
    named = [*options.get("flags", [])]
    named += [f"encoding={options['encoding']}"] if "encoding" in options else []
    named += [f"log-msg-size={options['log_msg_size']}"] if "log_msg_size" in options else []
    mode = vector["mode"].replace("ewmm", "auto")
    return [
        "--mode",
        mode,
        "--now",
        vector["now"],
        "--zone",
        vector["tz"],
        "--options",
        ",".join(named),
    ]


def fits(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    if expected.get("error"):
        return found["error"] is not None
    sdata = {
        id: {name: values[-1] for name, values in element.items()}
        for id, element in found["structured_data"].items()
    }
    stamps = [
        stamp and datetime.fromisoformat(stamp)
        for stamp in (found["timestamp"], expected["timestamp"])
    ]
    same = stamps[0] == stamps[1] and (
        stamps[0] is None or stamps[0].utcoffset() == stamps[1].utcoffset()
    )
    return (
        same
        and sdata == expected["sdata"]
        and all(
            (found[ours] or None) == (expected.get(theirs) or None)
            or found[ours] == expected.get(theirs)
            for theirs, ours in FIELDS.items()
        )
    )


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_vectors_come_out_as_one_of_their_outcomes(vector: dict[str, Any]) -> None:
    line = json.dumps({"frame": vector["input"]}) + "\n"
    status, output, _ = run("--json", *options_of(vector), input=line)
    assert status == 0
    found = json.loads(output)
    outcomes = [vector["expected"], *(a["expected"] for a in vector.get("alternatives", []))]
    assert any(fits(found, outcome) for outcome in outcomes), found
    for name, value in vector.get("nv", {}).items():
        assert found["pairs"][name] == value


def test_one_object_for_each_line() -> None:
    lines = '{"frame": "<13>a"}\n\n{"frame": "\\u00e9"}\n'
    _, output, _ = run("--json", input=lines)
    read = [json.loads(line) for line in output.splitlines()]
    assert [(fields["app_name"], fields["msg"]) for fields in read] == [(None, "a"), (None, "é")]


@pytest.mark.parametrize(
    ("arguments", "input", "message"),
    [
        (["--json"], "{}", "line 1: expected"),
        (["--json"], '{"frame": "\\u20ac"}', "characters up to U+00FF"),
        (["--now", "noon", "x"], "", "--now: expected a time such as"),
        (["--zone", "Mars", "x"], "", "--zone: expected a time zone"),
        (["--options", "no-pars", "x"], "", "--options.no_pars: unknown key, did you mean"),
        (["--peer", "nope", "x"], "", "--peer: expected an address, such as"),
        (["--config", "/none.toml", "x"], "", "/none.toml: cannot read it"),
    ],
)
def test_mistakes_are_said(arguments: list[str], input: str, message: str) -> None:
    status, output, error = run(*arguments, input=input)
    assert (status, output) == (2, "")
    assert message in error


def test_a_message_is_utf8_and_standard_input_is_what_a_source_receives() -> None:
    options = ("--options", "encoding=utf-16le")
    _, output, _ = run(*options, "<13>Oct 11 22:14:15 web app: café")
    assert "café" in output
    assert "web" in output
    wide = "<13>Oct 11 22:14:15 web app: café".encode("utf-16le").decode("latin-1")
    _, output, _ = run(*options, "--json", input=json.dumps({"frame": wide}))
    assert json.loads(output)["msg"] == "café".encode().decode("latin-1")


def test_people_see_fields_and_no_control_characters() -> None:
    status, output, _ = run(
        "<34>Oct 11 22:14:15 web su[7]: a\x1b[31mb",
        "--now",
        "2026-11-21T12:00:00Z",
        "--zone",
        "UTC",
    )
    assert status == 0
    assert "4 (auth)" in output
    assert "2 (crit)" in output
    assert "2026-10-11T22:14:15+00:00" in output
    assert r"a\x1b[31mb" in output


def test_people_see_who_gets_it(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    path.write_text(
        """
        [relay]
        name = "here"
        [sources.in]
        listen = "tcp://127.0.0.1:5514"
        [destinations.all]
        connect = "file:///var/log/all"
        [destinations.errors]
        connect = "file:///var/log/errors"
        match = { severity = "..err" }
        """
    )
    _, output, _ = run("--config", str(path), "<13>hello")
    assert "→ all: takes everything\n    <13>hello" in output
    assert "✗ errors: match does not fit: severity" in output
    _, output, _ = run("--json", "--config", str(path), input='{"frame": "<13>hello"}')
    destinations = json.loads(output)["destinations"]
    assert destinations["all"] == {"taken": True, "why": "takes everything", "payload": "<13>hello"}
    assert destinations["errors"]["taken"] is False


def test_a_missing_token_is_masked_and_said_and_what_refuses_the_start_is_an_error(
    tmp_path: Path,
) -> None:
    path = tmp_path / "relay.toml"
    text = """[sources.in]
listen = "tcp://127.0.0.1:5514"
[destinations.cloud]
connect = "tcp://127.0.0.1:514"
rewrite = { mode = "cee", token_file = "none" }
"""
    path.write_text(text)
    status, output, error = run("--config", str(path), "<13>Oct 11 22:14:15 web app: hello")
    assert status == 0
    assert '"logsene-app-token": "****"' in output
    missing, placeholder = error.splitlines()
    assert missing.startswith(f"{path}:5: destinations.cloud.rewrite.token_file: cannot read")
    assert missing.endswith("; the relay starts and waits for it")
    assert placeholder == "**** below stands for a token that could not be read"
    (tmp_path / "none").write_text("0123456789abcdef0123")
    assert run("--config", str(path), "<13>hello")[2] == ""
    path.write_text(text + "x = 1\n")
    status, output, error = run("--config", str(path), "<13>hello")
    assert (status, output) == (2, "")
    assert f"{path}:6: destinations.cloud.x: unknown key" in error
