"""Makes `twistd syslogrelay` exist.  Imports nothing of relay until it is chosen."""

from twisted.application.service import ServiceMaker

serviceMaker = ServiceMaker(
    "syslogrelay",
    "relay.service.options",
    "A syslog relay with a disk queue: an answer means on disk.",
    "syslogrelay",
)
