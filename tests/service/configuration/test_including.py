from __future__ import annotations

import os
from pathlib import Path

import pytest

from relay.model.errors import ConfigurationError
from relay.service.configuration import including
from relay.service.configuration.file import examine_file, read_configuration
from relay.service.configuration.including import read_files
from relay.service.configuration.model import Configuration
from relay.service.configuration.tables.step import MapValue
from relay.service.kinds import KINDS

MAIN = """
include = ["conf.d/*.toml"]
[relay]
name = "web-1"
state_dir = "state"
[sources.in]
listen = "udp://:514"
[destinations.first]
connect = "tcp://far:514"
"""
SECOND = """
[destinations.second]
connect = "tcp://far:515"
"""


def write(folder: Path, files: dict[str, str], main: str = MAIN) -> Path:
    (folder / "conf.d").mkdir(exist_ok=True)
    (folder / "relay.toml").write_text(main)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder / "relay.toml"


def read(folder: Path, files: dict[str, str], main: str = MAIN) -> Configuration:
    return read_configuration(str(write(folder, files, main)), KINDS)


def problems(folder: Path, files: dict[str, str], main: str = MAIN) -> list[str]:
    """The problems, without the name of the folder."""
    with pytest.raises(ConfigurationError) as caught:
        read(folder, files, main)
    return [problem.replace(f"{folder}/", "") for problem in caught.value.problems]


def test_included_files_come_after_the_main_one_in_the_order_of_their_names(tmp_path: Path) -> None:
    files = {"conf.d/20.toml": SECOND, "conf.d/10.toml": SECOND.replace("second", "third")}
    configuration = read(tmp_path, files)
    assert [each.id for each in configuration.destinations] == ["first", "third", "second"]
    names = ("relay.toml", "conf.d/10.toml", "conf.d/20.toml")
    assert configuration.files == tuple(str(tmp_path / name) for name in names)
    assert configuration.path == str(tmp_path / "relay.toml")


def test_earlier_patterns_come_first_and_each_file_once(tmp_path: Path) -> None:
    main = MAIN.replace('["conf.d/*.toml"]', '["z.toml", "conf.d/*.toml", "conf.d/b*", "*.toml"]')
    files = {"z.toml": "", "conf.d/a.toml": "", "conf.d/b.toml": "", "other.toml": ""}
    names = [os.path.relpath(path, tmp_path) for path in read(tmp_path, files, main).files]
    assert names == ["relay.toml", "z.toml", "conf.d/a.toml", "conf.d/b.toml", "other.toml"]


def test_tables_are_put_together_key_by_key(tmp_path: Path) -> None:
    files = {
        "conf.d/limits.toml": '[relay]\nqueue_bytes_max = "1 GiB"\n[alerts]\nincrease = 7\n',
        "conf.d/watch.toml": '[[watch]]\nid = "two"\ncounts_as = "error"\n',
    }
    main = MAIN + '[[watch]]\nid = "one"\ncounts_as = "ignore"\n[alerts]\ndrops = false\n'
    configuration = read(tmp_path, files, main)
    assert (configuration.name, configuration.queue_bytes_max) == ("web-1", 2**30)
    assert [rule.id for rule in configuration.watch] == ["one", "two"]
    assert configuration.alerts is not None
    assert (configuration.alerts.limits.increase, configuration.alerts.limits.drops) == (7, False)


def test_relative_paths_are_those_of_the_file_that_names_them(tmp_path: Path) -> None:
    text = """
    [sources.socket]
    listen = "unixgram:log.sock"
    [destinations.copy]
    connect = "file:copies/${HOST}"
    """
    configuration = read(tmp_path, {"conf.d/a.toml": text})
    assert configuration.state_dir == str(tmp_path / "state")
    paths = {each.id: each.listen.path for each in configuration.sources}
    assert paths["socket"] == str(tmp_path / "conf.d/log.sock")
    (copy,) = (each for each in configuration.destinations if each.id == "copy")
    assert copy.connect.path == str(tmp_path / "conf.d/copies/${HOST}")


