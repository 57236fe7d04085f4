from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from relay.model.token import Token
from relay.service.configuration.model import RewriteConfiguration, TokenChoice
from relay.service.configuration.reading import Reported
from relay.service.configuration.tables.rewrite import (
    Rewrites,
    names_a_form,
    token_from_environment,
    token_from_file,
)
from tests.written import filter_of, reading_in, steps_of

SECRET = "0f8fad5b-d9cb-469f-a165-70867728950e"


def read(values: object, base_dir: Path) -> tuple[RewriteConfiguration, list[str]]:
    reading = reading_in(str(base_dir))
    rewrite = RewriteConfiguration()
    with suppress(Reported):
        rewrite = reading.read(Rewrites(), values, "d.rewrite")
    return rewrite, reading.problems + reading.unready


@pytest.fixture
def token_dir(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text(f"  {SECRET}\n")
    return tmp_path


def test_a_token_from_a_file_relative_to_the_configuration(token_dir: Path) -> None:
    rewrite, problems = read({"mode": "cee", "token_file": "token"}, token_dir)
    assert (rewrite, problems) == (RewriteConfiguration("cee", Token(SECRET.encode())), [])


def test_a_token_from_the_environment(token_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_TOKEN", SECRET)
    rewrite, problems = read({"mode": "tag", "token_env": "RELAY_TOKEN"}, token_dir)
    assert (rewrite, problems) == (RewriteConfiguration("tag", Token(SECRET.encode())), [])


@pytest.mark.parametrize("mode", ["none", "ewmm"])
def test_modes_without_a_token(mode: str, token_dir: Path) -> None:
    assert read({"mode": mode}, token_dir) == (RewriteConfiguration(mode), [])
    _, problems = read({"mode": mode, "token_file": "token"}, token_dir)
    assert problems == [
        f"d.rewrite.token_file: has no meaning for mode '{mode}', only for cee, json, tag, "
        "app-name; remove it"
    ]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, 'd.rewrite.mode: is missing; write for example mode = "cee"'),
        ("cee", "d.rewrite: expected a table, found 'cee'"),
        (
            {"mode": "cea", "token_file": "token"},
            "d.rewrite.mode: expected one of none, cee, json, tag, app-name, ewmm; found 'cea', "
            "did you mean 'cee'?",
        ),
        (
            {"mode": "cee"},
            "d.rewrite: mode 'cee' has no token; write either token_file = \"PATH\" or "
            'token_env = "NAME"',
        ),
        (
            {"mode": "app-name", "token_file": "token", "token_env": "X"},
            "d.rewrite: mode 'app-name' has both token_file and token_env; write either token_file "
            '= "PATH" or token_env = "NAME"',
        ),
        (
            {"mode": "cee", "token_file": "token", "token": SECRET},
            "d.rewrite.token: unknown key, did you mean 'tokens'? Allowed here: mode, "
            "token_file, token_env, tokens, structured_data, header",
        ),
        (
            {"mode": "cee", "token_env": "RELAY_NO_SUCH_VARIABLE"},
            "d.rewrite.token_env: the environment variable RELAY_NO_SUCH_VARIABLE is not set; set "
            "it",
        ),
        (
            {"mode": "cee", "token_env": SECRET},
            "d.rewrite.token_env: expected the name of an environment variable, found 0f8f…950e",
        ),
        (
            {"mode": "cee", "token_env": "a" + SECRET.replace("-", "")},
            "d.rewrite.token_env: the environment variable a0f8…950e is not set; set it",
        ),
    ],
)
def test_problems(values: object, expected: str, token_dir: Path) -> None:
    _, problems = read(values, token_dir)
    assert problems == [expected]
    assert SECRET not in problems[0]


