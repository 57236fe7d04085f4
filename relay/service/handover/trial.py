"""Try whether this version can go on with a relay that runs, without touching it.

    python -m relay.service.handover.trial OPTIONS-OF-THE-RELAY

Writes one line of JSON, with the version or the problems; the exit status is 0 or 1.  It parses
and builds everything that a start builds, reads the format of the queue, and binds, for a moment,
the listeners that the running relay does not have.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Container, Iterator, Sequence

from twisted.application.service import IServiceCollection, Service
from twisted.logger import globalLogBeginner

from relay import __version__
from relay.model.errors import ConfigurationError, QueueError
from relay.queue.repair.compatibility import refuse_other_version
from relay.service.handover.arrival import TRIAL_VARIABLE, names_in_use
from relay.service.options import Options, configuration_of, makeService
from relay.service.refusal import StartRefused
from relay.service.sources.service import ListeningSource


def main(arguments: Sequence[str]) -> int:
    # What would go to the log says nothing that the answer does not say.
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False)
    options = Options()
    options.parseOptions(list(arguments))
    try:
        configuration = configuration_of(options)
        refuse_other_version(os.path.join(configuration.state_dir, "queue"))
        in_use = names_in_use(os.environ.get(TRIAL_VARIABLE, ""))
        relay = makeService(options)
        problems = [*_unbindable(relay, in_use)]
    except ConfigurationError as error:
        problems = error.problems
    except (StartRefused, QueueError) as error:
        problems = str(error).splitlines()
    if problems:
        print(json.dumps({"problems": problems}))
        return 1
    print(json.dumps({"version": __version__, "state_dir": configuration.state_dir}))
    return 0


def _unbindable(relay: object, in_use: Container[str]) -> Iterator[str]:
    """Why sources that are new could not listen."""
    for source in _sources(relay):
        if source.socket_name not in in_use and not source.url.inherited:
            try:
                source.try_to_bind()
            except StartRefused as error:
                yield error.text


def _sources(service: object) -> Iterator[ListeningSource]:
    if isinstance(service, ListeningSource):
        yield service
    elif isinstance(service, Service) and IServiceCollection.providedBy(service):
        for child in service:  # type: ignore[attr-defined]  # zope
            yield from _sources(child)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
