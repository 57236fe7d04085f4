from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.moving.imports import import_text

HEAD = (
    'module(load="imudp")\ninput(type="imudp" port="514")\n'
    'template(name="d" type="string" string="/srv/%HOSTNAME%/%programname%.log")\n'
)


@pytest.mark.parametrize(
    ("parameters", "keys"),
    [
        ('file="/x/$a.log"', {"connect": "file:///x/$$a.log"}),
        (
            'dynaFile="d"',
            {
                "connect": "file:///srv/${HOST}/${.path.1.value}.log",
                "rewrite": [
                    {
                        "parse": "regex",
                        "pattern": "^(?P<value>[^/]*)",
                        "prefix": ".path.1.",
                        "from": "PROGRAM",
                    }
                ],
            },
        ),
        (
            'file="/x" fileCreateMode="0600" dirCreateMode="0700" fileGroup="adm"',
            {"connect": "file:///x", "mode": 0o600, "directory_mode": 0o700, "group": "adm"},
        ),
        ('file="/x" rotation.sizeLimit="1m"', {"connect": "file:///x", "rotate_bytes": "1 MiB"}),
    ],
)
def test_files(parameters: str, keys: object, tmp_path: Path) -> None:
    text = f'{HEAD}action(type="omfile" {parameters})\n'
    (found,) = import_text("rsyslog", text, tmp_path).destinations.values()
    del found["template"]
    assert found == keys


def test_pipes(tmp_path: Path) -> None:
    (found,) = import_text("rsyslog", f"{HEAD}*.* |/run/x\n", tmp_path).destinations.values()
    assert found["connect"] == "pipe:///run/x"


@pytest.mark.parametrize("path", ["/dev/console", "/dev/null", "relative", ""])
def test_what_is_no_file(path: str, tmp_path: Path) -> None:
    result = import_text("rsyslog", f'{HEAD}action(type="omfile" file="{path}")\n', tmp_path)
    assert result.doubts[0].startswith("4: not supported")
