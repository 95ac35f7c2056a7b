"""`lookalike reindex`: another model or index for a collection, while it goes on answering."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.commands.following import following
from api.commands.output import JsonOption, print_json, print_table, progress
from api.commands.session import open_client

if TYPE_CHECKING:
    from api.client import Client
    from api.client_shapes import CollectionJson, JobJson


def reindex(
    collection: Annotated[str, typer.Argument(metavar="COLLECTION")],
    model: Annotated[str | None, typer.Option(help="The model to change to; the present one by default.")] = None,
    index: Annotated[str | None, typer.Option(help="The index to change to: faiss:, faiss+disk: or exact:.")] = None,
    hold: Annotated[bool, typer.Option("--hold", help="Complete and verify it, but do not promote it.")] = False,
    insist: Annotated[bool, typer.Option("--insist", help="Promote it even if it knows fewer people.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with one that was interrupted.")] = False,
    rate: Annotated[float | None, typer.Option(help="Pictures embedded in a second, at most.")] = None,
    promote: Annotated[bool, typer.Option("--promote", help="Promote the one that was held.")] = False,
    rollback: Annotated[bool, typer.Option("--rollback", help="Answer through the one before again.")] = False,
    shadow: Annotated[float | None, typer.Option(help="Ask the one that was held too, for this share.")] = None,
    canary: Annotated[float | None, typer.Option(help="Let it answer this share of the probes; 0 ends it.")] = None,
    trial: Annotated[bool, typer.Option("--trial", help="Show what a service counted of its trial.")] = False,
    finish: Annotated[bool, typer.Option("--finish", help="Let go of the one before now, for good.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Forget the one that is unfinished.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Move a collection to another model or index; it answers as before until the new one is verified."""
    if sum((resume, promote, rollback, finish, cancel, trial, shadow is not None, canary is not None)) > 1:
        raise typer.BadParameter(
            "--resume, --promote, --rollback, --shadow, --canary, --trial, --finish and --cancel exclude each other"
        )
    with open_client() as client:
        if trial:
            _show_trial(client.trial(collection), as_json)
            return
        if finish:
            client.wait(client.finish_reindex(collection))
            _show_collection(client.collection(collection), as_json)
            return
        changed = _changed(client, collection, promote, insist, rollback, cancel, shadow, canary)
        if changed is not None:
            _show_collection(changed, as_json)
            return
        job = client.reindex(collection, model=model, index=index, hold=hold, insist=insist, resume=resume, rate=rate)
        _show_job(collection, _followed(client, collection, job), as_json)


def _changed(
    client: Client,
    collection: str,
    promote: bool,
    insist: bool,
    rollback: bool,
    cancel: bool,
    shadow: float | None,
    canary: float | None,
) -> CollectionJson | None:
    """The collection after what takes no job; None when a job was asked for."""
    if promote:
        return client.promote(collection, insist=insist)
    if rollback:
        return client.roll_back(collection)
    if cancel:
        return client.give_up_reindex(collection)
    if shadow is not None:
        return client.try_out(collection, "shadow", shadow)
    if canary is not None:
        return client.try_out(collection, "canary", canary)
    return None


def _show_trial(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    trial = found["trial"]
    state = "none" if trial is None else f"{trial['mode']} on {trial['share']:.0%} of {trial['generation']}"
    ended = [("ended", trial["worse"])] if trial is not None and "worse" in trial else []
    print_table(("field", "value"), [("trial", state), *ended, *found["counted"].items()])


def _followed(client: Client, collection: str, job: JobJson) -> JobJson:
    """The job once it is done. Raises: ClientError if it fails, with what to do then."""
    from api.client_sending import ClientError

    try:
        with progress(f"re-indexing {collection}") as told:
            return client.wait(job, on_progress=following(told))
    except ClientError as error:
        raise ClientError(
            error.code, error.status, f"{error}; `lookalike reindex {collection} --resume` goes on, --cancel gives up"
        ) from error


def _show_job(collection: str, job: JobJson, as_json: bool) -> None:
    if as_json:
        print_json(job)
        return
    result = job.get("result")
    if not isinstance(result, dict):
        return
    state = "answers now" if result["promoted"] else "is ready but does not answer"
    print(f"{collection}: {result['model']} {state}; {result['samples']} samples, recall {result['recall']:.4f}")
    if result["judged"]:
        print(
            f"of {result['judged']} subjects with several samples {result['lost']} are no longer known by one of them "
            f"and {result['gained']} are known now that were not: {result['verdict']}"
        )
    else:
        print("nobody has several samples: only the index was compared; --hold, then --shadow, tries a model")
    print(f"threshold {result['threshold_before']:.3f} before, {result['threshold']:.3f} now")
    _show_carriage(result)
    if result["promoted"]:
        print(f"`lookalike reindex {collection} --rollback` undoes it while the one before is kept")
    elif result["verdict"] == "worse":
        why = "it has no threshold for this rate" if result["threshold"] >= 1 else "it knows fewer people"
        print(f"{why}: `lookalike reindex {collection} --cancel` forgets it, --promote insists")


def _show_carriage(result: Mapping[str, Any]) -> None:
    """What became of samples without a kept picture."""
    how = result.get("carriage") or {}
    if result.get("carried"):
        judged = f", which loses {how['lost']} of {how['known']} people it was tried on" if how.get("known") else ""
        print(f"{result['carried']} samples have no kept picture: carried by a learned mapping{judged}, and marked")
    if result["left_behind"]:
        why = f" ({how['why']})" if how.get("why") else ""
        print(f"{result['left_behind']} samples have no kept picture and are not in it{why}; --json names them")


def _show_collection(found: CollectionJson, as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        print(f"{found['name']} answers through {found['model']}, generation {found.get('generation')}")
