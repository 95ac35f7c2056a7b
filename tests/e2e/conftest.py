"""The real service as a process of its own, and the real command beside it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from api.client import Client

KEY = "an-admin-key-that-only-this-test-knows-0123456789"
START_S = 60


@dataclass
class Installation:
    """A data folder with its settings, a service that may be running on it, and the command.

    runner: a command that runs both, such as one that changes the user first.
    """

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None
    url: str = ""
    said: list[str] = field(default_factory=list)
    key: str = KEY
    ca: Path | None = None
    runner: tuple[str, ...] = ()

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def environment(self, **settings: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LOOKALIKE_")}
        return kept | {
            "LOOKALIKE_DATA": str(self.data),
            "LOOKALIKE_PORT": "0",
            "LOOKALIKE_BOOTSTRAP_KEY_FILE": str(self.folder / "admin.key"),
            "XDG_STATE_HOME": str(self.folder / "state"),
            **self.settings,
            **settings,
        }

    def start(self) -> Client:
        """Serve, and a client once it is ready."""
        (self.folder / "admin.key").write_text(self.key)
        with (self.folder / "service.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.runner, sys.executable, "-P", "-m", "api.cli", "serve"],
                cwd=self.folder,
                env=self.environment(),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        for line in self.process.stdout:
            self.said.append(line)
            if line.startswith("ready "):
                self.url = line.split()[1]
                return self.client()
        self.stop()
        pytest.fail(f"the service did not start: {(self.folder / 'service.log').read_text()[-2000:]}")

    def client(self) -> Client:
        return Client(self.url, api_key=self.key, ca=self.ca or self.data / "tls" / "ca.crt", retries=2)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the service. Returns its exit code."""
        self.process.send_signal(number)
        code = self.process.wait(START_S)
        self.process.stdout.close()
        self.process = None
        return code

    def spawn(self, *arguments: object, remote: bool = False) -> subprocess.Popen[str]:
        """Begin the command, which the caller ends."""
        return subprocess.Popen(
            [*self.runner, sys.executable, "-P", "-m", "api.cli", *map(str, arguments)],
            cwd=self.folder,
            env=self.environment(**(self._remote() if remote else {})),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _remote(self) -> dict[str, str]:
        return {"LOOKALIKE_URL": self.url, "LOOKALIKE_API_KEY_FILE": str(self.folder / "admin.key")}

    def command(self, *arguments: object, remote: bool = False, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run the command on the data folder, or through the service."""
        if remote:
            settings |= self._remote()
        return subprocess.run(
            [*self.runner, sys.executable, "-P", "-m", "api.cli", *map(str, arguments)],
            cwd=self.folder,
            env=self.environment(**settings),
            capture_output=True,
            text=True,
            timeout=120,
        )

    def json(self, *arguments: object, **settings: object) -> dict:
        """What the command prints with --json, when it succeeds."""
        done = self.command(*arguments, "--json", **settings)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """A data folder of this test's own; no service runs yet."""
    made = Installation(tmp_path)
    yield made
    if made.process is not None:
        made.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, Client]]:
    """A service that the tests of a module share."""
    made = Installation(tmp_path_factory.mktemp("service"))
    with made.start() as client:
        yield made, client
    assert made.stop() == 0, "SIGTERM drains and ends with 0"


@pytest.fixture
def album(portraits: dict[str, bytes], tmp_path: Path) -> Path:
    """A folder per subject: two people with one portrait each."""
    folder = tmp_path / "people"
    for subject, name in (("Barack Obama", "obama.jpg"), ("Eileen Collins", "astronaut.png")):
        (folder / subject).mkdir(parents=True)
        (folder / subject / name).write_bytes(portraits[name])
    return folder
