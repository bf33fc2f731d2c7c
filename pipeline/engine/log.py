"""The log of a session, by the standard `logging`, under the name ``hotscan``.

in       progress events, and whatever the modules log
out      ``hotscan.log`` in the output directory, appended to by every session
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.engine.events import Event, Notice, StageFinished, StageStarted, describe_notice
from pipeline.engine.storage.run_directory import open_run_directory
from stages.text import escape_text

LOGGER = logging.getLogger("hotscan")
_FORMAT = "%(asctime)s %(levelname)s %(message)s"


class _PrintableFormatter(logging.Formatter):
    """Escapes what would act on the terminal that shows the log."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record; line breaks stay, as tracebacks have them."""
        return escape_text(super().format(record), keep="\n")


class _LogFile(logging.FileHandler):
    """Loses what does not fit on the disk: the run itself says that it is full."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Print no traceback."""


@contextmanager
def log_to(directory: Path) -> Iterator[None]:
    """Write everything that is logged to a file in `directory`, a run's or created when absent."""
    handler = _LogFile(open_run_directory(directory).log, encoding="utf-8")
    handler.setFormatter(_PrintableFormatter(_FORMAT))
    level = LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.DEBUG)
    try:
        yield
    except BaseException as error:
        LOGGER.error("ended by %s: %s", type(error).__name__, error)
        raise
    finally:
        LOGGER.setLevel(level)
        LOGGER.removeHandler(handler)
        handler.close()


def log_event(event: Event) -> None:
    """Log a progress event."""
    if isinstance(event, StageStarted):
        LOGGER.info("%s: %d of %d %s done", event.stage, event.done, event.total, event.noun)
    elif isinstance(event, StageFinished):
        LOGGER.info("%s: finished in %.1f s, %d failed", event.stage, event.seconds, event.failed)
    elif isinstance(event, Notice):
        LOGGER.warning("%s", describe_notice(event))
    else:
        LOGGER.debug("%s: %d/%d %s", event.stage, event.done, event.total, dict(event.counts))
