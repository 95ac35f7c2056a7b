"""`lookalike watch`: who a camera, or a video file, shows."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from api.commands.output import complain
from api.commands.session import open_client

if TYPE_CHECKING:
    from api.client import Client
    from api.watching import Answer, Decision, Watcher
    from embedder.video import Camera, Credential, Frame
    from lookalike.settings import Settings

T = TypeVar("T")


def watch(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="rtsp://HOST/…, https://HOST/snapshot.jpg, or a file.")
    ],
    collection: Annotated[str, typer.Option("--collection", "-c", help="Who may be recognised.")],
    camera: Annotated[
        str | None, typer.Option(help="Its name in events and the audit log; the host or the file's name if none.")
    ] = None,
    credentials: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A file that holds USER:PASSWORD of the camera.")
    ] = None,
    ca: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="The CA file for https:// snapshots.")
    ] = None,
    fps: Annotated[float, typer.Option(min=0.2, max=30, help="Frames looked at in a second, at most.")] = 8.0,
    zone: Annotated[
        list[str] | None,
        typer.Option(help="Only faces in here: x,y x,y x,y …, from 0 to 1 of the frame; may be repeated."),
    ] = None,
    min_face: Annotated[int, typer.Option(min=16, help="Pixels that a face must have across.")] = 40,
    shots: Annotated[int, typer.Option(min=1, max=8, help="Frames that one decision wants.")] = 3,
    absence: Annotated[float, typer.Option(min=0.2, help="Seconds after which whoever is gone has left.")] = 2.0,
    cooldown: Annotated[float, typer.Option(min=0, help="Seconds in which the same subject is not told again.")] = 60.0,
    unknown: Annotated[bool, typer.Option("--unknown", help="Tell who matches nobody, too.")] = False,
    fpir: Annotated[float | None, typer.Option(help="Share of strangers that may be taken for someone.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Print who comes by, once each, until the file ends or Ctrl-C. The service tells its receivers of events, too."""
    from api.watching import Watcher, WatchOptions
    from embedder.factory import build_detector
    from embedder.tracking import FaceTracker
    from embedder.video import Camera, is_live
    from lookalike.settings import read_settings

    settings, live = read_settings(), is_live(source)
    name = camera or _name_of(source)
    options = WatchOptions(
        zones=tuple(_polygon(text) for text in zone or ()),
        min_face_px=min_face,
        shots=shots,
        absence_s=absence,
        cooldown_s=cooldown,
        unknown=unknown,
    )
    with ExitStack() as stack:
        client = stack.enter_context(open_client())
        client.collection(collection)  # a wrong name is told at once, not by the first face
        executor: Executor = stack.enter_context(ThreadPoolExecutor(1)) if live else _AtOnce()
        watcher = Watcher(
            build_detector(_cache(settings), settings.runtime, settings.detector),
            FaceTracker(fps, absence),
            _asking(client, collection, name, fpir),
            executor,
            options,
            _complaining(),
        )
        stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        if live:
            reading = Camera(source, _credential(credentials), fps, ca)
            stack.callback(reading.close)
            found = _from_camera(watcher, reading, stop)
        else:
            found = _from_file(watcher, Path(source), fps, stop)
        try:
            for decision in found:
                print(_json(decision, name) if as_json else _line(decision, name, live), flush=True)
        except KeyboardInterrupt:
            pass
        if watcher.frames == 0:
            complain("no frame came")
            raise typer.Exit(1)
        complain(f"{watcher.frames} frames, {watcher.faces} faces in them")


def _from_file(watcher: Watcher, path: Path, fps: float, stop: threading.Event) -> Iterator[Decision]:
    from embedder.video import file_frames

    at = 0.0
    for frame in file_frames(path, fps):
        at = frame.at
        yield from watcher.look(frame)
        if stop.is_set():
            break
    yield from watcher.end(at)


