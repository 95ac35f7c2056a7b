"""The demo: starts the real service, enrols people over HTTPS, and asks it about other pictures and strangers.

Nothing is prepared: every answer comes from the service, and other pictures give other answers. The service has a
data folder and a key of its own, both gone afterwards.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from api.client import Client, ClientError
from api.client_shapes import IdentificationJson
from api.demo_pictures import Cast, Probe, choose_cast
from api.demo_sheet import Answered, draw_sheet, group_picture
from lookalike.errors import StorageUnavailable

COLLECTION: Final = "demo"
START_S: Final = 120.0
STOP_S: Final = 30.0
WIDTH_OF_A_PIPE: Final = 140
IN_GROUP: Final = (3, 2)
"""Enrolled people and strangers in the group picture."""


def run_demo(people: Path | None, photos: Path | None, out: Path, seed: int) -> bool:
    """Run it and print what happened. Returns whether somebody was recognised and a stranger refused."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH_OF_A_PIPE)
    cast = choose_cast(people, photos, seed)
    console.print(f"pictures: {cast.source}", highlight=False, markup=False)
    with running_service() as (client, url):
        console.print(f"service: {url}, its data folder encrypted and gone afterwards", highlight=False)
        _enrol(client, cast, console)
        answered = [_ask(client, probe) for probe in cast.probes]
        group = group_picture(_for_group(answered))
        together = client.identify(COLLECTION, group)
    _print_table(console, answered)
    summary = _summary(cast, answered, together)
    console.print(f"\n{summary}", highlight=False)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "demo.png"
    draw_sheet(cast, answered, group, together, summary).save(path)
    console.print(f"annotated picture: {path.resolve()}", highlight=False, markup=False, soft_wrap=True)
    return _proven(answered)


# ------------------------------------------------------------------------------------------- the service


@contextmanager
def running_service() -> Iterator[tuple[Client, str]]:
    """`lookalike serve` on a free port with a new data folder, and a client with its admin key."""
    with tempfile.TemporaryDirectory(prefix="lookalike-demo-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        key = secrets.token_urlsafe(36)
        (folder / "admin.key").touch(0o600)
        (folder / "admin.key").write_text(key)
        with (folder / "service.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "api.cli", "serve"],
                cwd=folder,
                env=_environment(folder),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        try:
            url = _wait_until_ready(process, folder / "service.log")
            with Client(url, api_key=key, ca=folder / "data" / "tls" / "ca.crt") as client:
                yield client, url
        finally:
            _stop(process)


def _environment(folder: Path) -> dict[str, str]:
    """This process's, without its own settings of Lookalike, and with those of a service to try things on."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LOOKALIKE_")}
    return kept | {
        "LOOKALIKE_DATA": str(folder / "data"),
        "LOOKALIKE_HOST": "127.0.0.1",
        "LOOKALIKE_PORT": "0",
        "LOOKALIKE_BOOTSTRAP_KEY_FILE": str(folder / "admin.key"),
        "LOOKALIKE_LOG_LEVEL": "warning",
    }


def _wait_until_ready(process: subprocess.Popen[str], log: Path) -> str:
    """The URL that the service prints. Raises: StorageUnavailable with its last words if it ends or takes too long."""
    watchdog = threading.Timer(START_S, process.kill)
    watchdog.start()
    try:
        for line in process.stdout or ():
            if line.startswith("ready "):
                return line.split()[1]
    finally:
        watchdog.cancel()
    process.wait(STOP_S)
    words = log.read_text(errors="replace").strip().splitlines()
    raise StorageUnavailable(f"the service did not start: {words[-1] if words else process.returncode}")


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


# -------------------------------------------------------------------------------------------- the main job


def _enrol(client: Client, cast: Cast, console: Console) -> None:
    client.create_collection(COLLECTION)
    started = time.perf_counter()
    for name, pictures in cast.enrolled.items():
        try:
            client.enrol(COLLECTION, name, *pictures)
        except ClientError as error:
            console.print(f"not enrolled: {name}: {error}", highlight=False, markup=False)
    took = time.perf_counter() - started
    enrolled = client.collection(COLLECTION)["subjects"]
    console.print(f"enrolled {enrolled} people, one picture each, in {took:.1f} s", highlight=False)


def _ask(client: Client, probe: Probe) -> Answered:
    """The service's answer about the largest face; no face found counts as nobody recognised."""
    started = time.perf_counter()
    try:
        answer = client.identify(COLLECTION, probe.image, faces="largest", limit=1)
    except ClientError as error:
        if error.code != "face_not_found":
            raise
        return Answered(probe, None, None, None, 1000 * (time.perf_counter() - started), None)
    took = 1000 * (time.perf_counter() - started)
    face = answer["faces"][0]
    if not face["candidates"]:
        return Answered(probe, None, None, None, took, face["box"])
    best = face["candidates"][0]
    return Answered(probe, best["subject"], best["similarity"], best["fpir"], took, face["box"])


def _for_group(answered: Sequence[Answered]) -> list[Answered]:
    """Some enrolled people and some strangers whose face was found, whatever was answered, each person once."""
    known = {one.probe.truth: one for one in reversed(answered) if one.probe.truth and one.box}
    strangers = [one for one in answered if one.probe.truth is None and one.box]
    chosen = [*list(reversed(known.values()))[: IN_GROUP[0]], *strangers[: IN_GROUP[1]]]
    return [*chosen[0::2], *chosen[1::2]]


# -------------------------------------------------------------------------------------------- what is shown


def _print_table(console: Console, answered: Sequence[Answered]) -> None:
    table = Table(header_style="bold")
    for column in ("probe", "truth", "answer"):
        table.add_column(column, no_wrap=True)  # names give way where the terminal is narrow, figures do not
    for column, width in (("similarity", 10), ("fpir", 6), ("ms", 4)):
        table.add_column(column, justify="right", no_wrap=True, min_width=width)
    table.add_column("", no_wrap=True, min_width=len("stranger refused"))
    for one in answered:
        style = ("green" if one.answer else "yellow") if one.right else "bold red"
        table.add_row(
            Text(one.probe.label),
            Text(one.probe.truth or "a stranger"),
            Text(one.answer or "unknown", style),
            "" if one.similarity is None else f"{one.similarity:.3f}",
            "" if one.fpir is None else f"{one.fpir:.1g}",
            f"{one.ms:.0f}",
            Text(one.verdict, style),
        )
    console.print(table)


def _summary(cast: Cast, answered: Sequence[Answered], together: IdentificationJson) -> str:
    mated = [one for one in answered if one.probe.truth]
    strangers = [one for one in answered if not one.probe.truth]
    bar = together["threshold"]
    return (
        f"identified {sum(one.right for one in mated)}/{len(mated)}, "
        f"strangers refused {sum(one.right for one in strangers)}/{len(strangers)}; "
        f"threshold {bar['similarity']:.3f} ({bar['source']}) for FPIR {bar.get('target_fpir')} "
        f"among {len(cast.enrolled)} people; {together['model']}"
    )


def _proven(answered: Sequence[Answered]) -> bool:
    return {"recognised", "stranger refused"} <= {one.verdict for one in answered}
