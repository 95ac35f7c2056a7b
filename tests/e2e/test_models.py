"""A model goes from an export folder, by the command, into a service that is running."""

from __future__ import annotations

from pathlib import Path

from api.client import Client
from tests.e2e.conftest import Installation
from tests.embedder.pictures import encoded, scene
from tests.embedder.small_bundles import bundle_fields, export


def test_a_packed_model_reaches_a_running_service_and_is_rolled_back(
    running: tuple[Installation, Client], tmp_path: Path
) -> None:
    installation, client = running
    folder, file = export(tmp_path / "export"), tmp_path / "things.lkb"
    assert installation.json("models", "pack", folder, "--out", file)["bytes"] == file.stat().st_size
    verified = installation.json("models", "verify", file)
    assert (verified["dimension"], verified["maker"]) == (128, "this deployment")

    name = installation.json("models", "import", file)["name"]
    assert name == verified["model"]
    assert installation.json("models", "activate", "things")["model"] == name

    assert client.create_collection("shop", kind="image")["model"] == name
    for thing in (1, 2, 3):
        client.enrol("shop", f"t{thing}", encoded(scene(thing), "PNG"))
    (face,) = client.search("shop", encoded(scene(3), "PNG"))["faces"]
    assert face["candidates"][0]["subject"] == "t3"

    listed = installation.command("models", "list", remote=True).stdout
    assert f"{name}\timage\tyes\tMIT\tyes\trecall@1 0.900 (0.850 to 0.950) on made-up things" in listed
    assert installation.json("models", "rollback", remote=True)["model"] == "bundle:items-1"
    refused = installation.command("models", "remove", name)
    assert refused.returncode == 1 and "shop" in refused.stderr and "model_in_use" in refused.stderr


def test_makers_keys_and_licences_by_the_command(running: tuple[Installation, Client], tmp_path: Path) -> None:
    installation, _ = running
    licence = {"id": "CC-BY-NC-4.0", "commercial": False, "note": "For research."}
    folder, file, key = (
        export(tmp_path / "export", bundle_fields(name="research", licence=licence)),
        tmp_path / "b.lkb",
        tmp_path / "acme",
    )
    assert installation.command("models", "keygen", key).returncode == 0
    assert installation.command("models", "pack", folder, "--out", file, "--key", key).returncode == 0
    stranger = installation.command("models", "verify", file)
    assert stranger.returncode == 1 and "untrusted_bundle" in stranger.stderr
    trusted = {"LOOKALIKE_MODEL_SIGNERS": f'["{key}.pub"]'}
    said = installation.command("models", "import", file, **trusted).stdout
    assert "signed by acme" in said and "not for commercial use. For research." in said
    refused = installation.command("models", "activate", "research", **trusted)
    assert refused.returncode == 1 and "--accept-licence" in refused.stderr
    assert installation.command("models", "activate", "research", "--accept-licence", **trusted).returncode == 0
    assert "licence accepted\tyes" in installation.command("models", "show", "research", **trusted).stdout
    assert installation.command("models", "rollback", **trusted).returncode == 0
    assert installation.command("models", "remove", "research", **trusted).returncode == 0
