from __future__ import annotations

import pytest

from relay.service.configuration.model import Url
from relay.service.configuration.url import Role, id_from_url, is_host, url_shown
from relay.service.kinds import KINDS
from tests.configurations import schemes


def listen(text: str) -> Url:
    return KINDS.url(text, "listen", base_dir="/base")


def connect(text: str) -> Url:
    return KINDS.url(text, "connect", base_dir="/base")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("udp://127.0.0.1:514", Url("udp", "127.0.0.1", 514)),
        ("tcp://:601", Url("tcp", "", 601)),
        ("tls://[::1]:6514", Url("tls", "::1", 6514)),
        ("tls://[2001:DB8:0::1]:6514", Url("tls", "2001:db8::1", 6514)),
        ("relp://[fe80::1%eth0]:20514", Url("relp", "fe80::1%eth0", 20514)),
        ("RELP+TLS://Central.Example.COM:20515", Url("relp+tls", "central.example.com", 20515)),
        ("udp://my_host:0", Url("udp", "my_host", 0)),
        ("unixgram:///run/log", Url("unixgram", path="/run/log")),
        ("unixgram:/run/log", Url("unixgram", path="/run/log")),
        ("unix:////run//log", Url("unix", path="/run/log")),
        ("unixgram:var/log.sock", Url("unixgram", path="/base/var/log.sock")),
        ("unix:../var/./log.sock", Url("unix", path="/var/log.sock")),
        ("systemd://syslog.socket", Url("systemd", inherited="syslog.socket")),
        ("SYSTEMD://A@1", Url("systemd", inherited="A@1")),
        ("systemd://3", Url("systemd", inherited="3")),
        ("journald://", Url("journald", is_bare=True)),
        ("Journald:////var/log//journal/x/", Url("journald", path="/var/log/journal/x")),
    ],
)
def test_where_to_listen(text: str, url: Url) -> None:
    assert listen(text) == url


def test_several_listeners_by_one_word() -> None:
    assert listen("default-network://") == Url("default-network")
    assert listen("default-network://127.0.0.1") == Url("default-network", host="127.0.0.1")
    assert listen("Sematext-Receiver://[::1]") == Url("sematext-receiver", host="::1")


def test_what_is_read_is_written_the_same() -> None:
    for text in ("udp://:514", "tls://[::1]:6514", "unix:///run/log", "systemd://Log.socket"):
        assert str(listen(text)) == text
    for text in ("journald://", "journald:///var/log/journal"):
        assert str(listen(text)) == text


