"""Real rsyslogd and syslog-ng in the foreground, each in a folder of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.interop.packages import PackagesRoot
from tests.processes import Program, is_bound_udp, is_listening_tcp

__all__ = ["Rsyslog", "SyslogNg"]


class Rsyslog(Program):
    """rsyslogd.

    Args:
        config: Its configuration after a head that sets folders and limits and
            defines two templates: `raw` (a line as it came) and `raw-frame` (the
            same without a line end).
        tcp: Ports that it will listen on, for readiness.
        udp: As `tcp`.
    """

    def __init__(
        self,
        packages: PackagesRoot,
        folder: Path,
        config: str,
        *,
        tcp: Sequence[int] = (),
        udp: Sequence[int] = (),
        name: str = "rsyslog",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        config_path = folder / f"{name}.conf"
        config_path.write_text(_RSYSLOG_HEAD.format(folder=folder, name=name) + config)
        modules = packages.rsyslog_modules
        super().__init__(
            [
                *(str(packages.rsyslogd), "-n", "-C", "-f", str(config_path)),
                *("-i", str(folder / f"{name}.pid"), "-M", str(modules)),
            ],
            folder=folder,
            name=name,
            environment=packages.environment,
            is_ready=lambda: _are_bound(tcp, udp),
        )

    def log(self) -> str:
        """What it printed before it had its configuration, and what it reported after."""
        internal = self.folder / f"{self.name}.internal"
        later = internal.read_text(errors="replace") if internal.exists() else ""
        return super().log() + later


_RSYSLOG_HEAD = """\
$MaxMessageSize 64k
global(
  workDirectory="{folder}" net.enableDNS="off"
  parser.escapeControlCharactersOnReceive="off"
  action.reportSuspension="on" internalmsg.ratelimit.interval="1"
)
template(name="raw" type="string" string="%rawmsg%\\n")
template(name="raw-frame" type="string" string="%rawmsg%")
if $inputname == "rsyslogd" then {{
  action(type="omfile" file="{folder}/{name}.internal")
  stop
}}
"""


class SyslogNg(Program):
    """syslog-ng; `config` follows a head with version, options and the SCL."""

    def __init__(
        self,
        packages: PackagesRoot,
        folder: Path,
        config: str,
        *,
        tcp: Sequence[int] = (),
        udp: Sequence[int] = (),
        name: str = "syslog-ng",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        config_path = folder / f"{name}.conf"
        config_path.write_text(_SYSLOG_NG_HEAD.format(include=packages.syslog_ng_include) + config)
        super().__init__(
            [
                *(str(packages.syslog_ng), "-F", "-e", "--no-caps", "-f", str(config_path)),
                *(f"--persist-file={folder / name}.persist", f"--pidfile={folder / name}.pid"),
                *(f"--control={folder / name}.ctl", f"--module-path={packages.syslog_ng_modules}"),
            ],
            folder=folder,
            name=name,
            environment=packages.environment,
            is_ready=lambda: _are_bound(tcp, udp),
        )


_SYSLOG_NG_HEAD = """\
@version: 3.38
@module appmodel
@include "{include}/scl/ewmm/ewmm.conf"
options {{
  keep-hostname(yes); use-dns(no); use-fqdn(no); chain-hostnames(no); stats-freq(0);
  time-reopen(1); frac-digits(6); log-msg-size(65536); log-fifo-size(100000);
}};
"""


def _are_bound(tcp: Sequence[int], udp: Sequence[int]) -> bool:
    return all(map(is_listening_tcp, tcp)) and all(map(is_bound_udp, udp))