def test_a_token_in_place_of_its_file_is_masked(tmp_path: Path) -> None:
    _, problems = read({"mode": "cee", "token_file": SECRET}, tmp_path)
    assert problems == [
        f"d.rewrite.token_file: cannot read the token file {tmp_path}/0f8f…950e: No such file or "
        "directory"
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b" \n", "the token file {} is empty; put the token into it"),
        (b"two words", "the token file {} holds no token: a token is printable ASCII without"),
        (b"x" * 256, "the token file {} holds no token: a token has 1 to 255 characters"),
        (b"x" * 5000, "{} is larger than 4096 bytes; expected a file with nothing but the token"),
    ],
    ids=["empty", "spaces", "long", "huge"],
)
def test_bad_token_files(content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        token_from_file(str(path))
    assert expected.format(path) in str(caught.value)
    assert "xxxx" not in str(caught.value)
    assert "words" not in str(caught.value)


def test_a_folder_is_no_token_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read the token file .*: Is a directory"):
        token_from_file(str(tmp_path))


def test_an_empty_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_TOKEN", "")
    with pytest.raises(ValueError, match="the environment variable RELAY_TOKEN is empty"):
        token_from_environment("RELAY_TOKEN")


@pytest.mark.parametrize(
    ("mode", "token", "text"),
    [("tag", "a:b", "cannot contain a colon"), ("app-name", "x" * 49, "48 characters")],
)
def test_a_token_that_does_not_fit_its_place(
    tmp_path: Path, mode: str, token: str, text: str
) -> None:
    (tmp_path / "token").write_text(token)
    reading = reading_in(str(tmp_path))
    values = {"mode": mode, "token_file": "token"}
    reading.read(Rewrites(), values, "destinations.a.rewrite")
    assert reading.problems == []
    (problem,) = reading.unready
    assert problem.startswith("destinations.a.rewrite.token_file: ")
    assert text in problem


def test_a_list_is_steps_and_perhaps_a_form(token_dir: Path) -> None:
    tables = [{"unset": ["PID"]}, {"drop": "x"}]
    steps = steps_of(*tables)
    assert read(tables, token_dir) == (RewriteConfiguration(steps=steps), [])
    form = {"mode": "tag", "token_file": "token"}
    assert read([*tables, form], token_dir) == (
        RewriteConfiguration("tag", Token(SECRET.encode()), steps=steps),
        [],
    )
    assert read([], token_dir) == (RewriteConfiguration(), [])


def test_a_form_comes_last(token_dir: Path) -> None:
    _, problems = read([{"mode": "ewmm"}, {"drop": "x"}], token_dir)
    assert problems == [
        "d.rewrite[0]: the table with a mode must come last; move it to the end of the list"
    ]
    _, problems = read([{"drop": "x"}, {"mode": "cea"}], token_dir)
    assert problems[0].startswith("d.rewrite[1].mode: expected one of")


def test_who_says_what_is_sent() -> None:
    assert names_a_form({"mode": "ewmm"})
    assert names_a_form([{"drop": "x"}, {"mode": "ewmm"}])
    for other in ({"mode": "none"}, [{"drop": "x"}], [], None, "x"):
        assert not names_a_form(other)


def test_several_tokens(token_dir: Path) -> None:
    (token_dir / "mail").write_text("mail-token")
    match = {"facility": "mail"}
    tokens = [{"match": match, "token_file": "mail"}, {"token_file": "token"}]
    assert read({"mode": "cee", "tokens": tokens}, token_dir) == (
        RewriteConfiguration(
            "cee",
            Token(SECRET.encode()),
            tokens=(
                # The slot is in queues on disk.
                TokenChoice(Token(b"mail-token"), filter_of(match), b"match-cdccd38c2f7a7ae5"),
            ),
        ),
        [],
    )


def test_a_token_is_known_even_if_a_step_is_wrong(token_dir: Path) -> None:
    rewrite, problems = read([{"a": 1}, {"mode": "cee", "token_file": "token"}], token_dir)
    assert rewrite.known_tokens == [Token(SECRET.encode())]
    assert len(problems) == 1


@pytest.mark.parametrize(
    ("tokens", "problem"),
    [
        ("x", "d.rewrite.tokens: expected a list such as"),
        ([], "d.rewrite.tokens: expected a list such as"),
        ([{"token_file": "token", "match": {}}], "tokens[0]: the last one is for all other"),
        ([{"token_file": "token"}] * 2, "tokens[0]: has no match; only the last may"),
        ([{}], "tokens[0]: expected one of token_file"),
        ([{"token_file": "none"}], "tokens[0].token_file: cannot read the token file"),
    ],
)
def test_what_is_wrong_with_several_tokens(tokens: object, problem: str, token_dir: Path) -> None:
    _, problems = read({"mode": "cee", "tokens": tokens}, token_dir)
    assert len(problems) == 1
    assert problem in problems[0]


def test_structured_data_is_a_key_of_cee(token_dir: Path) -> None:
    values = {"mode": "cee", "token_file": "token", "structured_data": True}
    rewrite, problems = read(values, token_dir)
    assert problems == []
    assert rewrite.structured_data
    rewrite, problems = read({"mode": "cee", "tokens": [{"token_file": "token"}]}, token_dir)
    assert not rewrite.structured_data
    for mode in ("none", "tag", "app-name", "ewmm"):
        _, problems = read({**values, "mode": mode}, token_dir)
        assert problems == [
            f"d.rewrite.structured_data: has no meaning for mode {mode!r}, only for cee and json; "
            "remove it"
        ]


def test_the_header_of_a_form_with_a_token(token_dir: Path) -> None:
    rewrite, problems = read(
        {"mode": "json", "token_file": "token", "header": "rfc3164"}, token_dir
    )
    assert (rewrite.header, problems) == ("rfc3164", [])
    for mode, allowed in (("app-name", "rfc5424"), ("none", "none"), ("ewmm", "none")):
        _, problems = read({"mode": mode, "token_file": "token", "header": "rsyslog"}, token_dir)
        assert (
            problems[0]
            == f"d.rewrite.header: found 'rsyslog'; allowed for mode {mode!r}: {allowed}"
        )
