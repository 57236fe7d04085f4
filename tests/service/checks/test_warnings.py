from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from relay.model.errors import ConfigurationError
from relay.service.checks import warnings as checks
from relay.service.configuration.file import read_configuration
from relay.service.configuration.model import DestinationConfiguration, Url
from relay.service.configuration.reading import Reading
from relay.service.kinds import KINDS
from relay.service.tls.certificates import make_authority, make_leaf
from tests.configurations import new_destination

SOURCE = '[sources.in]\nlisten = "udp://:514"\n'
DESTINATION = '[destinations.d]\nconnect = "relp+tls://far:20514"\n'


CEE = 'rewrite = { mode = "cee", token_file = "token" }'


def warnings(folder: Path, text: str) -> list[str]:
    path = folder / "relay.toml"
    path.write_text(text)
    return list(read_configuration(str(path), KINDS).warnings)


def of_destination(folder: Path, text: str) -> list[str]:
    return warnings(folder, SOURCE + DESTINATION + text)


def secret(folder: Path, name: str, data: bytes, mode: int = 0o640) -> None:
    (folder / name).write_bytes(data)
    (folder / name).chmod(mode)


@pytest.mark.parametrize(("mode", "is_open"), [(0o600, False), (0o640, False), (0o644, True)])
def test_a_token_that_every_user_can_read(tmp_path: Path, mode: int, is_open: bool) -> None:
    secret(tmp_path, "token", b"t0ken", mode)
    form = 'rewrite = { mode = "cee", token_file = "token" }'
    expected = (
        f"destinations.d.rewrite.token_file: every user can read or write {tmp_path}/token (mode "
        f"0644), which holds a secret; chmod o= {tmp_path}/token"
    )
    assert of_destination(tmp_path, form) == [expected] * is_open


def test_every_file_with_a_secret_is_looked_at(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d", "e"):
        secret(tmp_path, name, b"secret-of-sixteen-octets-" + name.encode(), 0o606)
    text = """
[sources.in]
listen = "tcp://:514"
authorise = ["token"]
[destinations.d]
connect = "relp+tls://far:20514"
rewrite = [
    { hash = ["ipv4"], key_file = "a" },
    { mode = "tag", tokens = [{ match = {}, token_file = "b" }, { token_file = "c" }] },
]
[apps.x]
token_files = ["d", "e"]
"""
    found = [text.partition(": ")[0] for text in warnings(tmp_path, text)]
    assert found == [
        "apps.x.token_files",
        "apps.x.token_files",
        "destinations.d.rewrite[0].key_file",
        "destinations.d.rewrite[1].tokens[0].token_file",
        "destinations.d.rewrite[1].tokens[1].token_file",
    ]


def test_an_example_is_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    form = 'rewrite = { mode = "cee", token_file = "token" }'
    for data in (b"LOGS_APP_TOKEN_GOES_HERE\n", b"<your-token>", b"YOUR_APP_TOKEN"):
        secret(tmp_path, "token", data)
        assert of_destination(tmp_path, form) == [
            f"destinations.d.rewrite.token_file: {tmp_path}/token holds an example instead of a "
            "token; put the token of the app there"
        ]
    secret(tmp_path, "token", b"0f9e8d7c-89ab-cdef-0123-456789abcdef")
    assert of_destination(tmp_path, form) == []
    monkeypatch.setenv("RELAY_TOKEN", "LOGS_APP_TOKEN_GOES_HERE")
    assert of_destination(tmp_path, 'rewrite = { mode = "cee", token_env = "RELAY_TOKEN" }') == [
        "destinations.d.rewrite.token_env: the variable RELAY_TOKEN holds an example instead of a "
        "token"
    ]


def test_a_file_that_cannot_be_read_is_for_others_to_report(tmp_path: Path) -> None:
    reading = Reading()
    reading.note_secret(os.fspath(tmp_path / "none"), "x", is_token=True)
    assert reading.warnings == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('template = "$NOPE $HOTS"', {"template NOPE": "", "template HOTS": "HOST"}),
        ('template = "$HOST ${R_ISODATE} ${MSG:-x} $Own ${.SDATA.x.Y} $RAWMSG $FULLHOST"', {}),
        (
            'format = { name = "template", template = "$PROGRAMM" }',
            {"format.template PROGRAMM": "PROGRAM"},
        ),
        (
            'format = { name = "json", key = ["HOTS", "R_*"], pair = { x = "$MGS" } }',
            {"format.pair.x MGS": "MSG", "format.key HOTS": "HOST"},
        ),
        ('rewrite = [{ set = { x = "$HSOT" } }]', {"rewrite[0].set.x HSOT": "HOST"}),
        (
            'rewrite = [{ set = { NEW = "x" } }, { rename = { a = "OTHER" } }, '
            '{ parse = "csv", columns = ["COL"] }, { parse = "regex", pattern = "(?P<GROUP>x)" }, '
            '{ set = { a = "$NEW $OTHER $COL $GROUP" } }]',
            {},
        ),
        (
            'rewrite = [{ parse = "json" }, { rate = 5, per = "$ANYTHING $HOTS" }]',
            {"rewrite[1].per HOTS": "HOST"},
        ),
        ('rewrite = [{ subst = "a", in = ["MESSAEG"] }]', {"rewrite[0].in MESSAEG": "MESSAGE"}),
        ('rewrite = [{ parse = "date", from = "DTAE" }]', {"rewrite[0].from DTAE": "DATE"}),
    ],
)  # fmt: skip
def test_macros_that_nothing_knows(tmp_path: Path, text: str, expected: dict[str, str]) -> None:
    lines = []
    for place, near in expected.items():
        key, name = place.split()
        hint = f", did you mean {near!r}?" if near else ";"
        lines.append(
            f"destinations.d.{key}: there is no macro {name}{hint} it is empty unless messages "
            "bring a pair of this name"
        )
    assert of_destination(tmp_path, text) == lines


