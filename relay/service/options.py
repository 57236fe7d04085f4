"""The command line of ``twistd syslogrelay``, and the way from it to a service."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Sequence
from typing import Any, ClassVar

from twisted.application.service import IService
from twisted.copyright import version as twisted_version
from twisted.logger import Logger
from twisted.python import usage

from relay import __version__
from relay.codec import IS_COMPILED
from relay.model.errors import ConfigurationError
from relay.service.configuration.file import read_configuration
from relay.service.configuration.model import Configuration
from relay.service.configuration.table import did_you_mean
from relay.service.configuration.url import Role
from relay.service.flags import OtherFlags, configuration_from_flags
from relay.service.handover.arrival import arrive
from relay.service.handover.program import own_program
from relay.service.kinds import KINDS
from relay.service.process.settings import run_steadily
from relay.service.process.systemd import initial_environment, take_systemd
from relay.service.process.twistd_hooks import new_observer, show_whole_refusals
from relay.service.refusal import StartRefused

_log = Logger(namespace="relay")

EXAMPLES = """
Examples:
  twistd --nodaemon syslogrelay --config /etc/syslogrelay/relay.toml

  twistd --nodaemon syslogrelay --state-dir var \\
      --listen udp://:5514 --listen tcp://:5514 --listen unixgram:var/log.sock \\
      --forward relp://central.example.com:20514

  twistd --nodaemon syslogrelay --state-dir var --listen unix:///run/relay/log \\
      --forward relp+tls://central.example.com:20515 --trusted-ca ca.pem \\
      --rewrite cee --token-file token

Options of twistd itself (--nodaemon, --pidfile, --logfile, --uid, --gid) stand
before "syslogrelay".  `syslogrelay check FILE` looks for errors in a file.
"""


def _forms(role: Role) -> str:
    """The URLs that there are, those of one form together."""
    kinds = KINDS.by_scheme(role).values()
    forms = {
        form: [kind.scheme for kind in kinds if kind.address.form == form]
        for form in dict.fromkeys(kind.address.form for kind in kinds)
    }
    return ", ".join(f"{', '.join(schemes)} ({form})" for form, schemes in forms.items())


class Options(usage.Options):
    """Flags of the relay: either --config, or the flags that stand for a small file."""

    synopsis = "{--config FILE | --listen URL... --forward URL...} [options]"

    longdesc = (
        "Takes syslog messages, keeps each on disk until the next hop has acknowledged it, and "
        f"passes it on. Listens on {_forms('listen')}; forwards to {_forms('connect')}. No host "
        "means all addresses. With flags every source feeds every destination, and both "
        "get their ids from their URLs; a configuration file can do more."
    )

    optParameters: ClassVar = [
        ["config", "c", None, "Read everything from this TOML file; excludes the other options."],
        ["state-dir", "d", None, "Directory of the disk queue. [default: /var/lib/syslogrelay]"],
        ["rewrite", None, None, "none, cee, json, tag, app-name or ewmm. [default: none]"],
        ["token-file", None, None, "File with the token for cee, json, tag and app-name."],
        ["name", None, None, "Name of this relay. [default: the host's name]"],
        ["trusted-ca", None, None, "PEM file that verifies TLS upstreams. [default: the system's]"],
    ]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self["listen"] = []
        self["forward"] = []

    def opt_listen(self, url: str) -> None:
        """Take messages here; may be repeated."""
        self["listen"].append(url)

    def opt_forward(self, url: str) -> None:
        """Pass messages on to here; may be repeated."""
        self["forward"].append(url)

    def opt_version(self) -> None:
        """Show the versions of syslogrelay and Twisted, and exit."""
        print(f"syslogrelay {__version__} ({'compiled' if IS_COMPILED else 'pure Python'})")
        print(f"Twisted {twisted_version}")
        raise SystemExit(0)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Read the command line; what is wrong with it would stand below all of twistd's help."""
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except usage.UsageError as error:
            wrong = re.search(r"--\S+", str(error))
            known = [f"--{name.rstrip('=')}" for name in self.longOpt]
            near = did_you_mean(wrong[0], known) if wrong else ""
            print(f"twistd syslogrelay: {error}{near}", file=sys.stderr)
            print("All options: twistd syslogrelay --help", file=sys.stderr)
            raise SystemExit(2) from None

    def getUsage(self, width: int | None = None) -> str:
        """The help text, with the examples as they stand (longdesc gets re-wrapped)."""
        return super().getUsage(width) + EXAMPLES


def makeService(options: Options) -> IService:
    """Build the services of a relay.  Parses and checks; opens and binds nothing.

    Raises:
        StartRefused: The options or the configuration cannot be used; every
            problem is one line of its text.
    """
    try:
        configuration = configuration_of(options)
    except ConfigurationError as error:
        raise StartRefused("\n".join(error.problems)) from None

    # Not at the top: importing the reactor installs one, and `twistd --reactor`
    # has to come first.
    from twisted.internet import reactor

    from relay.service.assembly import assemble

    systemd = take_systemd(os.environ, initial=initial_environment(), pid=os.getpid())
    run_steadily(reactor)
    arrival = arrive(os.environ, systemd, own_program(options.parent))
    relay: Any = assemble(reactor, configuration, arrival.systemd, now=time.time, arrival=arrival)
    relay.log_observer = new_observer(options.parent, os.environ)
    show_whole_refusals()
    _log.info(
        "syslogrelay {version} starts as {name}: its state is in {state_dir}",
        version=__version__,
        name=configuration.name,
        state_dir=configuration.state_dir,
    )
    return relay  # type: ignore[no-any-return]  # zope: it provides IService


def configuration_of(options: Options) -> Configuration:
    """The configuration that the options name, or stand for.

    Raises:
        ConfigurationError: It cannot be used; it has every problem.
    """
    flags: dict[str, str] = {
        flag: value for flag, value in options.items() if value and flag != "config"
    }
    if options["config"] is not None:
        if flags:
            given = ", ".join(f"--{flag}" for flag in sorted(flags))
            raise ConfigurationError(
                [f"--config and {given} exclude each other; write it all into the file"]
            )
        return read_configuration(options["config"], KINDS, to_start=True)
    if not flags:
        raise ConfigurationError(
            [
                "nothing to do: start with --config FILE, or with --listen URL and --forward URL "
                "(more with --help)"
            ]
        )
    return configuration_from_flags(
        flags.get("listen", []),
        flags.get("forward", []),
        KINDS,
        OtherFlags(
            **{
                name.replace("-", "_"): value
                for name, value in flags.items()
                if name not in ("listen", "forward")
            }
        ),
        base_dir=os.getcwd(),
    )
