"""Both runtimes give the same numbers, say what they are, and are never swapped in silence."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import embedder.runtime as runtime_module
from embedder.models import SFACE, load_bundled
from embedder.onnx_files import simplify
from embedder.runtime import available_threads, open_runtime, probe_runtime
from lookalike.errors import BadModel, BadSettings
from tests.conftest import ROOT
from tests.embedder.small_models import channel_means


@pytest.fixture(scope="module")
def means() -> bytes:
    return simplify(channel_means().SerializeToString(), {0: "N"})


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_a_network_gives_its_values_for_any_batch(name: str, means: bytes) -> None:
    network = open_runtime(name, threads=1).load(means, "means")
    for count in (1, 3, 8):
        batch = np.random.default_rng(count).uniform(0, 1, (count, 3, 32, 32)).astype(np.float32)
        expected = batch.mean(axis=(2, 3)) @ np.arange(24, dtype=np.float32).reshape(3, 8)
        assert np.allclose(network(batch)["vector"], expected, rtol=2e-2)


def test_both_runtimes_agree_on_sface(model_cache: Path) -> None:
    model = load_bundled(SFACE, model_cache)
    batch = np.random.default_rng(0).integers(0, 255, (2, 3, 112, 112)).astype(np.float32)
    first, second = (open_runtime(name).load(model, "sface")(batch)["fc1"] for name in ("openvino", "onnxruntime"))
    cosine = (first * second).sum(axis=1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    assert cosine.min() > 0.999  # bf16, where the processor has it, costs 4e-4


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_threads_share_a_network_without_mixing_answers(name: str, means: bytes) -> None:
    network = open_runtime(name, threads=2).load(means, "means")
    levels = list(range(1, 60))

    def brightness(level: int) -> float:
        return float(network(np.full((1, 3, 32, 32), level, np.float32))["vector"][0, 0]) / 24  # column 0: 0 + 8 + 16

    with ThreadPoolExecutor(8) as pool:
        assert np.allclose(list(pool.map(brightness, levels)), levels, rtol=1e-2)


REPORTS = """
import sys
from pathlib import Path
from embedder.runtime import open_runtime

open_runtime("openvino", threads=1).load(Path(sys.argv[1]).read_bytes(), "means")
print([name for name in sys.modules if name.startswith("openvino_telemetry.")])
"""


def test_openvino_reports_nothing_home(means: bytes, tmp_path: Path) -> None:
    (tmp_path / "means.onnx").write_bytes(means)
    outside_ci = {name: value for name, value in os.environ.items() if name not in ("CI", "TF_BUILD", "JENKINS_URL")}
    environment = outside_ci | {"HOME": str(tmp_path)}

    command = [sys.executable, "-c", REPORTS, str(tmp_path / "means.onnx")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
    assert [file.name for file in tmp_path.iterdir()] == ["means.onnx"], "it keeps an id of its own in the home folder"


DROPPED = """
import signal, sys, threading
from pathlib import Path
from embedder.runtime import open_runtime

networks = [open_runtime("openvino", threads=1).load(Path(sys.argv[1]).read_bytes(), "means") for _ in range(2)]
if sys.argv[2] == "oldest first":
    del networks[0]
    del networks[0]
else:
    dropping = threading.Thread(target=networks.clear)
    dropping.start()
    dropping.join()
signal.signal(signal.SIGUSR1, lambda *_: print("told"))
signal.raise_signal(signal.SIGUSR1)
"""


@pytest.mark.parametrize("how", ["oldest first", "by another thread"])
def test_a_signal_finds_its_stack_after_networks_were_dropped(how: str, means: bytes, tmp_path: Path) -> None:
    (tmp_path / "means.onnx").write_bytes(means)
    command = [sys.executable, "-c", DROPPED, str(tmp_path / "means.onnx"), how]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "told\n"), done.stderr


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_a_file_that_is_no_model_is_a_bad_model(name: str) -> None:
    with pytest.raises(BadModel, match="nonsense"):
        open_runtime(name).load(b"nonsense", "nonsense")


def test_the_description_names_runtime_and_precision() -> None:
    assert open_runtime("openvino").description in ("openvino bf16", "openvino f32")
    assert open_runtime("onnxruntime").description == "onnxruntime f32"


@pytest.mark.parametrize(
    ("cpuinfo", "why"),
    [
        ("vendor_id: GenuineIntel\nflags: avx512_bf16 amx_bf16", "AMX tiles found"),
        ("vendor_id: GenuineIntel\nflags: avx512_bf16", None),
        ("vendor_id: AuthenticAMD\nflags: avx512_bf16 avx512_vnni", "avx512_bf16 on an AMD processor"),
        ("vendor_id: AuthenticAMD\nflags: avx2", None),
    ],
)
def test_bf16_is_used_only_where_it_was_measured_to_be_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpuinfo: str, why: str | None
) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    found = runtime_module.why_bf16(tmp_path / "cpuinfo")
    assert found == why
    monkeypatch.setattr(runtime_module, "why_bf16", lambda: found)
    assert open_runtime("openvino").description == ("openvino bf16" if why else "openvino f32")
    assert (why or "bf16 would not be faster") in probe_runtime("openvino").why


def test_without_cpuinfo_floats_stay_as_they_are(tmp_path: Path) -> None:
    assert runtime_module.why_bf16(tmp_path / "none") is None


def test_auto_without_openvino_warns_once_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(runtime_module, "_installed", lambda name: name != "openvino")
    with caplog.at_level(logging.WARNING):
        assert open_runtime("auto").description == "onnxruntime f32"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "openvino is not installed" in probe_runtime("auto").why


def test_a_runtime_asked_for_by_name_is_never_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_module, "_installed", lambda name: name != "openvino")
    with pytest.raises(BadSettings, match="openvino"):
        open_runtime("openvino")
    with pytest.raises(BadSettings, match="unknown"):
        open_runtime("tensorrt")


def test_the_report_for_doctor_is_complete() -> None:
    report = probe_runtime()
    assert f"{report.runtime} {report.precision}" == open_runtime().description
    assert report.version[0].isdigit()
    assert report.threads == available_threads() >= 1
    assert report.why
    assert probe_runtime("onnxruntime").why.startswith("asked for by name")
