"""The profile `onprem` as a real service: an account of its own, no core, not one packet that leaves the machine."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from api.onprem import open_swaps
from tests.deploy.compose import ROOT
from tests.deploy.namespace import OUTSIDE, Namespace
from tests.e2e.conftest import Installation
from tests.e2e.test_main_job import names

pytestmark = pytest.mark.slow
NOBODY = 65534
READ_ALL = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
RUNNER = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *READ_ALL)
"""Another user, who may read this checkout wherever it lies, be it under /root."""
MEMORY = Path("/dev/shm")


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("left out: a network namespace needs root, and the command ip")
    made = Namespace()
    try:
        made.make()
    except subprocess.CalledProcessError as error:
        with suppress(subprocess.CalledProcessError):
            made.remove()
        pytest.skip(f"left out: no network namespace can be made here: {error.stderr.strip()}")
    yield made
    made.remove()


@pytest.fixture
def folder(namespace: Namespace) -> Iterator[Path]:
    """A folder of nobody's, on a disk; left out where that account cannot run our code, or where there is swap."""
    if subprocess.run([*RUNNER, sys.executable, "-c", "import api"], cwd=ROOT, capture_output=True).returncode != 0:
        pytest.skip("left out: the account nobody cannot read this checkout or its environment")
    if open_swaps(Path("/proc/swaps")):
        pytest.skip("left out: this machine has swap that is not encrypted, so onprem does not start here")
    made = Path(tempfile.mkdtemp())
    os.chown(made, NOBODY, NOBODY)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def ledger(folder: Path) -> Iterator[Path]:
    """Another disk than the data folder's: memory."""
    if not MEMORY.is_dir() or MEMORY.stat().st_dev == folder.stat().st_dev:
        pytest.skip("left out: there is no second file system for the ledger")
    made = Path(tempfile.mkdtemp(dir=MEMORY))
    os.chown(made, NOBODY, NOBODY)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def vault(folder: Path, ledger: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """All that the profile asks for; nothing runs yet."""
    for name in ("CI", "TF_BUILD", "JENKINS_URL"):
        monkeypatch.delenv(name, raising=False)  # libraries that report home keep quiet where they see these
    made = Installation(folder, runner=RUNNER)
    made.settings = {
        "LOOKALIKE_PROFILE": "onprem",
        "LOOKALIKE_KEYS": f"file:{folder}/root.key",
        "LOOKALIKE_LEDGER": str(ledger),
        "LOOKALIKE_BACKUP_KEY": f"{folder}/offline.key.pub",
        "HOME": str(folder),
    }
    (folder / "admin.key").write_text(made.key)
    (folder / "admin.key").chmod(0o400)
    os.chown(folder / "admin.key", NOBODY, NOBODY)
    keygen = made.command("backup", "keygen", folder / "offline.key")
    assert keygen.returncode == 0, keygen.stderr
    yield made
    if made.process is not None:
        made.stop(signal.SIGKILL)


def test_it_serves_and_backs_up_and_not_one_packet_leaves_the_machine_and_no_core_is_left(
    vault: Installation, namespace: Namespace, portraits
) -> None:
    with namespace.inside(), vault.start() as client:
        client.create_collection("staff")
        client.enrol("staff", "Barack Obama", portraits["obama.jpg"])
        assert names(client.identify("staff", portraits["obama2.jpg"], faces="largest")) == [["Barack Obama"]]
        assert names(client.identify("staff", portraits["biden.jpg"])) == [[]]
        backed_up = vault.command("backup", "create", "--out", vault.folder)
        assert backed_up.returncode == 0, backed_up.stderr
        client.erase("staff", "Barack Obama")

        # The files of a process that may leave no core belong to root, whosever process it is.
        assert Path(f"/proc/{vault.process.pid}/environ").stat().st_uid == 0
        doctor = vault.json("doctor", "--profile", "onprem")
        assert vault.stop(signal.SIGABRT) == -signal.SIGABRT
        assert namespace.sent() == 0

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.sendto(b"?", (OUTSIDE, 9))
    assert doctor["ok"]
    assert not any(file.name.startswith("core") for file in vault.folder.iterdir())
    assert namespace.sent() == 1, "a packet that is sent is counted"


def test_what_becomes_weak_later_ends_the_next_start(vault: Installation) -> None:
    root_key = vault.folder / "root.key"
    root_key.write_bytes(b"k" * 32)
    root_key.chmod(0o444)

    refused = vault.command("serve")

    assert refused.returncode == 1
    assert "LOOKALIKE_KEYS" in refused.stderr and "chmod 400" in refused.stderr