def test_relative_paths_inside_of_steps_and_programs(tmp_path: Path) -> None:
    text = (
        SECOND
        + """rewrite = [
        { map = "names.csv", key = "$HOST", into = ".x" },
        { mode = "cee", token_file = "token" },
    ]
    [alerts]
    program = ["told", "names.csv"]
    """
    )
    files = {"conf.d/a.toml": text, "conf.d/names.csv": "a,b\n", "conf.d/token": "secret\n"}
    configuration = read(tmp_path, files)
    step, token = configuration.destinations[1].rewrite.steps[0], b"secret"
    assert isinstance(step.action, MapValue) and step.action.file == f"{tmp_path}/conf.d/names.csv"
    assert configuration.secrets == [token]
    assert configuration.alerts is not None
    assert configuration.alerts.program == (f"{tmp_path}/conf.d/told", "names.csv")


def test_a_missing_certificate_is_looked_for_beside_the_file_that_names_it(tmp_path: Path) -> None:
    text = '[destinations.t]\nconnect = "tls://far:1"\ntrusted_ca = "ca.pem"\n'
    (problem,) = problems(tmp_path, {"conf.d/t.toml": text})
    assert problem.startswith("conf.d/t.toml:3: destinations.t.trusted_ca: ")
    assert "conf.d/ca.pem" in problem


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '[destinations.first]\nconnect = "tcp://far:1"\n',
            "conf.d/a.toml:1: destinations.first: is in relay.toml:8 already; choose another id",
        ),
        (
            '\n[relay]\nname = "x"\n',
            "conf.d/a.toml:3: relay.name: is in relay.toml:4 already; remove one of them",
        ),
        (
            "destinations = 3",
            "conf.d/a.toml:1: destinations: is in relay.toml:8 already; remove one of them",
        ),
    ],
)
def test_an_id_or_key_in_two_files_is_a_problem_with_both_places(
    tmp_path: Path, text: str, expected: str
) -> None:
    (problem,) = problems(tmp_path, {"conf.d/a.toml": text})
    assert problem.startswith(expected)


def test_two_included_files_with_the_same_id(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, {"conf.d/a.toml": SECOND, "conf.d/b.toml": SECOND})
    assert problem.startswith(
        "conf.d/b.toml:2: destinations.second: is in conf.d/a.toml:2 already; "
    )


def test_problems_name_their_file_and_line(tmp_path: Path) -> None:
    files = {
        "conf.d/b.toml": "\n\n[filters.f]\nmsgg = 1\n",
        "conf.d/a.toml": '[[tests]]\nframe = "x"\nexpect.none = true\n',
    }
    tests = '[[tests]]\nframe = "x"\nexpect.first = true\n'
    lines = problems(tmp_path, files, MAIN + tests + tests.replace("first", "no"))
    assert [line.partition(": ")[0] for line in lines] == [
        "relay.toml:15",
        "conf.d/a.toml:3",
        "conf.d/b.toml:4",
    ]
    assert "tests[2].expect.none: there is no destination 'none'" in lines[1]


def test_a_rule_whose_id_is_used_in_another_file(tmp_path: Path) -> None:
    rule = '[[watch]]\nid = "one"\ncounts_as = "ignore"\n'
    (problem,) = problems(tmp_path, {"conf.d/a.toml": rule}, MAIN + rule)
    assert problem.startswith("conf.d/a.toml:2: watch[1].id: 'one' is the id of an earlier rule")
    assert "relay.toml:11" in problem


def test_a_pattern_may_fit_nothing_and_a_name_may_not(tmp_path: Path) -> None:
    assert len(read(tmp_path, {}).files) == 1
    assert len(read(tmp_path, {}, MAIN.replace("conf.d/*", "none/*")).files) == 1
    (problem,) = problems(tmp_path, {}, MAIN.replace("conf.d/*.toml", "none.toml"))
    assert problem == "none.toml: cannot read it: No such file or directory"


@pytest.mark.parametrize(
    ("include", "expected"),
    [
        ('"conf.d/a.toml"', "expected a list of names or patterns of files, such as"),
        ("[]", "found an empty list"),
        ('[""]', "include[0]: expected the name of a file, found ''"),
        ('["relay.toml"]', "include[0]: 'relay.toml' is this file itself; remove it"),
        ('["a", "./a"]', "include[1]: './a' is included before; remove it"),
        ('["a", "a"]', "'a' is in the list twice"),
    ],
)
def test_what_include_may_be(tmp_path: Path, include: str, expected: str) -> None:
    main = MAIN.replace('["conf.d/*.toml"]', include)
    (problem,) = problems(tmp_path, {"a": ""}, main)
    assert problem.startswith("relay.toml:2: include")
    assert expected in problem


