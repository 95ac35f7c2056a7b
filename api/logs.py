"""The service's log on stderr: lines of JSON in ECS fields for a machine, or of text for a person at a terminal.

Nothing from a path, a query or a body is ever written, and an unforeseen error is told by its type and the lines of
code it passed, not by its message, which might hold a value; of a library's message only its source is told. Fields are
those of the Elastic Common Schema, as dotted names: https://www.elastic.co/docs/reference/ecs
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final, TextIO

LOGGER = "lookalike"
ECS_VERSION: Final = "8.17.0"
MOST_FRAMES: Final = 8
_OURS = frozenset({LOGGER, "api", "embedder", "index", "security"})
_FIELDS = "ecs"
_IN_TEXT = ("user.id", "trace.id", "error.type", "error.stack_trace")

Fields = Mapping[str, str | int | list[str]]


class EcsLines(logging.Formatter):
    """A record as one line of JSON, with the fields that were given for it by `fields` and no others."""

    def __init__(self) -> None:
        super().__init__()
        self._service = {
            "ecs.version": ECS_VERSION,
            "service.name": LOGGER,
            "service.version": version("lookalike"),
            "process.pid": os.getpid(),
        }

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {
            "@timestamp": at.replace("+00:00", "Z"),
            "log.level": record.levelname.lower(),
            "message": _said(record),
            **self._service,
            "log.logger": record.name,
            "event.dataset": f"{LOGGER}.log",
        }
        line.update(_fields_of(record))
        return json.dumps(line)


class TextLines(logging.Formatter):
    """A record as one line that a person reads."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, of the fields only those that help to find what happened."""
        at = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        fields = _fields_of(record)
        words = [at, f"{record.levelname.lower():7}", _said(record)]
        if "event.duration" in fields:
            words.append(f"{int(str(fields['event.duration'])) / 1e6:.1f} ms")
        words += [str(fields[name]).replace("\n", " < ") for name in _IN_TEXT if name in fields]
        return "  ".join(words)


def fields(values: Fields) -> dict[str, Fields]:
    """The `extra` of a log call: fields of ECS, which hold nothing that a caller may have chosen freely."""
    return {_FIELDS: values}


def _fields_of(record: logging.LogRecord) -> dict[str, str | int | list[str]]:
    found = dict(record.__dict__.get(_FIELDS, {}))
    if record.exc_info is not None and record.exc_info[1] is not None:
        found.update(told(record.exc_info[1]))
    return found


def _said(record: logging.LogRecord) -> str:
    """The message; of a library, which may have put anything into it, only whose it is."""
    ours = record.name.partition(".")[0] in _OURS
    return record.getMessage() if ours else f"message of {record.name}"


def told(error: BaseException) -> dict[str, str | int | list[str]]:
    """An error's type and the lines it passed through."""
    frames = traceback.extract_tb(error.__traceback__)[-MOST_FRAMES:]
    where = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
    return {"error.type": type(error).__name__, "error.stack_trace": "\n".join(where)}


def start_logging(level: str, form: str = "auto", to: TextIO | None = None) -> None:
    """Send the service's own log, and the warnings of libraries, to stderr.

    form: "ecs", "text", or "auto", which is text where stderr is a terminal.
    """
    stream = to or sys.stderr
    text = form == "text" or (form == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextLines() if text else EcsLines())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(LOGGER).setLevel(level.upper())


def log_request(
    *, method: str, route: str, status: int, seconds: float, request_id: str, trace_id: str, principal: str | None
) -> None:
    """The line of one answered request. route: the template, never the path; status: 499 where the client went away."""
    said: dict[str, str | int | list[str]] = {
        "event.kind": "event",
        "event.category": ["web"],
        "event.type": ["access"],
        "event.action": "request",
        "event.dataset": f"{LOGGER}.request",
        "event.outcome": "success" if status < 400 else "failure",
        "event.duration": round(seconds * 1e9),
        "http.request.method": method,
        "http.request.id": request_id,
        "http.response.status_code": status,
        "url.path": route,
        "trace.id": trace_id,
    }
    if principal is not None:
        said["user.id"] = principal
    logging.getLogger(LOGGER).info("%s %s %d", method, route, status, extra=fields(said))


def log_failure(what: str, error: BaseException, request_id: str) -> None:
    """The line of an error that nobody foresaw. request_id: of the request or job, "-" where there is none."""
    said: dict[str, str | int | list[str]] = {"event.kind": "event", "event.outcome": "failure", **told(error)}
    if request_id not in ("", "-"):
        said["http.request.id"] = request_id
    logging.getLogger(LOGGER).error("%s", what, extra=fields(said))
