"""Re-indexing to real models that are worse on purpose: SFace with noise on its weights, asked for real people."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from api.wiring import Services, local_principal, open_services
from lookalike.answers import Caller, Picture
from lookalike.domain import Kind, TrialMode
from lookalike.errors import AllRejected, Conflict
from lookalike.settings import Settings

pytestmark = [pytest.mark.shared, pytest.mark.slow]

PEOPLE = 40
ADMIN = Caller(local_principal(), "test")
NOISES = {"slightly": 0.15, "useless": 0.3}
"""Standard deviation of what is added to each layer's weights, of theirs."""


def quiet(done: int, total: int) -> None:
    pass


def write_noisy(source: Path, folder: Path, name: str) -> None:
    """SFace with noise on its weights, as a model file with its manifest."""
    model, random = onnx.load(source), np.random.default_rng(0)
    for tensor in model.graph.initializer:
        weights = numpy_helper.to_array(tensor)
        if weights.ndim >= 2:
            noisy = weights + random.normal(0, NOISES[name] * weights.std(), weights.shape)
            tensor.CopyFrom(numpy_helper.from_array(noisy.astype(weights.dtype), tensor.name))
    data = model.SerializeToString()
    (folder / f"{name}.onnx").write_bytes(data)
    facts = {"name": name, "file": f"{name}.onnx", "sha256": hashlib.sha256(data).hexdigest(), "licence": "Apache-2.0"}
    pixels = {"dimension": 128, "side": 112, "channels": "rgb", "mean": [0, 0, 0], "scale": [1, 1, 1]}
    (folder / f"{name}.json").write_text(json.dumps(facts | pixels))


@dataclass(frozen=True)
class Staff:
    """People enrolled with one picture each, so that none says beforehand how a model knows the others."""

    services: Services
    probes: dict[str, list[bytes]]
    models: dict[str, str]

    def known(self, who: str, probe: bytes) -> tuple[bool, str]:
        found = self.services.gallery.identify(ADMIN, "staff", probe)
        self.services.trials.settle()
        return [c.subject.id for c in found.faces[0].candidates[:1]] == [who], found.model


@pytest.fixture
def staff(shared: Path, tmp_path: Path) -> Iterator[Staff]:
    models = {name: f"onnx:{tmp_path / name}.json" for name in NOISES}
    services = open_services(Settings(data=tmp_path / "data", models=list(models.values()), calibrate_from=0))
    services.models.encoder(services.models.space(Kind.FACE, "sface"))
    (plain,) = (tmp_path / "data/models").glob("sface-f*.onnx")
    for name in NOISES:
        write_noisy(plain, tmp_path, name)
    services.gallery.create_collection(ADMIN, "staff")
    probes: dict[str, list[bytes]] = {}
    for person in sorted((shared / "faces/train/celeba300").iterdir()):
        first, *others = [file.read_bytes() for file in sorted(person.glob("*.jpg"))[:4]]
        try:
            services.gallery.enrol(ADMIN, "staff", person.name, [Picture("a.jpg", first)])
        except AllRejected:
            continue
        probes[person.name] = others
        if len(probes) == PEOPLE:
            break
    yield Staff(services, probes, models)
    services.close()


@pytest.mark.parametrize("mode", list(TrialMode))
def test_a_model_that_loses_people_is_caught_on_live_probes_and_not_promoted(staff: Staff, mode: TrialMode) -> None:
    services = staff.services
    services.reindexer.begin(ADMIN, "staff", model=staff.models["slightly"])
    held = services.reindexer.run(ADMIN, "staff", quiet, hold=True)
    assert (held.verdict, held.judged) == ("same", 0), "nothing is known of it beforehand"

    services.reindexer.try_out(ADMIN, "staff", mode, 1.0)
    answered, trial = [], services.answers.collection("staff").trial
    for who, probe in ((who, probe) for who, probes in staff.probes.items() for probe in probes):
        answered.append(staff.known(who, probe)[1])
        trial = services.answers.collection("staff").trial
        if trial.worse:
            break

    assert trial.share == 0.0 and "lost" in trial.worse
    assert set(answered) == {held.model if mode is TrialMode.CANARY else "sface-int8"}
    with pytest.raises(Conflict, match="worse"):
        services.reindexer.promote(ADMIN, "staff")
    assert services.answers.collection("staff").space.model == "sface-int8"
    asked = [staff.known(who, probes[0]) for who, probes in list(staff.probes.items())[:10]]
    assert {model for _, model in asked} == {"sface-int8"}
    assert sum(known for known, _ in asked) > 5, "the old model answers again"


def test_a_model_that_has_no_threshold_is_not_promoted_though_nobody_can_be_judged(staff: Staff) -> None:
    services = staff.services
    services.reindexer.begin(ADMIN, "staff", model=staff.models["useless"])
    report = services.reindexer.run(ADMIN, "staff", quiet)

    assert (report.judged, report.threshold, report.verdict, report.promoted) == (0, 1.0, "worse", False)
    assert services.answers.collection("staff").space.model == "sface-int8"
    assert services.reindexer.promote(ADMIN, "staff").space.model == report.model, "who insists by a command may"
