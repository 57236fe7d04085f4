from __future__ import annotations

import re
import tomllib
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.policy import DrainRate
from relay.service.configuration.reading import Reading
from relay.service.configuration.table import (
    Anything,
    Choice,
    Choices,
    Duration,
    Expression,
    Flag,
    Leaf,
    Named,
    Networks,
    Permissions,
    Rate,
    Seconds,
    Size,
    Text,
    Texts,
    Whole,
    did_you_mean,
    join_path,
    plain,
    shown,
    size_text,
    size_value,
)

SIZE = Size(480, 16 * 2**20)
HUGE = 10**40  # TOML allows it


@pytest.mark.parametrize(
    ("kind", "value", "result"),
    [
        (Anything(), {"a": 1}, {"a": 1}),
        (Text(), "x", "x"),
        (Choice(("a", "b")), "b", "b"),
        (Choices(("a", "b", "c")), ["c", "a"], ("c", "a")),
        (Flag(), False, False),
        (Whole(1, 5), 5, 5),
        (SIZE, 480, 480),
        (SIZE, "64 KiB", 65536),
        (SIZE, "16MiB", 16 * 2**20),
        (SIZE, " 64 kib ", 65536),
        (SIZE, "1 kB", 1000),
        (SIZE, "500", 500),
        (SIZE, "500 B", 500),
        (Size(0, 2**40), "1 GiB", 2**30),
        (Seconds(0, 10), 3, 3.0),
        (Seconds(0, 10), 2.5, 2.5),
        (Duration(0, 86400), 90, 90.0),
        (Duration(0, 86400), "6h", 21600.0),
        (Duration(0, 86400), "1h30m", 5400.0),
        (Permissions(), 0o660, 0o660),
        (Texts(), ["a", "b"], ("a", "b")),
    ],
)
def test_good_values(kind: Leaf[object], value: object, result: object) -> None:
    found = kind.read(value)
    assert found == result
    assert type(found) is type(result)


@pytest.mark.parametrize(
    ("kind", "value", "problem"),
    [
        (Text("a path"), 5, "expected a path, found 5"),
        (Text("a path"), "", "expected a path, found an empty text"),
        (Text("a path"), "a\0b", r"expected a path, found 'a\x00b'"),
        (Text("a name", secret=True), 1234567890123456, "expected a name, found 1234…3456"),
        (Text("a name", "[a-z]", secret=True), "geheim", "expected a name, found ****"),
        (Choice(("cee", "tag")), "ceee", "one of cee, tag; found 'ceee', did you mean 'cee'?"),
        (Choice(("cee", "tag")), "TAG", "found 'TAG', did you mean 'tag'?"),
        (Choice(("cee", "tag")), "zzz", "expected one of cee, tag; found 'zzz'"),
        (Choice(("cee", "tag")), True, "expected one of cee, tag; found true"),
        (Flag(), 1, "expected true or false, found 1"),
        (Flag(), "true", "expected true or false, found 'true'"),
        (Whole(1, 100000), 0, "expected a whole number from 1 to 100,000, found 0"),
        (Whole(1, 5), 6, "found 6"),
        (Whole(1, 5), True, "found true"),
        (Whole(1, 5), 2.0, "found 2"),
        (Whole(1, 5), "2", "found '2'"),
        (Whole(1, 5), HUGE, "found a number of more than 30 digits"),
        (SIZE, 479, 'from 480 bytes to 16 MiB, as bytes or as a text such as "64 KiB"'),
        (SIZE, "17 MiB", "found '17 MiB'"),
        (SIZE, "64 furlongs", "found '64 furlongs'"),
        (SIZE, "-5", "found '-5'"),
        (SIZE, True, "found true"),
        (SIZE, 500.0, "found 500"),
        (Seconds(0.1, 3600), 0, "expected seconds, a number from 0.1 to 3,600, found 0"),
        (Seconds(0, 10), False, "found false"),
        (
            *(Duration(0, 86400), "6 hours"),
            "expected a time from 0 to 86,400 seconds, as seconds or as a text such as "
            '"90s", "30m", "6h" or "7d", found \'6 hours\'',
        ),
        (Duration(0, 86400), "2d", "found '2d'"),
        (Duration(0, 86400), -1, "found -1"),
        (Duration(0, 86400), True, "found true"),
        (Seconds(0, 10), float("nan"), "found nan"),
        (Seconds(0, 10), float("inf"), "found inf"),
        (Seconds(0, 10), HUGE, "found a number of more than 30 digits"),
        (Seconds(0, 10), "5 s", "found '5 s'"),
        (Permissions(), 666, "expected permissions from 0o000 to 0o777, such as 0o660, found 666"),
        (Permissions(), "0660", "found '0660'"),
        (Texts("a list of ids"), "a", "expected a list of ids, found 'a'"),
        (Texts("a list of ids"), [1], "expected a list of ids, found a list of 1"),
        (Texts("a list of ids"), [], "expected a list of ids, found an empty list"),
        (Texts(), ["a", "b", "a"], "'a' is in the list twice; remove one"),
    ],
)
def test_bad_values(kind: Leaf[object], value: object, problem: str) -> None:
    with pytest.raises(ValueError) as caught:
        kind.read(value)
    assert problem in str(caught.value)


