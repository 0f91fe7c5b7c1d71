"""Log lines of the `statusthing` command: readable on a terminal, one JSON object each otherwise.

The library itself only names loggers below `statusthing`; programs that embed it set up their own.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import msgspec

_OWN = len(vars(logging.makeLogRecord({})))
"""How many attributes every record begins with; those that follow were given as `extra`."""

_ADDED = frozenset({"message", "asctime"})
"""What other formatters may have added to it."""


def configure() -> None:
    """Send log lines to stderr: our own from INFO upwards, those of libraries from WARNING."""
    handler = logging.StreamHandler()
    handler.setFormatter(_readable() if sys.stderr.isatty() else _Json())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("statusthing").setLevel(logging.INFO)
    # What no line shows need not be found out: https://docs.python.org/3/howto/logging.html#optimization
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # noqa: SLF001 - as described there


class _Json(logging.Formatter):
    """One JSON object each.

    There is a line for every request, and making it must not cost more than answering: structlog
    took 45 microseconds for it under load, a quarter of what serving a page takes.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {"event": record.getMessage(), "level": record.levelname.lower()}
        line["logger"] = record.name
        for name, value in islice(vars(record).items(), _OWN, None):
            if name not in _ADDED:
                line[name] = value  # noqa: PERF403 - a comprehension takes longer for so few
        now = datetime.fromtimestamp(record.created, UTC)
        line["timestamp"] = now.isoformat(timespec="microseconds").replace("+00:00", "Z")
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            text = msgspec.json.encode(line, enc_hook=repr).decode()
        except UnicodeEncodeError:  # a name of a file, say, that is no text
            text = ""
        # Whatever the encoding of stderr is, it has ASCII.
        return text if text.isascii() and text else json.dumps(line, default=repr)


def _readable() -> logging.Formatter:
    """For people; structlog takes a while to load, and only they need it."""
    import structlog  # noqa: PLC0415 - see above

    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
