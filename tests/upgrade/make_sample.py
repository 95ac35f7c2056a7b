"""Makes a kept sample: a data folder as an earlier version left it. python tests/upgrade/make_sample.py COMMIT NAME

The version's own program is taken out of the repository, run by this Python, and does what a user would: it serves
once, enrols three people who were drawn, identifies one and erases one. With --postgresql its records are in a database
of the server that LOOKALIKE_TEST_POSTGRESQL names, and the sample holds them as SQL. Run it once when a version is
about to be released, and commit what it made: each later version must open it. The root key is inside; it opens
drawings.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import psycopg

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.upgrade.drawn_faces import drawn_face

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = Path(__file__).parent / "samples"
KEY = "a-key-that-opens-drawings-alone-0123456789"
PEOPLE = {"ada": 0, "bo": 1, "cy": 2}
"""Subject → the drawing of them. `cy` is erased again."""
LEFT_OUT = ("models", "format.lock")
DATABASE = "kept_sample"


def main() -> None:
    commit, name, *options = sys.argv[1:]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        program = folder / "program"
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(program, filter="data")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("LOOKALIKE_")}
        environment |= {"PYTHONPATH": str(program), "XDG_STATE_HOME": str(folder / "state")}
        environment |= {"LOOKALIKE_DATA": str(folder / "data"), "LOOKALIKE_PORT": "0"}
        environment["LOOKALIKE_BOOTSTRAP_KEY_FILE"] = str(folder / "admin.key")
        (folder / "admin.key").write_text(KEY)
        if options == ["--postgresql"]:
            environment |= empty_database()
        fill(folder, environment)
        if options == ["--postgresql"]:
            (folder / "data" / "records.sql").write_text(dump())
        pack(folder / "data", SAMPLES / f"{name}.tar.xz")


def fill(folder: Path, environment: dict[str, str]) -> None:
    """What a user did with that version."""

    def lookalike(*arguments: object) -> None:
        command = [sys.executable, "-P", "-m", "api.cli", *map(str, arguments)]
        subprocess.run(command, cwd=folder, env=environment, check=True)

    for subject, number in PEOPLE.items():
        (folder / "people" / subject).mkdir(parents=True)
        (folder / "people" / subject / "drawn.png").write_bytes(drawn_face(number))
    lookalike("collections", "create", "staff")
    lookalike("enrol", "staff", folder / "people")
    lookalike("identify", "staff", folder / "people" / "bo" / "drawn.png")
    lookalike("erase", "staff", "cy")
    command = [sys.executable, "-P", "-m", "api.cli", "serve"]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as service:
        for line in service.stdout:
            if line.startswith("ready "):
                service.send_signal(signal.SIGTERM)
    assert service.returncode == 0


def empty_database() -> dict[str, str]:
    """The settings that name a database which was made for this."""
    url, password = os.environ["LOOKALIKE_TEST_POSTGRESQL"], os.environ["LOOKALIKE_TEST_POSTGRESQL_PASSWORD_FILE"]
    with psycopg.connect(url, password=Path(password).read_text().strip(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {DATABASE}")
        connection.execute(f"CREATE DATABASE {DATABASE}")
    return {
        "LOOKALIKE_RECORDS": f"{url.rpartition('/')[0]}/{DATABASE}",
        "LOOKALIKE_POSTGRESQL_PASSWORD_FILE": password,
        "LOOKALIKE_POSTGRESQL_CA": os.environ["LOOKALIKE_TEST_POSTGRESQL_CA"],
    }


def dump() -> str:
    """The database as statements, without those that only psql knows."""
    url = f"{os.environ['LOOKALIKE_TEST_POSTGRESQL'].rpartition('/')[0]}/{DATABASE}"
    password = Path(os.environ["LOOKALIKE_TEST_POSTGRESQL_PASSWORD_FILE"]).read_text().strip()
    options = ["--schema=lookalike", "--no-owner", "--no-privileges", "--rows-per-insert=100"]
    command = ["pg_dump", *options, url]
    done = subprocess.run(
        command, env=os.environ | {"PGPASSWORD": password}, capture_output=True, text=True, check=True
    )
    return "".join(line for line in done.stdout.splitlines(keepends=True) if not line.startswith(("\\", "--")))


def pack(data: Path, target: Path) -> None:
    """The folder without what is made anew, the same bytes from the same files."""
    target.parent.mkdir(exist_ok=True)
    with tarfile.open(target, "w:xz", preset=9) as tar:
        for path in sorted(data.rglob("*")):
            inside = path.relative_to(data)
            if path.is_file() and inside.parts[0] not in LEFT_OUT:
                tar.add(path, str(inside), filter=anonymous)
    print(f"{target.name}: {target.stat().st_size} bytes")


def anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without who made it, and when."""
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    main()