def read(values: object, schema: dict[str, Leaf[object]]) -> tuple[dict[str, object], list[str]]:
    reading = Reading()
    return reading.table(values, schema, "sources.net"), reading.problems


def test_all_problems_of_a_table_are_reported_and_the_rest_is_read() -> None:
    schema: dict[str, Leaf[object]] = {
        "listen": Text("a URL"),
        "frames": Whole(1, 9),
        "flag": Flag(),
    }
    table, problems = read({"listen": 1, "frames": 3, "lissten": "x", "flag": 0}, schema)
    assert table == {"frames": 3}
    assert problems == [
        "sources.net.listen: expected a URL, found 1",
        "sources.net.lissten: unknown key, did you mean 'listen'? Allowed here: listen, frames, "
        "flag",
        "sources.net.flag: expected true or false, found 0",
    ]


def test_the_value_of_an_unknown_key_is_not_shown() -> None:
    _, problems = read({"token": "geheim"}, {"mode": Text()})
    assert problems == ["sources.net.token: unknown key. Allowed here: mode"]


@pytest.mark.parametrize(
    ("texts", "networks"),
    [
        (["10.0.0.0/8", "::1"], ["10.0.0.0/8", "::1/128"]),
        (["192.0.2.1"], ["192.0.2.1/32"]),
        (["10.0.0.0/255.0.0.0"], ["10.0.0.0/8"]),
        (["::ffff:10.0.0.0/104", "::ffff:192.0.2.1"], ["10.0.0.0/8", "192.0.2.1/32"]),
        (["::/0", "0.0.0.0/0"], ["::/0", "0.0.0.0/0"]),
    ],
)
def test_networks(texts: list[str], networks: list[str]) -> None:
    assert [str(network) for network in Networks().read(texts)] == networks


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("10.0.0.0/8", "expected a list of addresses and networks, such as"),
        ([], "found an empty list"),
        (["::1", "::1"], "twice"),
        (["web-1"], "such as 192.0.2.1 or 10.0.0.0/8, found 'web-1'"),
        (["10.0.0.0/33"], "found '10.0.0.0/33'"),
        (["10.0.0"], "found '10.0.0'"),
        (
            ["10.0.0.1/8"],
            "'10.0.0.1/8' has bits set after its prefix; write 10.0.0.0/8 for the network or "
            "10.0.0.1 for the one address",
        ),
    ],
)
def test_what_is_no_list_of_networks(value: object, problem: str) -> None:
    with pytest.raises(ValueError) as caught:
        Networks().read(value)
    assert problem in str(caught.value)


def test_something_else_than_a_table() -> None:
    assert read([1, 2], {}) == ({}, ["sources.net: expected a table, found a list of 2"])


@given(st.text(min_size=1))
def test_a_joined_path_is_one_line_and_means_the_key(key: str) -> None:
    path = join_path("", key)
    assert len(path.splitlines()) == 1
    assert path.isprintable()
    if path.startswith('"') and all(" " <= character <= "~" for character in key):
        assert list(tomllib.loads(f"{path} = 1")) == [key]