def test_included_files_include_no_others(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, {"conf.d/a.toml": 'include = ["x"]\n'})
    assert problem == (
        "conf.d/a.toml:1: include: an included file cannot include others; name them in relay.toml"
    )


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "conf.d" / "folder.toml").mkdir(parents=True)
    os.mkfifo(tmp_path / "conf.d" / "pipe.toml")
    lines = problems(tmp_path, {})
    assert lines == [
        "conf.d/folder.toml: cannot read it: Is a directory",
        "conf.d/pipe.toml: cannot read it: it is not a regular file",
    ]


def test_a_directory_that_cannot_be_listed_is_no_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(including.os, "scandir", refuse)
    (problem,) = problems(tmp_path, {})
    assert problem.startswith("relay.toml:2: include[0]: cannot list the directory ")
    assert problem.endswith("conf.d: Permission denied")


@pytest.mark.parametrize("absolute", [False, True])
def test_wildcards_in_the_name_of_the_folder_are_none(absolute: bool, tmp_path: Path) -> None:
    folder = tmp_path / "etc[1]*"
    folder.mkdir()
    pattern = f"{tmp_path}/etc[[]1[]][*]/conf.d/*.toml" if absolute else "conf.d/*.toml"
    main = MAIN.replace("conf.d/*.toml", pattern)
    configuration = read(folder, {"conf.d/a.toml": SECOND}, main)
    assert configuration.files[1:] == (str(folder / "conf.d" / "a.toml"),)


def test_how_much_may_be_included(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"conf.d/{number}.toml": "# 10 bytes\n" for number in range(3)}
    monkeypatch.setattr(including, "INCLUDED_BYTES_MAX", 25)
    (problem,) = problems(tmp_path, files)
    assert problem == "conf.d/2.toml: included files may have 25 bytes together, and have more"
    monkeypatch.setattr(including, "INCLUDED_FILES_MAX", 2)
    problem = problems(tmp_path, files)[0]
    assert problem.startswith("relay.toml:2: include[0]: there may be 2 included files")


def test_the_including_file_has_a_limit_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(including, "FILE_BYTES_MAX", len(MAIN))
    assert read(tmp_path, {}).name == "web-1"
    (problem,) = problems(tmp_path, {}, f"{MAIN}#")
    assert problem.startswith("relay.toml: a configuration may have")
    assert examine_file("/dev/zero", KINDS).problems[0].startswith("/dev/zero: a configuration may")


def test_a_broken_file_does_not_hide_the_state_directory(tmp_path: Path) -> None:
    path = write(tmp_path, {"conf.d/a.toml": "[destinations\n", "conf.d/b.toml": "x = 1\n"})
    found = examine_file(str(path), KINDS)
    (problem,) = found.problems
    assert problem.startswith(f"{tmp_path}/conf.d/a.toml:1:14: the name of a table ends with a ]")
    assert (found.state_dir, found.is_whole) == (str(tmp_path / "state"), False)


def test_nobody_guesses_a_state_directory_that_a_broken_file_may_say(tmp_path: Path) -> None:
    path = write(tmp_path, {"conf.d/a.toml": "[relay\nstate_dir = 'x'\n"})
    assert examine_file(str(path), KINDS).state_dir == ""
    path = write(tmp_path, {}, MAIN.replace("conf.d/*.toml", "none.toml"))
    assert examine_file(str(path), KINDS).state_dir == ""


def test_names_are_shown_as_the_main_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"conf.d/a.toml": "x = 1\n"})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        read_configuration("relay.toml", KINDS)
    assert caught.value.problems[0].startswith("conf.d/a.toml:1: x: unknown key")
    assert read_files("relay.toml").paths[1] == str(tmp_path / "conf.d" / "a.toml")


def test_warnings_name_their_file(tmp_path: Path) -> None:
    text = SECOND + 'template = "$HOTS"\n'
    (warning,) = read(tmp_path, {"conf.d/a.toml": text}).placed_warnings
    assert warning.startswith(f"{tmp_path}/conf.d/a.toml:4: destinations.second.template: ")
