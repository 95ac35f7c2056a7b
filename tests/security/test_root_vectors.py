"""The published vectors of what a root opens, and of a passphrase that gives one: what opens, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lookalike.errors import KeyUnavailable, TamperedData
from security.collection_keys import decode_versions
from security.envelope import Context, open_sealed
from security.root import HANDOVER, Root
from security.root_key import root_key
from security.root_places import RootAccess
from security.secret_key import SecretKey
from tests.security import make_vectors

CASES = json.loads((Path(__file__).parent / "vectors" / "roots.json").read_text("utf-8"))


def of(kind: str) -> list:
    return [pytest.param(case, id=case["note"]) for case in CASES if case["kind"] == kind]


@pytest.mark.parametrize("case", of("versions"))
def test_a_collection_s_versions_open_or_are_refused(case):
    root = SecretKey(bytes.fromhex(case["key"]))

    def opened() -> dict[str, str]:
        plain = open_sealed(root, bytes.fromhex(case["sealed"]), Context(**case["context"]))
        return {str(version.number): version.key.material.hex() for version in decode_versions(plain)}

    if case["gives"] is None:
        with pytest.raises(TamperedData):
            opened()
    else:
        assert opened() == case["gives"]


@pytest.mark.parametrize("case", of("handover"))
def test_a_handover_leads_to_the_new_root_or_is_refused(memory, case):
    old = SecretKey(bytes.fromhex(case["key"]))
    memory.tables.settings |= {"deployment": b"d" * 32, HANDOVER + old.id.hex(): bytes.fromhex(case["sealed"])}
    root, new = Root(memory, old, lambda: case["now"]), SecretKey(make_vectors.OTHER)
    context = Context("d" * 32, "collection-key")
    sealed = Root(memory, new).seal(b"what the new root has wrapped", context)

    if case["gives"] is None:
        with pytest.raises(KeyUnavailable):
            root.open(sealed, context)
    else:
        assert root.open(sealed, context) == b"what the new root has wrapped"
        assert root.id == SecretKey(bytes.fromhex(case["gives"])).id


@pytest.mark.parametrize("case", of("passphrase"))
def test_a_passphrase_gives_its_root_or_its_costs_are_refused(memory, tmp_path, case):
    file = tmp_path / "passphrase"
    file.write_text(case["passphrase"] + "\n", "utf-8")
    file.chmod(0o400)
    memory.tables.settings["root.passphrase"] = json.dumps(case["held"]).encode()

    def derived() -> SecretKey:
        return root_key("passphrase:", tmp_path, memory, fresh=False, access=RootAccess(passphrase_file=file))

    if case["gives"] is None:
        with pytest.raises(KeyUnavailable):
            derived()
    else:
        assert derived().material.hex() == case["gives"]


def test_the_published_vectors_are_those_that_the_reference_makes():
    assert make_vectors.roots() == CASES
