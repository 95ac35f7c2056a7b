"""The `lookalike` command: its groups, and what its exit codes mean.

0 done, 1 refused or failed (one line on stderr says why), 2 wrong usage. With --json exactly one JSON document is
on stdout, for a failure `{"error": {"code", "detail"}}`. LOOKALIKE_LOG_LEVEL=debug shows the trace of a failure.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import typer

from api.commands import (
    access,
    audit,
    backup,
    certificates,
    collections,
    curate,
    doctor,
    drift,
    enrol,
    evaluate,
    events,
    explain,
    faces,
    holds,
    jobs,
    models,
    pending,
    principals,
    recipients,
    reindex,
    retention,
    runs,
    search,
    service,
    subjects,
    train,
    tune,
    unknowns,
    watch,
    webhooks,
)
from api.commands.output import complain, print_json

FAILED = 1


def build() -> typer.Typer:
    """The command with all its groups."""
    app = typer.Typer(
        name="lookalike",
        help="Face recognition and visual search that an organisation runs itself.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    running = (service.serve, service.demo, doctor.doctor)
    asking = (
        enrol.enrol,
        faces.identify,
        search.search,
        faces.verify,
        faces.compare,
        faces.erase,
        jobs.calibrate,
        reindex.reindex,
        watch.watch,
    )
    measuring = (evaluate.evaluate, explain.explain, drift.drift, curate.curate, train.train, tune.tune, runs.runs)
    commands: tuple[Callable[..., None], ...] = (*running, *asking, *measuring)
    for command in commands:
        app.command()(command)
    app.add_typer(collections.app, name="collections")
    app.add_typer(pending.app, name="pending")
    app.add_typer(unknowns.app, name="unknowns")
    app.add_typer(subjects.app, name="subjects")
    app.add_typer(holds.app, name="holds")
    app.add_typer(retention.app, name="retention")
    app.add_typer(jobs.app, name="jobs")
    app.add_typer(models.app, name="models")
    app.add_typer(access.app, name="api-keys")
    app.add_typer(principals.app, name="principals")
    app.add_typer(recipients.app, name="keys")
    app.add_typer(audit.app, name="audit")
    app.add_typer(events.app, name="events")
    app.add_typer(webhooks.app, name="webhooks")
    app.add_typer(certificates.app, name="tls")
    app.add_typer(backup.app, name="backup")
    return app


def main() -> None:
    """Run the command line and exit."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        build()()
    except Exception as error:
        if os.environ.get("LOOKALIKE_LOG_LEVEL", "").lower() == "debug":
            raise
        sys.exit(_fail(error))


def _fail(error: Exception) -> int:
    """Say in one line what went wrong. Returns the exit code."""
    code, text = _explain(error)
    if "--json" in sys.argv[1:]:
        print_json({"error": {"code": code, "detail": text}})
    complain(text)
    return FAILED


def _explain(error: Exception) -> tuple[str, str]:
    """A stable code and a sentence, without a path into this program or a value that it held."""
    from api.client_sending import ClientError
    from lookalike.errors import LookalikeError

    if isinstance(error, ClientError):
        return error.code, str(error)
    if isinstance(error, LookalikeError):
        return error.code, f"{error} ({error.code})"
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return "os_error", f"{where}{error.strerror or type(error).__name__}"
    return "internal_error", f"internal error, {type(error).__name__}; LOOKALIKE_LOG_LEVEL=debug shows the trace"


if __name__ == "__main__":
    main()