def test_a_file_may_be_relative_and_have_any_length() -> None:
    assert connect("file:received.log") == Url("file", path="/base/received.log")
    assert connect("file:" + "x" * 200).path == "/base/" + "x" * 200
    assert connect("file:///100%25/a?b#c").path == "/100%25/a?b#c"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("///var/log/${HOST}.log", "/var/log/${HOST}.log"),
        ("///$HOST", "/$HOST"),
        ("///var/../srv//x/${HOST}/a${R_DAY}", "/srv/x/${HOST}/a${R_DAY}"),
        ("logs/${HOST}.log", "/base/logs/${HOST}.log"),
        ("${HOST}.log", "/base/${HOST}.log"),
        ("///a$$b/c.log", "/a$$b/c.log"),
        ("///a$$b/$HOST", "/a$$b/$HOST"),
    ],
)
def test_the_path_of_a_file_is_a_template(text: str, path: str) -> None:
    assert connect(f"file:{text}").path == path
    assert listen("file:a$b.log").path == "/base/a$b.log"
    assert KINDS.url("file:a.log", "connect", base_dir="/b$").path == "/b$$/a.log"
    assert KINDS.url("file:$HOST", "connect", base_dir="/b$").path == "/b$$/$HOST"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("///var/log/a$", r"'file:///var/log/a\$': at character 13: \$ is followed by no name"),
        ("///var/log/$HOST/../x", r"has the component '\.\.' behind a macro"),
        ("//host/$HOST", "names a host"),
    ],
)
def test_a_wrong_template_of_a_file_says_what_to_write(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        connect(f"file:{text}")


def test_a_file_that_is_listened_to_may_have_wildcards() -> None:
    assert listen("file:///var/**/[ab]?.log") == Url("file", path="/var/**/[ab]?.log")
    assert listen("file:*.log").path == "/base/*.log"


def test_a_socket_path_of_107_octets_fits_and_one_of_108_does_not() -> None:
    assert listen("unix:///" + "x" * 106).path == "/" + "x" * 106
    with pytest.raises(ValueError, match=r"at most 107 bytes, '/x+' has 108; choose a shorter"):
        listen("unix:///" + "x" * 107)
    with pytest.raises(ValueError, match="has 109"):  # bytes count, not characters
        listen("unix:///" + "é" * 54)


NETWORK = "udp, dtls, tcp, tls, relp, relp+tls"
PROBLEMS: list[tuple[Role, str, str]] = [
    ("listen", "", f"'' has no scheme; write one of {schemes('listen')} and :// before it"),
    ("listen", "0.0.0.0:514", "'0.0.0.0:514' has no scheme"),
    ("connect", "localhost:514", "'localhost:514' has no scheme"),
    ("listen", "tpc://:514", f"unknown scheme 'tpc', did you mean 'tcp'? listen takes {NETWORK}"),
    ("connect", "ssl://h:1", "unknown scheme 'ssl', did you mean 'tls'? connect takes"),
    ("connect", "relps://h:1", "did you mean 'relp+tls'?"),
    ("connect", "gopher://h:1", f"unknown scheme 'gopher'; connect takes {NETWORK}, file, unix,"),
    ("connect", "journald://", f"journald can only be listened on; connect takes one of {NETWORK}"),
    ("listen", "file:///var/", "'///var/' names a directory; add the name of the file to it"),
    ("listen", "udp:514", "udp needs two slashes and a port, as in udp://:514"),
    ("listen", "udp://", "the port is missing; write it as in udp://:514"),
    ("connect", "relp://h:", "the port is missing; write it as in relp://host:20514"),
    ("connect", "tcp://:514", "the host is missing; write where to connect to, as in tcp://host"),
    ("connect", "tcp://h:0", "expected a port from 1 to 65535, found '0'"),
    ("listen", "tcp://:65536", "expected a port from 0 to 65535, found '65536'"),
    ("listen", "tcp://:+5", "found '+5'"),
    ("listen", "tcp://:٣", "found '٣'"),
    ("listen", "tcp://::1:514", "'::1:514' is not host:port; an IPv6 address goes into brackets"),
    ("listen", "tcp://[1.2.3.4]:514", "expected an IPv6 address in the brackets, as in [::1]"),
    ("listen", "tcp://*:514", "'*' is not a host; for all addresses write none, as in tcp://:514"),
    ("listen", "tcp://1.2.3.256:514", "expected a host name or an address, found '1.2.3.256'"),
    ("listen", "tcp://a b:514", "expected a host name or an address, found 'a b'"),
    ("connect", "tcp://h:514/x", "'/x' after the port has no meaning here; write only tcp://h:514"),
    ("connect", "tcp://h:514?x", "'?x' after the port"),
    ("listen", "unix://run/log", "'unix://run/log' names a host; write unix:///run/log for an"),
    ("listen", "unix://run/log", "or unix:run/log for a relative one"),
    ("listen", "unix:", "the path is missing; write it as in unix:///var/path"),
    ("connect", "file:///", "the path is missing; write it as in file:///var/path"),
    ("connect", "file:///var/", "'///var/' names a directory; add the name of the file to it"),
    ("listen", "unix:..", "'..' names a directory; add the name of the socket to it"),
    ("listen", "default-network:", "default-network takes a host and no port, as in"),
    ("listen", "default-network://:514", "its ports have keys of their own; found '//:514'"),
    ("listen", "default-network://a b", "expected a host name or an address, found 'a b'"),
    ("connect", "sematext-receiver://", "sematext-receiver can only be listened on"),
    ("listen", "systemd:syslog", "expected the name that the socket unit gives"),
    ("listen", "systemd://", "as in systemd://syslog.socket, found '//'"),
    ("listen", "systemd://a:b", "found '//a:b'"),
    ("connect", "systemd://a", "systemd can only be listened on"),
    ("listen", "journald:", "expected journald:// for the system's journal, or a directory"),
    ("listen", "journald://host", "as in journald:///var/log/journal/remote, found '//host'"),
    ("listen", "journald:var/log", "found 'var/log'"),
    ("connect", "journald://", "journald can only be listened on"),
    ("connect", "file:///a\0b", "a path cannot contain the character NUL"),
]


@pytest.mark.parametrize(("role", "text", "problem"), PROBLEMS)
def test_problems(role: Role, text: str, problem: str) -> None:
    with pytest.raises(ValueError) as caught:
        KINDS.url(text, role, base_dir="/base")
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["tcp://me:geheim@h:514", "me:geheim@h:514", "tpc://a:geheim@h:1"])
def test_a_password_is_never_shown(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        connect(text)
    assert "geheim" not in str(caught.value) + url_shown(text)


def test_long_texts_are_cut_in_errors() -> None:
    assert len(url_shown("x" * 1000)) < 100


@pytest.mark.parametrize(
    ("text", "id"),
    [
        ("udp://127.0.0.1:514", "udp-127.0.0.1-514"),
        ("tcp://:514", "tcp-all-514"),
        ("relp+tls://c.example:20515", "relp_tls-c.example-20515"),
        ("tls://[::1]:6514", "tls-__1-6514"),
        ("unixgram:///run/relay/log", "unixgram-run-relay-log"),
        ("systemd://syslog.socket", "systemd-syslog.socket"),
        ("journald://", "journald"),
        ("journald:///var/log/journal", "journald-var-log-journal"),
    ],
)
def test_ids_come_from_the_url(text: str, id: str) -> None:
    assert id_from_url(listen(text)) == id


def test_different_urls_have_different_ids() -> None:
    texts = ["unix:///a/b", "unix:///a-b", "unix:///A/b", "unix:///a_b", "unix:///a/b-"]
    texts += ["tcp://[fe80::1%a]:1", "tcp://[fe80::1%b]:1", f"tcp://{'x' * 90}:1", "relp://tls-h:1"]
    texts += [f"tcp://{'x' * 90}:2", "relp+tls://h:1", "tcp://:1"]
    ids = [id_from_url(listen(text)) for text in texts]
    assert len(set(ids)) == len(texts)
    assert all(len(id) <= 63 for id in ids)


def test_hosts() -> None:
    assert all(map(is_host, ("a", "a.example.", "1.2.3.4", "::1", "xn--bcher-kva.example")))
    assert not any(map(is_host, ("", "-a", "a b", "1.2.3", "[::1]", "a/b", "x" * 254)))


def test_a_region_instead_of_a_host() -> None:
    url = connect("sematext://EU")
    assert url == Url("sematext", "eu", is_bare=True)
    assert str(url) == "sematext://eu"
    assert id_from_url(url) == "sematext-eu"
