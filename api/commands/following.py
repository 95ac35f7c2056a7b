"""What a command that waits for a job shows of it meanwhile: how far it is, and what it has to wait for itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from api.commands.output import complain

if TYPE_CHECKING:
    from api.client_shapes import JobJson


def following(told: Callable[[int, int], None]) -> Callable[[JobJson], None]:
    """For `Client.wait`. told: how many are done, of how many. Each reason to wait is said once on stderr."""
    said: set[str] = set()

    def show(job: JobJson) -> None:
        told(job["progress"]["done"], job["progress"]["total"])
        error = job.get("error")
        why = str(error.get("detail")) if isinstance(error, dict) and job["state"] == "queued" else None
        if why is not None and why not in said:
            said.add(why)
            complain(f"the job waits and goes on by itself: {why}")

    return show
