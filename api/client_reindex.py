"""The client's calls about re-indexing: begun, tried, promoted, rolled back, let go."""

from __future__ import annotations

from typing import Any, cast

from api.client_calls import Calls, given, path_of
from api.client_shapes import CollectionJson, JobJson


class ReindexCalls(Calls):
    """A part of the Client."""

    def reindex(
        self,
        collection: str,
        *,
        model: str | None = None,
        index: str | None = None,
        hold: bool = False,
        insist: bool = False,
        resume: bool = False,
        rate: float | None = None,
    ) -> JobJson:
        """Move a collection to another model or index, as a job (see `wait`); until its end all is as before.

        rate: pictures embedded in a second, at most.
        """
        body = {**given(model=model, index=index, rate=rate), "hold": hold, "insist": insist, "resume": resume}
        return cast(JobJson, self._write("POST", path_of("collections", collection, "reindex"), body))

    def promote(self, collection: str, *, insist: bool = False) -> CollectionJson:
        """Answer through the generation that is complete and waits; insist: even if its trial found it worse."""
        path = path_of("collections", collection, "reindex", "promote") + ("?insist=true" if insist else "")
        return cast(CollectionJson, self._write("POST", path))

    def finish_reindex(self, collection: str) -> JobJson:
        """Let go of the generation before now, as a job: one can no longer roll back."""
        return cast(JobJson, self._write("POST", path_of("collections", collection, "reindex", "finish")))

    def try_out(self, collection: str, mode: str, share: float) -> CollectionJson:
        """Try the generation that waits on a share of the probes. mode: "shadow" or "canary"; a share of 0 ends it."""
        path = path_of("collections", collection, "reindex", "trial")
        return cast(CollectionJson, self._write("POST", path, {"mode": mode, "share": share}))

    def trial(self, collection: str) -> dict[str, Any]:
        """What the answering process counted of the trial since it began."""
        return cast("dict[str, Any]", self._read(path_of("collections", collection, "reindex", "trial")))

    def roll_back(self, collection: str) -> CollectionJson:
        """Answer through the generation before again."""
        return cast(CollectionJson, self._write("POST", path_of("collections", collection, "reindex", "rollback")))

    def give_up_reindex(self, collection: str) -> CollectionJson:
        """Forget the generation that is being filled or waits."""
        return cast(CollectionJson, self._write("DELETE", path_of("collections", collection, "reindex")))
