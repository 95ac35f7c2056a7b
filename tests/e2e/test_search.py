"""Visual search as somebody would set it up: a model of their own, the service, the command."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from tests.embedder.pictures import scene
from tests.embedder.small_models import write_image_model


def draw(path: Path, picture) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)
    return path


def test_things_are_enrolled_from_folders_and_found_again(installation) -> None:
    installation.settings["LOOKALIKE_IMAGE_MODELS"] = json.dumps([write_image_model(installation.folder / "model")])
    things = installation.folder / "things"
    for thing in range(1, 5):
        draw(things / f"thing {thing}" / "front.png", scene(thing))
        draw(things / f"thing {thing}" / "back.jpg", scene(100 + thing))
    draw(things / "thing 1" / "night.png", scene(50) // 10)
    probe = draw(installation.folder / "probe.jpg", cv2.hconcat([scene(70), scene(3)]))
    copy = draw(installation.folder / "copy.jpg", cv2.resize(scene(102)[:-14], None, fx=0.5, fy=0.5))

    with installation.start() as client:
        made = installation.json("collections", "create", "shop", "--kind", "image", remote=True)
        assert (made["kind"], made["calibration"]) == ("image", "none")
        done = installation.json("enrol", "shop", things, remote=True)
        assert done["enrolled"] == 8 and [r["reasons"] for r in done["rejected"]] == [["too_dark"]]

        asked = ("search", "shop", probe, "--box", "320,0,320,240", "--threshold", "0.6")
        (found,) = installation.json(*asked, "--annotate", "out", remote=True)["items"]
        assert [c["subject"] for c in found["faces"][0]["candidates"]] == ["thing 3"]
        with Image.open(installation.folder / found["annotated"]) as annotated:
            assert annotated.size == (640, 240)

        (nearest, same) = installation.json("search", "shop", probe, copy, "--duplicates", remote=True)["items"]
        assert nearest["faces"][0]["candidates"] == []
        assert [c["subject"] for c in same["faces"][0]["candidates"]] == ["thing 2"]

        told = installation.command("search", "shop", probe, remote=True)
        assert told.returncode == 0 and "it is not calibrated" in told.stdout
        wrong = installation.command("identify", "shop", probe, remote=True)
        assert wrong.returncode == 1 and "use search" in wrong.stderr
        assert client.erase("shop", "thing 3")["signature"]
        assert installation.json(*asked, remote=True)["items"][0]["faces"][0]["candidates"] == []


def test_a_box_that_is_not_four_numbers_is_wrong_usage(installation) -> None:
    picture = draw(installation.folder / "probe.png", scene(1))
    assert installation.command("search", "shop", picture, "--box", "1,2,3").returncode == 2


def test_without_a_setting_the_shipped_model_finds_things(installation) -> None:
    """Five drawn scenes, each enrolled once and asked for brighter."""
    assert installation.command("collections", "create", "shop", "--kind", "image").returncode == 0
    for number in range(5):
        enrolled = draw(installation.folder / "things" / f"thing {number}" / "a.png", scene(number))
        brighter = Image.fromarray(np.clip(np.asarray(Image.open(enrolled), np.int64) + 25, 0, 255).astype(np.uint8))
        brighter.save(installation.folder / f"probe {number}.jpg")
    assert installation.command("enrol", "shop", installation.folder / "things").returncode == 0
    assert installation.json("collections", "show", "shop")["model"].startswith("items-1-")
    for number in range(5):
        (found,) = installation.json("search", "shop", installation.folder / f"probe {number}.jpg")["items"]
        assert found["faces"][0]["candidates"][0]["subject"] == f"thing {number}"
