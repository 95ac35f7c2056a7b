"""What lies on the disk after enrolment names nobody and shows nobody."""

from __future__ import annotations

import base64
import signal
from pathlib import Path

NAME = "Xaviera Quetzalcoatl-Canary"
METADATA = {"canarykey": "canary value Zürich 90210"}


def spellings(text: str) -> list[bytes]:
    plain = text.encode()
    return [
        plain,
        text.encode("utf-16-le"),
        text.encode("utf-16-be"),
        base64.b64encode(plain)[:-4],
        plain.hex().encode(),
    ]


def hits(folder: Path, needles: list[bytes]) -> list[tuple[str, bytes]]:
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert any(file.name == "records.db" for file in files)
    return [(file.name, needle[:16]) for file in files for needle in needles if needle in file.read_bytes()]


def test_neither_names_nor_metadata_nor_pictures_lie_in_the_open(installation, portraits) -> None:
    image = portraits["obama.jpg"]
    with installation.start() as client:
        client.create_collection("canarycollection", keep="image")
        client.put_subject("canarycollection", NAME, metadata=METADATA)
        sample = client.enrol("canarycollection", NAME, image)["samples"][0]
        crop = client.crop("canarycollection", NAME, sample["id"])
        client.identify("canarycollection", portraits["obama2.jpg"])
        pieces = [part[len(part) // 2 : len(part) // 2 + 48] for part in (image, crop, portraits["obama2.jpg"])]
        needles = [
            *pieces,
            *spellings(NAME),
            *spellings("canarycollection"),
            *(spelling for pair in METADATA.items() for text in pair for spelling in spellings(text)),
        ]
        while_running = hits(installation.data, needles)
        log = (installation.folder / "service.log").read_bytes()
        installation.stop(signal.SIGKILL)

    assert while_running == []
    assert hits(installation.data, needles) == []
    assert not [needle for needle in needles if needle in log]


def test_the_data_folder_is_its_owners_alone_and_so_are_the_keys(installation) -> None:
    installation.json("collections", "create", "staff")

    modes = {file: file.stat().st_mode & 0o777 for file in [installation.data, *installation.data.rglob("*")]}
    public = {"tls", "ca.crt", "server.crt"}
    open_to_others = [file.name for file, mode in modes.items() if mode & 0o077 and file.is_file()]
    assert modes[installation.data] == 0o700
    assert modes[installation.data / "keys" / "root.key"] == 0o400
    assert set(open_to_others) <= public | {file.name for file in installation.data.glob("models/*")}


def test_a_newer_data_folder_is_refused_in_one_line(installation) -> None:
    installation.json("collections", "create", "staff")
    (installation.data / "format.json").write_text('{"format": 999}')

    done = installation.command("collections", "list")

    assert done.returncode == 1
    assert "data_too_new" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_wrong_root_key_is_told_in_one_line(installation) -> None:
    installation.json("collections", "create", "staff")
    key = installation.data / "keys" / "root.key"
    key.chmod(0o600)
    key.write_bytes(bytes(len(key.read_bytes())))
    key.chmod(0o400)

    done = installation.command("collections", "list")

    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "key_unavailable" in done.stderr
