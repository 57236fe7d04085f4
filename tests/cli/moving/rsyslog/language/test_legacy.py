from __future__ import annotations

from pathlib import Path

from relay.cli.moving.files import InputFiles
from relay.cli.moving.report import Report
from relay.cli.moving.rsyslog.language.legacy import DEFAULT_RULESET, Modern
from relay.cli.moving.rsyslog.language.parser import parse
from relay.cli.moving.rsyslog.language.syntax import If, Node, Object


def modern(text: str, folder: Path) -> Modern:
    path = folder / "x.conf"
    path.write_text(text)
    return Modern(parse(InputFiles(), str(path), Report()))


def actions(nodes: list[Node]) -> list[dict[str, list[str]]]:
    found = []
    for node in nodes:
        if isinstance(node, If):
            found += actions([*node.then])
        elif isinstance(node, Object):
            values = node.parameters.values
            found.append({name: values[name] for name in values if name != "@noted"})
    return found


def test_legacy_actions_become_objects(tmp_path: Path) -> None:
    text = """
*.* @@(o)[::1]:10514;Fmt
*.* @host
*.* -/var/log/x
*.* ?Dynamic;Fmt
*.* |/run/pipe
*.* root,*
*.* :omusrmsg:root, admin
*.* :omrelp:host:2514
*.* nonsense here
"""
    found = actions(modern(text, tmp_path).rulesets[DEFAULT_RULESET])
    assert found == [
        {
            "type": ["omfwd"],
            "target": ["::1"],
            "protocol": ["tcp"],
            "port": ["10514"],
            "tcp_framing": ["octet-counted"],
            "template": ["Fmt"],
        },
        {"type": ["omfwd"], "target": ["host"], "protocol": ["udp"]},
        {"type": ["omfile"], "file": ["/var/log/x"]},
        {"type": ["omfile"], "dynafile": ["Dynamic"], "template": ["Fmt"]},
        {"type": ["ompipe"], "pipe": ["/run/pipe"]},
        {"type": ["omusrmsg"], "users": ["root", "*"]},
        {"type": ["omusrmsg"], "users": ["root", "admin"]},
        {"type": ["omrelp"], "target": ["host"], "port": ["2514"]},
        {"type": ["@unknown"], "text": ["nonsense here"]},
    ]


def test_a_queue_is_for_one_action_and_an_owner_for_all_that_follow(tmp_path: Path) -> None:
    text = """
$ActionQueueType LinkedList
$FileGroup adm
$ActionFileDefaultTemplate Fmt
*.* /var/log/a
*.* /var/log/b
*.* @host
"""
    found = actions(modern(text, tmp_path).rulesets[DEFAULT_RULESET])
    file = {"type": ["omfile"], "filegroup": ["adm"], "template": ["Fmt"]}
    assert found == [
        {**file, "queue.type": ["LinkedList"], "file": ["/var/log/a"]},
        {**file, "file": ["/var/log/b"]},
        {"type": ["omfwd"], "target": ["host"], "protocol": ["udp"]},
    ]


def test_inputs_globals_and_templates_become_objects(tmp_path: Path) -> None:
    text = """
$ModLoad imudp.so
$UDPServerAddress 127.0.0.1
$UDPServerRun 514
$UDPServerRun 515
$WorkDirectory "/var/spool" # where
$template Fmt,"%msg%\\n",stdsql
$template Std,=RSYSLOG_FileFormat
"""
    found = [(each.kind, each.parameters.values) for each in modern(text, tmp_path).others]
    assert found == [
        ("module", {"load": ["imudp"]}),
        ("input", {"type": ["imudp"], "address": ["127.0.0.1"], "port": ["514"]}),
        ("input", {"type": ["imudp"], "address": ["127.0.0.1"], "port": ["515"]}),
        ("global", {"workdirectory": ["/var/spool"]}),
        (
            "template",
            {
                "name": ["Fmt"],
                "type": ["string"],
                "string": ["%msg%\\n"],
                "option.stdsql": ["on"],
            },
        ),
        ("template", {"name": ["Std"], "type": ["plugin"], "plugin": ["RSYSLOG_FileFormat"]}),
    ]


def test_rules_belong_to_the_ruleset_that_was_named_last(tmp_path: Path) -> None:
    found = modern(
        "*.* /a\n$RuleSet other\n*.* /b\n$RuleSet RSYSLOG_DefaultRuleset\n*.* /c\n", tmp_path
    )
    files = {
        name: [each["file"][0] for each in actions(nodes)] for name, nodes in found.rulesets.items()
    }
    assert files == {DEFAULT_RULESET: ["/a", "/c"], "other": ["/b"]}


def test_a_channel_is_a_file_with_a_size(tmp_path: Path) -> None:
    text = "$outchannel big,/var/log/big,1000,/bin/rotate\n*.* :omfile:$big\n*.* $none\n"
    assert actions(modern(text, tmp_path).rulesets[DEFAULT_RULESET]) == [
        {"type": ["omfile"], "file": ["/var/log/big"], "@size": ["1000"]},
        {"type": ["@unknown"], "text": ["$none"]},
    ]