def test_certificates_that_peers_will_refuse(tmp_path: Path) -> None:
    authority = make_authority("Test authority", days=2)
    secret(tmp_path, "ca.pem", authority.certificate_pem())
    for purpose in ("server", "client"):
        leaf = make_leaf(authority, ["a.example.com"], purpose=purpose, days=1)
        secret(tmp_path, f"{purpose}.pem", leaf.certificate_pem())
        secret(tmp_path, f"{purpose}-key.pem", leaf.private_key_pem())

    def text(source: str, destination: str, trusted: str = "ca.pem") -> str:
        return f"""
[sources.in]
listen = "tls://:6514"
certificate = "{source}.pem"
private_key = "{source}-key.pem"
trusted_ca = "ca.pem"
[destinations.d]
connect = "tls://far:6514"
certificate = "{destination}.pem"
private_key = "{destination}-key.pem"
trusted_ca = "{trusted}"
"""

    assert warnings(tmp_path, text("server", "client")) == []
    found = warnings(tmp_path, text("client", "server"))
    assert found == [
        f"sources.in.certificate: the certificate in {tmp_path}/client.pem is not for a TLS "
        "server: its extended key usage is clientAuth; peers will refuse it, so make one with "
        "serverAuth",
        f"destinations.d.certificate: the certificate in {tmp_path}/server.pem is not for a TLS "
        "client: its extended key usage is serverAuth; peers will refuse it, so make one with "
        "clientAuth",
    ]
    (found_one,) = warnings(tmp_path, text("server", "client", "server.pem"))
    assert found_one == (
        f"destinations.d.trusted_ca: 'CN=a.example.com' in {tmp_path}/server.pem is the "
        "certificate of a peer and no authority, so it vouches for no other certificate; put the "
        "authority there that signed it, or write peer_fingerprints"
    )


