from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.cli.moving.files import ImportRefused
from relay.cli.moving.syslog_ng.dialect import SYSLOG_NG
from tests.cli.moving.imports import import_text

USED = 'log { source(s); destination { network("h"); }; };'


def test_it_is_recognised() -> None:
    assert SYSLOG_NG.score("@version: 4.2\nsource s { internal(); };\nlog { };\n") == 3
    assert SYSLOG_NG.score("*.* /var/log/all\n$ModLoad imudp\n") == 0


def test_includes_are_followed(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    for name in "ba":
        (tmp_path / "conf.d" / f"{name}.conf").write_text(
            f"destination {name} {{ file('/x/{name}'); }};\n"
        )
    result = import_text(
        "syslog-ng",
        '@include "scl.conf"\n@include "conf.d/*.conf"\n@include "none.conf"\n'
        "source s { internal(); };\nlog { source(s); destination(a b); };\n",
        tmp_path,
    )
    assert [*result.destinations] == ["a", "b"]
    assert any(f"{tmp_path}/conf.d/b.conf:1: " in line for line in result.imported.report.lines())
    (doubt,) = result.doubts
    assert '@include "none.conf": there is no such file here' in doubt


def test_a_folder_is_all_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.conf").write_text("source s { internal(); };")
    result = import_text("syslog-ng", f'@include "{tmp_path}/d"\n{USED}', tmp_path)
    assert [*result.sources] == ["s"]


def test_directives_and_variables_are_in_the_report(tmp_path: Path) -> None:
    result = import_text(
        "syslog-ng",
        '@version: 3.38\n@module x\n@define port "1514"\n@odd y\n'
        f"source s {{ network(port(`port`) keep-hostname(yes) tags(`none`)); }};\n{USED}",
        tmp_path,
    )
    assert result.sources["s"]["listen"] == "tcp://:1514"
    assert [line.split(": ")[2] for line in result.doubts] == ["@odd y", "`none`"]


def test_blocks_are_expanded(tmp_path: Path) -> None:
    result = import_text(
        "syslog-ng",
        "block source both(port(514) ip('127.0.0.1')) {\n"
        "  network(ip(`ip`) port(`port`) transport(tcp) keep-hostname(yes));\n"
        "  network(ip(`ip`) port(`port`) transport(udp) keep-hostname(yes));\n};\n"
        f"source s {{ both(port(5514)); }};\n{USED}",
        tmp_path,
    )
    assert [keys["listen"] for keys in result.sources.values()] == [
        *("tcp://127.0.0.1:5514", "udp://127.0.0.1:5514"),
    ]
    assert any(line.startswith("5: taken over: source both(): ") for line in result.lines)


@pytest.mark.parametrize(
    "text", ['source s { "', "source s { tcp(", "}", "`", '@include "main.conf"\n', "a{" * 999]
)
def test_what_is_not_in_the_language_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ImportRefused) as caught:
        import_text("syslog-ng", text, tmp_path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path))


WORDS = (
    *("source", "destination", "filter", "log", "parser", "rewrite", "options", "template", "s"),
    *("{", "}", "(", ")", ";", ",", "..", "and", "or", "not", "if", "else", "elif", "junction"),
    *("channel", "flags", "final", "fallback", "tcp", "network", "file", "port", "level", "err"),
    *('"/x"', '"$HOST"', "514", "set", "subst", "value", "match", "program", "json-parser", "tls"),
    *("\n@define a b\n", "`a`", "block", "http", "url", '"http://h/"', "disk-buffer", "system"),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=60).map(" ".join) | st.text(max_size=80))
def test_any_text_is_imported_or_refused(tmp_path: Path, text: str) -> None:
    try:
        import_text("syslog-ng", text, tmp_path)
    except ImportRefused as error:
        assert "\n" not in str(error)