def test_paths_are_written_as_in_toml() -> None:
    assert join_path("", "relay") == "relay"
    assert join_path("sources", "a-b_1") == "sources.a-b_1"
    assert join_path("sources", "a.b") == 'sources."a.b"'


def test_what_was_found_in_words() -> None:
    assert shown({}) == "a table"
    assert shown(date(2024, 1, 2)) == "2024-01-02"
    assert shown("a\nb") == r"'a\nb'"
    assert len(shown("x" * 1000)) < 100
    assert shown(1 << 20000) == "a number of more than 30 digits"  # Python would refuse str()


def test_sizes_for_people() -> None:
    message = [size_text(size) for size in (0, 480, 1024, 1536, 2**24, 2**44)]
    assert message == ["0 bytes", "480 bytes", "1 KiB", "1,536 bytes", "16 MiB", "16 TiB"]


def test_sizes_for_files_are_read_back() -> None:
    sizes = (0, 480, 1536, 1024, 2**31, 500 * 2**20, 2**44, 2**50)
    written = [size_value(size) for size in sizes]
    assert written == [*(0, 480, 1536), *("1 KiB", "2 GiB", "500 MiB", "16 TiB"), 2**50]
    assert [Size(0, 2**60).read(each) for each in written] == [*sizes]


def test_suggestions() -> None:
    assert did_you_mean("LISTEN", ["listen", "mode"]) == ", did you mean 'listen'?"
    assert did_you_mean("zzz", ["listen"]) == ""


@pytest.mark.parametrize("text", [r"^\S", "ä|b", "."])
def test_expressions(text: str) -> None:
    assert Expression().read(text) == text


@pytest.mark.parametrize("value", ["(", "", 5, "[a", "x" + "{1}" * 3 + "**"])
def test_bad_expressions(value: object) -> None:
    with pytest.raises(ValueError, match="regular expression"):
        Expression().read(value)


@pytest.mark.parametrize(
    ("value", "rate"),
    [
        ("2 MiB", DrainRate(bytes_per_second=2 * 1024**2)),
        (4096, DrainRate(bytes_per_second=4096)),
        ("3x", DrainRate(live_multiple=3)),
        ("1.5 x", DrainRate(live_multiple=1.5)),
    ],
)
def test_rates(value: object, rate: DrainRate) -> None:
    assert Rate().read(value) == rate


@pytest.mark.parametrize("value", ["1x", "0x", "1001x", "x", 100, "fast", True, "2 parsecs"])
def test_what_is_no_rate(value: object) -> None:
    with pytest.raises(ValueError, match="expected a size per second from 1 KiB"):
        Rate().read(value)


def test_a_number_may_have_a_name() -> None:
    kind = Named({"low": 0, "mid": 2}, 3)
    assert [kind.read(value) for value in ("low", "MID", 0, 3)] == [0, 2, 0, 3]
    for value, found in (
        ("lwo", "'lwo', did you mean 'low'?"),
        (4, "4;"),
        (-1, "-1;"),
        (True, "true;"),
        ("3", "'3';"),
        (1.0, "1;"),
    ):
        with pytest.raises(ValueError, match=re.escape(f"found {found} allowed are 0 to 3 and")):
            kind.read(value)


def test_all_that_is_wrong_in_a_list_is_named() -> None:
    with pytest.raises(ValueError, match="'a', 'b' are in the list twice"):
        Texts().read(["a", "b", "a", "b"])
    with pytest.raises(ValueError, match="found 'x'; expected one of a, b; found 'y'"):
        Choices(("a", "b")).read(["x", "a", "y"])


def test_numbers_have_all_of_their_digits() -> None:
    assert [plain(number) for number in (31_536_000.0, 0.01, 3_153_600_000.0, 2.5)] == [
        *("31,536,000", "0.01", "3,153,600,000", "2.5"),
    ]
    with pytest.raises(ValueError, match="a time from 0 to 3,153,600,000 seconds"):
        Duration(0, 3_153_600_000.0).read(-1)
