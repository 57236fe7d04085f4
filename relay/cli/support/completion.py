"""`syslogrelay completion`: scripts with which shells complete commands, options and ids."""

from __future__ import annotations

import click
from click.shell_completion import ShellComplete, get_completion_class

from relay.cli.output import give_up

SHELLS = ("bash", "zsh", "fish")
_PROGRAM = "syslogrelay"
_VARIABLE = "_SYSLOGRELAY_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print a script with which SHELL completes this command.

    It completes commands, options, their values, files, and the ids of the relay whose
    configuration is in --config or the usual place.  For one session of bash:
    eval "$(syslogrelay completion bash)".  For all of them, write it to
    /usr/share/bash-completion/completions/syslogrelay; zsh has such files in
    /usr/share/zsh/vendor-completions/_syslogrelay, fish in
    /usr/share/fish/vendor_completions.d/syslogrelay.fish.
    """
    click.echo(script(shell), nl=False)


def script(shell: str) -> str:
    """The script that makes `shell` ask this program for completions."""
    cls = get_completion_class(shell)
    if cls is None:
        give_up(f"there is no completion for {shell}; there is one for {', '.join(SHELLS)}")
    completer = cls(click.Command(_PROGRAM), {}, _PROGRAM, _VARIABLE)
    # Not `source()` of the class for bash: it starts bash to look at its version, and a package
    # is built where there may be none.
    return ShellComplete.source(completer).lstrip("\n").rstrip("\n") + "\n"