def test_directories_that_look_like_a_typo(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    text = """
[sources.good]
listen = "unix:there/new/log.sock"
[sources.bad]
listen = "unixgram:thre/new/log.sock"
[destinations.good]
connect = "file:there/new/all.log"
[destinations.bad]
connect = "file:thre/new/all.log"
"""
    wrong = f"neither {tmp_path}/thre/new nor {tmp_path}/thre exists; a relay makes both when it"
    assert warnings(tmp_path, text) == [
        f"sources.bad.listen: {wrong} starts: is the path right?",
        f"destinations.bad.connect: {wrong} starts: is the path right?",
    ]


def test_problems_do_not_hide_warnings_of_other_tables(tmp_path: Path) -> None:
    (tmp_path / "relay.toml").write_text(
        SOURCE
        + DESTINATION
        + 'template = "$MSGG"\n'
        + DESTINATION.replace(".d]", ".e]")
        + 'template = "$HOSST"\nx = 1'
    )
    with pytest.raises(ConfigurationError) as caught:
        read_configuration(str(tmp_path / "relay.toml"), KINDS)
    (problem,), (warning,) = caught.value.problems, caught.value.warnings
    assert "destinations.e.x: unknown key" in problem
    assert warning.startswith(
        f"{tmp_path}/relay.toml:5: destinations.d.template: there is no macro MSGG"
    )


def destination(id: str, text: str) -> str:
    return f'[destinations.{id}]\nconnect = "file:///tmp/{id}.log"\n{text}\n'


def test_many_destinations_are_not_all_compared_with_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_at: list[str] = []

    def takes_all(self: DestinationConfiguration) -> bool:
        looked_at.append(self.id)
        return self.match is None

    monkeypatch.setattr(DestinationConfiguration, "takes_all", property(takes_all))
    url = Url("relp", host="far", port=1)
    many = [new_destination(f"d{number}", url, (f"s{number}",)) for number in range(2998)]
    many += [new_destination("z", url, ("s",), final=True), new_destination("last", url, ("s",))]
    found = checks._unreachable(many)
    assert list(found) == ["last"]
    assert (
        "destinations.last.sources: no message reaches this destination: 'z' is final"
        in (found["last"])
    )
    assert len(looked_at) <= 2 * len(many)


@pytest.mark.parametrize(
    ("texts", "place"),
    [
        (("final = true", ""), "b.sources: no message reaches this destination: 'a' is final"),
        (("fallback = true", ""), "a.fallback: no message reaches .* 'b' is a destination"),
        (
            ('match = { severity = "err" }\nfinal = true', 'match = { severity = "err" }'),
            "b.sources: ",
        ),
        (("fallback = true\nfinal = true", "fallback = true"), "b.fallback: .* 'a' is final"),
        (('sources = ["in"]\nfinal = true', 'sources = ["in"]'), "b.sources: "),
        (('sources = ["in"]\nfinal = true', ""), ""),
        (('match = { severity = "err" }\nfinal = true', ""), ""),
        (("", "final = true"), ""),
        (("fallback = true", 'match = { severity = "err" }'), ""),
        (('sources = ["in"]\nfinal = true', 'sources = ["in"]\nfallback = true'), "b.fallback: "),
    ],
)
def test_destinations_that_nothing_reaches(
    tmp_path: Path, texts: tuple[str, str], place: str
) -> None:
    sources = SOURCE + '[sources.other]\nlisten = "tcp://:514"\n'
    written = "".join(map(destination, "cab", ('sources = ["other"]', *texts)))
    found = [text for text in warnings(tmp_path, sources + written) if "no message" in text]
    assert len(found) == bool(place)
    for text in found:
        assert re.match(f"destinations.{place}", text), text


def test_catch_all_and_a_list_of_sources_contradict(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"destinations.a.catch_all: contradicts"):
        warnings(tmp_path, SOURCE + destination("a", 'sources = ["in"]\ncatch_all = true'))
    assert warnings(tmp_path, SOURCE + destination("a", "catch_all = true")) == []


@pytest.mark.parametrize(
    ("connect", "more", "warned"),
    [
        ("tcp://192.0.2.7:514", "", True),
        ("udp://192.0.2.7:514", 'format = "rfc5424"', True),
        ("tcp://192.0.2.7:514", 'format = { name = "rfc5424", hops = true }', False),
        ("tcp://192.0.2.7:514", 'format = "ewmm"', False),
        ("relp://192.0.2.7:20514", "", False),
        ("tcp://192.0.2.8:514", "", False),
        ("tcp://far:514", "", False),
    ],
)
@pytest.mark.parametrize("hops_max", [0, 16])
def test_a_host_that_may_send_back_what_it_gets(
    tmp_path: Path, connect: str, more: str, warned: bool, hops_max: int
) -> None:
    text = f"""
[relay]
hops_max = {hops_max}
[sources.in]
listen = "tcp://:1514"
allow = ["192.0.2.7"]
[destinations.d]
connect = "{connect}"
{more}
"""
    found = [each for each in warnings(tmp_path, text) if "go round" in each]
    assert len(found) == (warned and hops_max > 0)
    assert all(each.startswith("destinations.d.connect: source 'in' allows") for each in found)


@pytest.mark.parametrize(
    ("url", "form", "is_clear"),
    [
        ("relp://far:20514", CEE, True),
        ("udp://192.0.2.1:514", CEE, True),
        ("relp://far:20514", "", False),
        ("relp+tls://far:20514", CEE, False),
        ("relp://127.0.0.1:20514", CEE, False),
        ("file:///tmp/x", CEE, False),
    ],
)
def test_a_token_in_clear_text(tmp_path: Path, url: str, form: str, is_clear: bool) -> None:
    secret(tmp_path, "token", b"secret-of-sixteen-octets")
    found = warnings(tmp_path, f'{SOURCE}[destinations.d]\nconnect = "{url}"\n{form}')
    assert [line for line in found if "clear text" in line] == [
        f"destinations.d.connect: {url.partition(':')[0]} sends the token in clear text to "
        f"{url.split('/')[2].partition(':')[0]}, so everybody on the way can read it; use a kind "
        "with TLS, or a central relay on the way"
    ] * is_clear
