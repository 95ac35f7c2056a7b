"""Runs a network through OpenVINO or ONNX Runtime behind one call: a float32 batch in, named float32 arrays out.

One stream a core and one thread a stream: requests run side by side, each in the thread that called, and nothing
spins between them. bf16 is used only where it is the faster one: with AMX tiles, and on AMD's processors with
avx512_bf16; on Intel's with avx512_bf16 alone it was measured 1.6 times slower than float32
(docs/adr/0002-openvino-bf16-first.md).
"""

from __future__ import annotations

import functools
import importlib.util
import io
import logging
import os
import platform
import queue
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lookalike.domain import Floats
from lookalike.errors import BadModel, BadSettings

log = logging.getLogger(__name__)


class Network(Protocol):
    """A loaded network. Thread-safe."""

    def __call__(self, batch: Floats) -> Mapping[str, Floats]:
        """(N, C, H, W) float32 → output name → array."""
        ...


class Runtime(Protocol):
    """Loads ONNX graphs. description: what `doctor` and `/readyz` show, such as "openvino bf16"."""

    @property
    def description(self) -> str: ...

    def load(self, model: bytes, name: str) -> Network:
        """Raises: BadModel if the runtime cannot read or compile it."""
        ...


@dataclass(frozen=True, slots=True)
class RuntimeReport:
    """What `doctor` prints: the runtime in use, its version, precision and threads, and why it was chosen."""

    runtime: str
    version: str
    precision: str
    threads: int
    why: str


class OpenVinoRuntime:
    """Intel's runtime, the fastest on x86 here."""

    def __init__(self, threads: int) -> None:
        with _FIRST_CORE:
            self._core = _core()
        self._threads = threads
        self.precision = "bf16" if why_bf16() else "f32"
        self._config: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": self.precision,
            "NUM_STREAMS": threads,
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,
        }

    @property
    def description(self) -> str:
        return f"openvino {self.precision}"

    def load(self, model: bytes, name: str) -> Network:
        try:
            compiled = self._core.compile_model(self._core.read_model(io.BytesIO(model)), "CPU", self._config)
            names = [tuple(output.names) for output in compiled.outputs]
            requests = [compiled.create_infer_request() for _ in range(self._threads)]
        except (RuntimeError, UnicodeDecodeError) as error:  # the latter of its own words about damaged names
            raise BadModel(f"OpenVINO cannot compile the model {name!r}") from error
        return _OpenVinoNetwork(requests, names)


_FIRST_CORE = threading.Lock()


@functools.cache
def _core() -> Any:
    """The one core of this process, made at its first use and never given up.

    A core's processor plugin gives the thread that first compiles with it a stack for signals, and unmaps that stack
    when the last of the core and its networks goes. With several cores, or with a last reference dropped by another
    thread, the thread is left with a stack that is no longer there, and the next signal that Python handles, such as
    Ctrl-C or the end of a child, ends the process with a segmentation fault.
    """
    _forbid_reports()
    import openvino

    # This fills a C++ static at its first use. Were that in two threads' first inferences at once, one would wait
    # for it holding Python's lock while the other waited for that lock: the whole process would stand still.
    openvino.Type.f32.to_dtype()
    return openvino.Core()


def _forbid_reports() -> None:
    """Keep OpenVINO from telling Google Analytics of each import, which it does unless it finds itself in a CI.

    Its package does without the one that reports where that cannot be imported. Nothing leaves this machine unasked.
    """
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]


class _OpenVinoNetwork:
    """A compiled network with one inference request for each stream."""

    def __init__(self, requests: list[Any], names: list[tuple[str, ...]]) -> None:
        self._names = names
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for request in requests:
            self._free.put(request)

    def __call__(self, batch: Floats) -> Mapping[str, Floats]:
        request = self._free.get()
        try:
            outputs = request.infer([np.ascontiguousarray(batch)], share_inputs=True)
            return {name: outputs[i] for i, aliases in enumerate(self._names) for name in aliases}
        finally:
            self._free.put(request)


class OnnxRuntime:
    """Microsoft's runtime: slower here, but it runs on any processor."""

    description = "onnxruntime f32"
    precision = "f32"

    def __init__(self) -> None:
        import onnxruntime

        self._ort = onnxruntime

    def load(self, model: bytes, name: str) -> Network:
        options = self._ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors alone: its warnings are about shapes that are meant to be free
        try:
            session = self._ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exception types are private to a compiled module
            raise BadModel(f"ONNX Runtime cannot load the model {name!r}") from error
        names = [output.name for output in session.get_outputs()]
        feed = session.get_inputs()[0].name

        def run(batch: Floats) -> Mapping[str, Floats]:
            return dict(zip(names, session.run(names, {feed: batch}), strict=True))

        return run


def available_threads() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def why_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """What makes bf16 the faster precision on this processor; None where nothing does or that cannot be told."""
    try:
        text = cpuinfo.read_text()
    except OSError:
        return None
    if " amx_bf16" in text:
        return "AMX tiles found"
    if " avx512_bf16" in text and "AuthenticAMD" in text:
        return "avx512_bf16 on an AMD processor"
    return None


def open_runtime(name: str = "auto", threads: int = 0) -> Runtime:
    """The runtime of that name: "auto", "openvino" or "onnxruntime"; threads 0: one a core.

    "auto" is OpenVINO where it is installed; where it is not, that is logged as a warning and shown in `description`.
    Raises: BadSettings for an unknown name, or one that is not installed.
    """
    if name == "auto":
        if _installed("openvino"):
            name = "openvino"
        else:
            name = "onnxruntime"
            log.warning("openvino is not installed: using onnxruntime, which is about 2.5 times slower on x86")
    if name not in RUNTIMES:
        raise BadSettings(f"runtime: {name!r} is unknown; one of auto, {', '.join(RUNTIMES)}")
    if not _installed(name):
        raise BadSettings(f"runtime: {name!r} was asked for but is not installed")
    return RUNTIMES[name](threads or available_threads())


RUNTIMES: dict[str, Callable[[int], Runtime]] = {
    "openvino": OpenVinoRuntime,
    "onnxruntime": lambda threads: OnnxRuntime(),
}


def probe_runtime(name: str = "auto", threads: int = 0) -> RuntimeReport:
    """What `open_runtime` would choose here, and why, without loading a model. Raises: BadSettings."""
    runtime = open_runtime(name, threads)
    engine, precision = runtime.description.split(" ", 1)
    asked = "asked for by name" if name != "auto" else "the first choice"
    if engine == "onnxruntime" and name == "auto":
        asked = "openvino is not installed"
    because = why_bf16() or f"bf16 would not be faster on this {platform.machine()} processor"
    if engine == "onnxruntime":
        because = "its only precision here"
    return RuntimeReport(engine, _version(engine), precision, threads or available_threads(), f"{asked}; {because}")


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _version(distribution: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"
