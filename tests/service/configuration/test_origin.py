from __future__ import annotations

from relay.service.configuration.origin import Origin, TomlFile
from relay.service.configuration.toml_text import parse_toml

FIRST = "[relay]\nname = 'a'\n[[tests]]\nframe = 'x'\n"
SECOND = "[[tests]]\nframe = 'y'\n[[tests]]\nframe = 'z'\n[relay]\nhops_max = 3\n"


def origin(**texts: str) -> Origin:
    files = [TomlFile(name, text, parse_toml(text)) for name, text in texts.items()]
    whole = Origin(files, {})
    for file in files:
        whole.add(file)
    return whole


def test_entries_of_lists_are_counted_through_all_files() -> None:
    whole = origin(first=FIRST, second=SECOND)
    assert whole.values["tests"] == [{"frame": "x"}, {"frame": "y"}, {"frame": "z"}]
    assert whole.where("tests[0].frame") == "first:4"
    assert whole.where("tests[1].frame") == "second:2"
    assert whole.where("tests[2].frame: is wrong") == "second:4"
    assert whole.where("relay.hops_max") == "second:6"
    assert whole.where("relay.none") == "first:1"
    assert whole.where("nothing") == "first"


def test_adding_a_file_leaves_the_others_as_they_are() -> None:
    whole = origin(first=FIRST, second=SECOND)
    assert whole.files[0].values == parse_toml(FIRST)
    assert whole.values["relay"] == {"name": "a", "hops_max": 3}


def test_problems_are_in_the_order_of_files_and_lines() -> None:
    whole = origin(first=FIRST, second=SECOND)
    whole.placed.append(("third", 1, "cannot read it"))
    problems = ["tests[1]: b", "somewhere", "tests[0]: a", "relay.name: c"]
    assert whole.in_order(problems) == [
        "first:2: relay.name: c",
        "first:3: tests[0]: a",
        "second:1: tests[1]: b",
        "third:1: cannot read it",
        "first: somewhere",
    ]


def test_the_directory_of_a_path_is_that_of_its_file() -> None:
    whole = origin(**{"/etc/a.toml": FIRST, "/etc/conf.d/b.toml": SECOND})
    assert whole.directory_of("relay.name") == "/etc"
    assert whole.directory_of("relay.hops_max") == "/etc/conf.d"
    assert whole.directory_of("tests[2]") == "/etc/conf.d"
    assert whole.paths == ("/etc/a.toml", "/etc/conf.d/b.toml")
