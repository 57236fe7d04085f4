"""librdkafka, by the package `confluent_kafka`: imported when it is needed, and what it logs.

Nothing imports the package before a configuration names a URL of Kafka, and nothing makes one of
its objects before twistd has forked: each of them has threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType

from relay.model.text import printable

MISSING = (
    "the package confluent-kafka is missing, which speaks Kafka's protocol; install it with "
    "pip install 'syslogrelay[kafka]'"
)

_END = "~"  # no property has this name
_UNFIT = "CONFWARN"
_ERROR_LEVEL = 30  # of Python's logging: warning; librdkafka reports lost connections below it


def load_library() -> ModuleType:
    """The package; ImportError says how to install it."""
    try:
        import confluent_kafka
    except ImportError as error:
        raise ImportError(MISSING) from error
    return confluent_kafka


def settings_problem(settings: Mapping[str, str]) -> str:
    """The objection of librdkafka to settings; empty = they exist and have values in their ranges.

    No client is made, and so no thread: the last setting is one that does not exist.

    Raises:
        ImportError: The package is missing.
    """
    library = load_library()
    try:
        library.Producer({**settings, _END: ""})
    except library.KafkaException as error:
        text = text_of(error.args[0])
        return "" if f'"{_END}"' in text else text
    raise AssertionError(f"librdkafka has taken the setting {_END!r}")


def text_of(error: object) -> str:
    """An error of librdkafka for people: one line, short."""
    text = error.str() if hasattr(error, "str") else str(error)
    return printable(" ".join(str(text).split()))


class LibraryLog:
    """The logger of a client: hands warnings and errors on.

    Args:
        on_text: Called with one line, in the thread that polls the client.
    """

    def __init__(self, on_text: Callable[[str], None]) -> None:
        self._on_text = on_text

    def log(self, level: int, form: str, *values: object) -> None:
        """As `logging.Logger.log`; librdkafka gives its facility, a name and the text."""
        if level >= _ERROR_LEVEL and _UNFIT not in values:
            self._on_text(text_of(values[-1] if values else form))
