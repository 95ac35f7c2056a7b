"""One JSON line a request on stderr: time, level, event, route template, status, ms, request id, principal id.

Nothing from a path, a query or a body is ever written, and an unforeseen error is told by its type and the lines of
code it passed, not by its message, which might hold a value; of a library's message only its source is told.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path

LOGGER = "lookalike"
_OURS = frozenset({LOGGER, "api", "embedder", "index", "security"})
_FIELDS = ("route", "method", "status", "ms", "request_id", "principal", "error", "where")


class JsonLines(logging.Formatter):
    """A record as one line of JSON, holding the fields that this module knows and no others."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage() if record.name.partition(".")[0] in _OURS else f"message of {record.name}",
        }
        line.update({name: record.__dict__[name] for name in _FIELDS if name in record.__dict__})
        if record.exc_info is not None and record.exc_info[1] is not None:
            line.update(told(record.exc_info[1]))
        return json.dumps(line)


def told(error: BaseException) -> dict[str, object]:
    """An error's type and the lines it passed through."""
    frames = traceback.extract_tb(error.__traceback__)
    return {
        "error": type(error).__name__,
        "where": [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames[-8:]],
    }


def start_logging(level: str) -> None:
    """Send the service's own log, and the warnings of libraries, to stderr as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(LOGGER).setLevel(level.upper())


def log_request(*, method: str, route: str, status: int, ms: float, request_id: str, principal: str | None) -> None:
    """The line of one answered request."""
    logging.getLogger(LOGGER).info(
        "request",
        extra={
            "method": method,
            "route": route,
            "status": status,
            "ms": round(ms, 2),
            "request_id": request_id,
            "principal": principal,
        },
    )


def log_failure(event: str, error: BaseException, request_id: str) -> None:
    """The line of an error that nobody foresaw."""
    logging.getLogger(LOGGER).error(event, extra={"request_id": request_id, **told(error)})
