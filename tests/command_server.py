"""`syslogrelay` for tests that run it often: a process that has imported all commands, and forks.

A start of the command costs half a second and more of processor time, nearly all for imports.
`Commands` starts the process and makes a program `syslogrelay` that passes its arguments,
environment, folder and standard streams to it and ends with the status that comes back.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path

import click

from relay.cli.main import main
from tests.processes import Program, is_listening_unix

__all__ = ["Commands"]

MESSAGE_BYTES_MAX = 1 << 20
PROGRAM = """\
#!{python} -SE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
    server.connect({place!r})
    call = [sys.argv[1:], os.getcwd(), dict(os.environ)]
    socket.send_fds(server, [json.dumps(call).encode()], [0, 1, 2])
    status = server.recv(1)
sys.exit(status[0] if status else "the command was killed")
"""


class Commands(Program):
    """The process; `path` is the folder of the program."""

    def __init__(self, folder: Path) -> None:
        place = str(folder / "commands.sock")
        self.path = folder / "bin"
        self.path.mkdir(parents=True)
        program = self.path / "syslogrelay"
        program.write_text(PROGRAM.format(python=sys.executable, place=place))
        program.chmod(0o755)
        super().__init__(
            [sys.executable, "-m", "tests.command_server", place],
            folder=folder,
            name="commands",
            environment={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
            is_ready=lambda: is_listening_unix(place),
        )


def import_all(group: click.Group) -> None:
    """Have every command in memory."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            import_all(command)


def serve(place: str) -> None:
    import_all(main)
    assert "twisted.internet.reactor" not in sys.modules  # an epoll that forks would share
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(place)
        listener.listen()
        while True:
            client, _ = listener.accept()
            with client:
                if os.fork() == 0:
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    run(client)


def run(client: socket.socket) -> None:
    """One command, in a process of its own."""
    text, streams, _, _ = socket.recv_fds(client, MESSAGE_BYTES_MAX, 3)
    arguments, folder, environment = json.loads(text)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    status = 1
    try:
        main(arguments, "syslogrelay")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        client.sendall(bytes([status]))
        os._exit(status)


if __name__ == "__main__":
    serve(sys.argv[1])
