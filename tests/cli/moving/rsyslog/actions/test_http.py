from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.moving.imports import import_text

HEAD = 'module(load="imudp")\ninput(type="imudp" port="514")\n'


@pytest.mark.parametrize(
    ("parameters", "keys"),
    [
        (
            'type="omelasticsearch" server="s" searchIndex="logs"',
            {"connect": "http://s:9200", "index": "logs"},
        ),
        (
            'type="omelasticsearch" server=["a","https://b:1"] usehttps="on" tls.cacert="/ca"'
            ' writeoperation="create"',
            {
                "connect": ["https://a:9200", "https://b:1"],
                "policy": "balance",
                "trusted_ca": "/ca",
                "index": "system",
                "operation": "create",
            },
        ),
        (
            'type="omhttp" server="s" restpath="a/b" batch="on" batch.format="jsonarray"',
            {"connect": "https://s:443/a/b", "body": "array"},
        ),
    ],
)
def test_requests(parameters: str, keys: object, tmp_path: Path) -> None:
    text = f"{HEAD}action({parameters})\n"
    (found,) = import_text("rsyslog", text, tmp_path).destinations.values()
    del found["format"]
    assert found == keys


def test_secrets_go_into_files_and_are_not_shown(tmp_path: Path) -> None:
    token = "5b2f6b1e-1111-2222-3333-444455556666"
    text = (
        f'{HEAD}action(type="omelasticsearch" pwd="hunter2-secret" uid="u" searchIndex="{token}"'
        ' server="s" usehttps="on")\n'
    )
    result = import_text("rsyslog", text, tmp_path)
    (found,) = result.destinations.values()
    assert (found["index_file"], found["password_file"]) == ("index.token", "password.secret")
    files = result.imported.extra_files
    assert files["index.token"].is_secret
    assert files["index.token"].text == f"{token}\n"
    assert token not in "\n".join(result.lines)
    tables = result.imported.tables()
    assert not any("hunter2" in line for table in tables for line in table.comments)


@pytest.mark.parametrize(
    "parameters", ['type="omhttp" batch.format="kafkarest"', 'type="omhttp" server="/"']
)
def test_what_is_none(parameters: str, tmp_path: Path) -> None:
    result = import_text("rsyslog", f"{HEAD}action({parameters})\n", tmp_path)
    assert result.doubts[0].startswith("3: not supported")