def _from_camera(watcher: Watcher, camera: Camera, stop: threading.Event) -> Iterator[Decision]:
    told: str | None = None
    frame: Frame | None
    for frame in camera.frames():
        if camera.trouble != told:
            told = camera.trouble
            if told is not None:
                complain(f"{told}; it is tried again")
        yield from watcher.pass_time(time.monotonic()) if frame is None else watcher.look(frame)
        if stop.is_set():
            break
    yield from watcher.end(time.monotonic())


def _asking(
    client: Client, collection: str, camera: str, fpir: float | None
) -> Callable[[Sequence[bytes], bool], Answer]:
    from api.client import ClientError
    from api.watching import Answer

    def ask(frames: Sequence[bytes], tentative: bool) -> Answer:
        try:
            found = client.sight(collection, list(frames), camera=camera, tentative=tentative, fpir=fpir)
        except ClientError as error:
            if error.code == "face_not_found":
                return Answer(None)
            raise
        candidates = found["faces"][0]["candidates"]
        if not candidates:
            return Answer(None)
        return Answer(candidates[0]["subject"], candidates[0]["similarity"], candidates[0].get("fpir"))

    return ask


def _complaining() -> Callable[[Exception], None]:
    """Says each kind of trouble once in a row."""
    said: list[str] = []

    def complain_once(error: Exception) -> None:
        if str(error) not in said[-1:]:
            said.append(str(error))
            complain(f"not answered, and asked again: {error}")

    return complain_once


class _AtOnce(Executor):
    """Runs what is asked at once: a file waits for its answers."""

    def submit(self, fn: Callable[..., T], /, *args: object, **kwargs: object) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # as any executor does
            future.set_exception(error)
        return future


def _credential(file: Path | None) -> Credential | None:
    """Raises: BadSettings, KeyUnavailable for a file that others may read."""
    from embedder.video import Credential
    from lookalike.errors import BadSettings
    from security.secret_files import read_secret_file

    if file is None:
        return None
    text = read_secret_file(file, "the camera's credentials", at_most=1024).decode(errors="replace").strip()
    user, colon, password = text.partition(":")
    if not user or not colon:
        raise BadSettings("--credentials: the file holds USER:PASSWORD on one line")
    return Credential(user, password)


def _polygon(text: str) -> tuple[tuple[float, float], ...]:
    try:
        points = [tuple(float(value) for value in pair.split(",")) for pair in text.split()]
    except ValueError:
        points = []
    if len(points) < 3 or not all(len(p) == 2 and all(0 <= value <= 1 for value in p) for p in points):
        raise typer.BadParameter("three or more corners are wanted, such as 0,0 0.5,0 0.5,1 0,1", param_hint="--zone")
    return tuple((point[0], point[1]) for point in points)


def _name_of(source: str) -> str:
    from urllib.parse import urlsplit

    return (urlsplit(source).hostname or Path(source).name)[:64]


def _cache(settings: Settings) -> Path:
    return settings.data.absolute() / "models"


def _json(decision: Decision, camera: str) -> str:
    answer = decision.answer
    return json.dumps(
        {
            "camera": camera,
            "track": decision.track,
            "subject": answer.subject,
            "similarity": answer.similarity,
            "fpir": answer.fpir,
            "frames": decision.frames,
            "began_s": round(decision.began, 3),
            "decided_s": round(decision.at, 3),
        }
    )


def _line(decision: Decision, camera: str, live: bool) -> str:
    """live: the time is told; of a file how far into it somebody came."""
    answer = decision.answer
    when = time.strftime("%H:%M:%S", time.localtime() if live else time.gmtime(decision.began))
    if answer.subject is None:
        return f"{when}  {camera}  unknown  {decision.frames} frames"
    rate = "" if answer.fpir is None else f", false alarm {answer.fpir:.1e}"
    return f"{when}  {camera}  {answer.subject}  {answer.similarity:.3f}{rate}, {decision.frames} frames"
