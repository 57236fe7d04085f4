from __future__ import annotations

from relay.wire.adapters.sudo import read_sudo


def test_a_command_has_all_the_rest() -> None:
    msg = b"   alice : TTY=pts/0 ; PWD=/home/a=b ; USER=root ; COMMAND=/bin/sh -c a ; B=c"
    assert read_sudo(msg) == {
        ".sudo.SUBJECT": b"alice",
        ".sudo.TTY": b"pts/0",
        ".sudo.PWD": b"/home/a=b",
        ".sudo.USER": b"root",
        ".sudo.COMMAND": b"/bin/sh -c a ; B=c",
    }


def test_words_between_are_passed_over() -> None:
    msg = b"alice : 3 incorrect password attempts ; TTY=pts/0 ; USER=root ; COMMAND=/bin/ls"
    pairs = read_sudo(msg)
    assert pairs is not None
    assert list(pairs) == [".sudo.SUBJECT", ".sudo.TTY", ".sudo.USER", ".sudo.COMMAND"]


def test_other_messages_have_no_pairs() -> None:
    assert read_sudo(b"pam_unix(sudo:session): session opened for user root") is None
    assert read_sudo(b"") is None
