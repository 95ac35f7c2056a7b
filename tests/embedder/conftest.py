"""One embedder for all tests of this folder, and photos with a face from wherever there are some."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedder.factory import build_face_embedder
from embedder.pipeline import FaceEmbedder


@pytest.fixture(scope="session")
def model_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def encoder(model_cache: Path) -> FaceEmbedder:
    return build_face_embedder(model_cache)


@pytest.fixture(scope="session")
def lfw(shared: Path) -> dict[str, list[bytes]]:
    """Forty people of LFW with two pictures or more: name → pictures."""
    folders = sorted(folder for folder in (shared / "faces" / "eval" / "lfw_dev").iterdir())
    many = [folder for folder in folders if len(list(folder.glob("*.jpg"))) > 1][:40]
    return {folder.name: [path.read_bytes() for path in sorted(folder.glob("*.jpg"))] for folder in many}


@pytest.fixture(scope="session")
def face_photo(request: pytest.FixtureRequest) -> bytes:
    """A photo of one face, from ../shared or from a package."""
    try:
        people: dict[str, list[bytes]] = request.getfixturevalue("lfw")
        return people["Abdullah_Gul"][0]
    except pytest.skip.Exception:
        portraits: dict[str, bytes] = request.getfixturevalue("portraits")
        return portraits["obama.jpg"]
