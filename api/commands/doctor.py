"""`lookalike doctor`: the settings in force, what the service would run on, and what is wrong with either.

It changes nothing and makes no data folder. A finding is `ok`, `note` (works, but think of it) or `wrong`.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from api.commands.output import JsonOption, print_json, print_table

if TYPE_CHECKING:
    from lookalike.settings import Settings

LITTLE_DISK_BYTES: Final = 1_000_000_000
NO_DISK_BYTES: Final = 100_000_000
RENEW_DAYS: Final = 30
LATE_S: Final = 180.0
DOWN_S: Final = 3600.0
"""A receiver that lacks a checkpoint of an entry older than these is late, or down."""
SHORT_S: Final = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    check: str
    state: Literal["ok", "note", "wrong"]
    detail: str


def doctor(
    profile: Annotated[
        str | None, typer.Option(metavar="PROFILE", help="Judge by single, scale or onprem, not LOOKALIKE_PROFILE.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the settings in force and what is wrong with them. Exit code 1 if anything is."""
    from lookalike.errors import BadSettings
    from lookalike.settings import read_settings

    settings: Settings | None = None
    try:
        settings = read_settings() if profile is None else read_settings(profile=profile)
    except BadSettings as error:
        findings = [Finding("settings", "wrong", str(error))]
    else:
        findings = list(examine(settings))
    wrong = [finding for finding in findings if finding.state == "wrong"]
    shown = {} if settings is None else shown_settings(settings)
    if as_json:
        print_json({"ok": not wrong, "settings": shown, "findings": [asdict(finding) for finding in findings]})
    else:
        print_table(("setting", "value"), list(shown.items()), title="Settings in force")
        print_table(("check", "state", "detail"), [(f.check, f.state, f.detail) for f in findings], title="Findings")
    if wrong:
        typer.echo(f"lookalike: {len(wrong)} wrong: {'; '.join(f.check for f in wrong)}", err=True)
        raise typer.Exit(1)


def shown_settings(settings: Settings) -> dict[str, str]:
    """Every setting by the name of its environment variable. Secrets are files, so no value is one."""
    return {
        f"LOOKALIKE_{name.upper()}": "" if value is None else str(value)
        for name, value in settings.model_dump(mode="json").items()
    }


def examine(settings: Settings) -> Iterator[Finding]:
    """All findings, in a fixed order; a check that fails itself is one too."""
    from lookalike.errors import LookalikeError

    for check in CHECKS:
        name = check.__name__.strip("_").replace("_", " ")
        try:
            state, detail = check(settings)
        except Exception as error:
            state, detail = "wrong", f"{type(error).__name__}: {error}"
        yield Finding(name, state, detail)
    try:
        yield from _asked_by_profile(settings)
    except LookalikeError as error:
        yield Finding(settings.profile.value, "wrong", str(error))


def _asked_by_profile(settings: Settings) -> Iterator[Finding]:
    """A finding for each setting that is too weak for the profile, and for each rule that the machine must hold."""
    from api.onprem import findings, look
    from lookalike.profiles import weaknesses
    from lookalike.settings import Profile

    for text in weaknesses(settings):
        setting, _, what = text.partition(": ")
        yield Finding(setting, "wrong", what)
    if settings.profile is not Profile.ONPREM:
        return
    yield Finding("onprem core dumps", "ok", "a service switches its own off")
    for name, weak in findings(settings, look(settings)):
        yield Finding(f"onprem {name}", "ok" if weak is None else "wrong", weak or "as it should be")


Answer = tuple[Literal["ok", "note", "wrong"], str]


def _packages(settings: Settings) -> Answer:
    from api.commands.owners import require_own_packages

    require_own_packages()
    return "ok", f"lookalike {version('lookalike')}; its five packages have one owner"


def _profile(settings: Settings) -> Answer:
    from lookalike.profiles import weaknesses

    found = weaknesses(settings)
    if found:
        return (
            "wrong",
            f"{settings.profile.value} refuses to start: {len(found)} settings are too weak for it, see below",
        )
    return "ok", settings.profile.value


def _runtime(settings: Settings) -> Answer:
    from embedder.factory import precision_of
    from embedder.runtime import probe_runtime

    found = probe_runtime(settings.runtime)
    precision = precision_of(settings.embedder, found.precision)
    text = f"{found.runtime} {found.version} {precision}, {found.threads} threads: {found.why}"
    fallen_back = settings.runtime == "auto" and found.runtime != "openvino"
    return ("note" if fallen_back else "ok"), text


def _image_decoding(settings: Settings) -> Answer:
    """Decodes a picture as the service does."""
    import numpy as np

    from api.wiring import open_decoders
    from embedder.images import ImageLimits, encode_jpeg

    decoders = open_decoders(settings)
    if decoders is None:
        return "note", "in the service's own process, which a hole in a decoder lays open: that is not isolated"
    try:
        decoders(encode_jpeg(np.zeros((16, 16, 3), np.uint8)), ImageLimits())
        filtered = decoders.filtered
    finally:
        decoders.close()
    if not filtered:
        return "note", "in processes of their own, within limits; this system filters no system calls"
    return "ok", "in processes of their own, within limits and with a filter of system calls"


def _records(settings: Settings) -> Answer:
    from api.record_store import store_place
    from index.stores import store_of

    return "ok", store_of(settings.records).look(store_place(settings))


def _data_folder(settings: Settings) -> Answer:
    folder = settings.data.absolute()
    if not folder.exists():
        return "ok", f"{folder} will be made at the first start"
    mode = stat.S_IMODE(folder.stat().st_mode)
    if folder.stat().st_uid != os.getuid():
        return "wrong", f"{folder} belongs to another user"
    if mode & 0o077:
        return "wrong", f"{folder} is open to others (mode {mode:o}): chmod 700"
    return "ok", f"{folder}, for its owner alone"


def _data_format(settings: Settings) -> Answer:
    from index.data_format import STATEMENT
    from index.schema import FORMAT

    if settings.records != "sqlite:":
        return "ok", "none: the database states that of the records"
    try:
        stated = json.loads((settings.data / STATEMENT).read_text("utf-8"))["format"]
    except FileNotFoundError:
        return "ok", f"{FORMAT}, nothing stored yet"
    if stated > FORMAT:
        return "wrong", f"the folder has format {stated}, this release knows {FORMAT}: install a newer one"
    if stated < FORMAT:
        return "note", f"the folder has format {stated} and will be migrated to {FORMAT}, after a backup"
    if copies := sorted(copy.name for copy in settings.data.glob("records.db.format-*")):
        return "ok", f"{stated}; {', '.join(copies)} is the way back from the upgrade, until somebody is erased"
    return "ok", str(stated)


def _root_key(settings: Settings) -> Answer:
    from security.root_key import root_key_file, root_kind

    folder = settings.data.absolute()
    file = root_key_file(settings.keys, folder)
    if file is None:
        return _root_elsewhere(settings, root_kind(settings.keys))
    if file.exists() and stat.S_IMODE(file.stat().st_mode) & 0o077:
        return "wrong", f"{file} can be read by others: chmod 400"
    if (folder / "records.db").exists() and not file.exists():
        return "wrong", f"{file} is missing, and nothing stored can be read without it"
    if settings.records != "sqlite:" and not file.exists():
        return "note", f"{file} is missing: it is made where the database is new, else take the one of another replica"
    if file.resolve().is_relative_to(folder.resolve()):
        return "note", f"{file} lies inside the data folder: whoever copies the folder can read it all (LOOKALIKE_KEYS)"
    return "ok", str(file)


def _root_elsewhere(settings: Settings, kind: str) -> Answer:
    """What reaches the root is a file, or for a passphrase whoever is asked on the terminal."""
    files = {
        "passphrase": ("LOOKALIKE_PASSPHRASE_FILE", settings.passphrase_file),
        "vault": ("LOOKALIKE_VAULT_TOKEN_FILE", settings.vault_token_file),
        "pkcs11": ("LOOKALIKE_PKCS11_PIN_FILE", settings.pkcs11_pin_file),
    }
    name, file = files[kind]
    if file is None and kind == "passphrase":
        return "note", f"from {settings.keys}, asked for on the terminal: a service that starts by itself needs {name}"
    if file is None:
        return "wrong", f"from {settings.keys}, which needs {name}"
    if not file.exists():
        return "wrong", f"{name}: {file} is missing"
    if stat.S_IMODE(file.stat().st_mode) & 0o077:
        return "wrong", f"{name}: {file} can be read by others: chmod 400"
    return "ok", f"from {settings.keys}"


def _ledger(settings: Settings) -> Answer:
    folder = settings.ledger
    if folder is None:
        return "note", "none: a restored backup would bring back who was erased since (LOOKALIKE_LEDGER)"
    if not folder.is_dir():
        return "wrong", f"{folder} is no folder: make it, or mount what it lies on"
    if folder.resolve().is_relative_to(settings.data.resolve()):
        return "wrong", f"{folder} lies inside the data folder and is lost together with it (LOOKALIKE_LEDGER)"
    if not os.access(folder, os.W_OK):
        return "wrong", f"{folder} cannot be written to"
    data = settings.data.absolute()
    together = data.exists() and folder.stat().st_dev == data.stat().st_dev
    return ("note", f"{folder} is on the disk of the data folder") if together else ("ok", str(folder))


def _audit_push(settings: Settings) -> Answer:
    from api.audit_receivers import FileReceiver
    from api.audit_standing import waiting_at
    from api.record_store import open_rows
    from api.wiring import open_receivers

    receivers = open_receivers(settings)
    if not receivers:
        return "note", "none: whoever has this machine could rewrite the audit log unseen (LOOKALIKE_AUDIT_PUSH)"
    unwritable = [r.path for _, r in receivers if isinstance(r, FileReceiver) and not _can_append(r.path)]
    if unwritable:
        return "wrong", f"{unwritable[0]} cannot be written to (LOOKALIKE_AUDIT_PUSH)"
    if _data_folder(settings)[0] == "wrong" or not _is_of_this_format(settings):
        return "ok", ", ".join(receiver.name for _, receiver in receivers)
    with open_rows(settings) as rows:
        found = waiting_at(settings, rows)
    told = ", ".join(f"{receiver.name}: {receiver.waiting} checkpoints wait" for receiver in found)
    late_s = max((time.time() - receiver.since for receiver in found if receiver.since is not None), default=0.0)
    return ("wrong" if late_s > DOWN_S else "note" if late_s > LATE_S else "ok"), told


def _is_of_this_format(settings: Settings) -> bool:
    """Whether there are records that opening them would not change."""
    if settings.records != "sqlite:":
        return True
    return (settings.data / "records.db").exists() and _data_format(settings)[0] == "ok"


def _can_append(path: Path) -> bool:
    return os.access(path if path.exists() else path.parent, os.W_OK)


def _backup_key(settings: Settings) -> Answer:
    from security.recipient import read_recipient

    if settings.backup_key is None:
        return "note", "none: backups need one (lookalike backup keygen, LOOKALIKE_BACKUP_KEY)"
    return "ok", f"backups are sealed to {read_recipient(settings.backup_key).fingerprint}"


def _tls(settings: Settings) -> Answer:
    from security.certificates import days_left, require_current
    from security.tls import operator_identity

    if settings.tls == "off":
        return "note", "off: plain HTTP, on this machine only"
    file = settings.tls_certificate or settings.data / "tls" / "server.crt"
    try:
        days = int(days_left(file.read_bytes(), datetime.now(UTC)))
    except FileNotFoundError:
        if settings.tls_certificate is not None:
            return "wrong", f"{file} is missing"
        return "ok", "an own CA and certificate will be made at the first start"
    if days < 0:
        return "wrong", f"{file} ran out {-days} days ago: lookalike tls renew"
    if settings.tls_certificate is not None and settings.tls_key is not None:
        # A service that runs goes on with the pair before, and says no more than its log and figures do.
        require_current(operator_identity(file, settings.tls_key).certificate.read_bytes(), datetime.now(UTC))
    return ("note" if days < RENEW_DAYS else "ok"), f"{file} is good for {days} days"


def _port(settings: Settings) -> Answer:
    where = f"{settings.host} port {settings.port}"
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            if _answers(settings):
                return "ok", f"the service answers on {where}"
            why = f"{error.strerror}, and what answers there does not show our certificate"
            return "wrong", f"{where} cannot be listened on: {why}"
    return "ok", f"{where} is free"


def _answers(settings: Settings) -> bool:
    """Whether what listens there shows our certificate, or without TLS, is ready."""
    from api.client import Client, ClientError

    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    if settings.tls == "on":
        file = settings.tls_certificate or settings.data / "tls" / "server.crt"
        return file.is_file() and _shown_at(here, settings.port) == _first_of(file.read_text("ascii"))
    try:
        with Client(settings.base_url, timeout_s=SHORT_S, retries=0) as client:
            return client.ready()
    except ClientError:
        return False


def _shown_at(host: str, port: int) -> bytes | None:
    """The certificate that is shown there, DER; None if none is. It is looked at and not trusted, nothing is sent."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection((host, port), SHORT_S) as plain, context.wrap_socket(plain) as there:
            return there.getpeercert(binary_form=True)
    except OSError:
        return None


def _first_of(chain: str) -> bytes:
    """The server's own certificate of a chain, DER."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    return ssl.PEM_cert_to_DER_cert(begin + chain.partition(begin)[2].partition(end)[0] + end)


def _disk(settings: Settings) -> Answer:
    there = next(folder for folder in (settings.data.absolute(), *settings.data.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    state: Literal["ok", "note", "wrong"] = (
        "wrong" if free < NO_DISK_BYTES else "note" if free < LITTLE_DISK_BYTES else "ok"
    )
    return state, f"{free / 1e9:.1f} GB free"


def _index(settings: Settings) -> Answer:
    from api.wiring import open_backends

    backends = open_backends(settings, "0" * 32)
    try:
        found = backends.greet()
    finally:
        backends.close()
    if not found:
        return "ok", settings.index
    return "ok", f"{settings.index}; {', '.join(found)}; that its volumes are encrypted is attested, not seen"


def _identities(settings: Settings) -> Answer:
    from api.commands.doctor_identity import identities

    return identities(settings)


def _secret_files(settings: Settings) -> Answer:
    files = (
        settings.bootstrap_key_file,
        settings.api_key_file,
        settings.passphrase_file,
        settings.tls_key,
        settings.postgresql_key,
        settings.elasticsearch_key,
        settings.token_file,
        settings.client_key,
        settings.oidc_client_secret_file,
        settings.elasticsearch_password_file,
        settings.elasticsearch_api_key_file,
        settings.postgresql_password_file,
        settings.traces_header_file,
    )
    named = [file for file in files if file is not None]
    missing = [str(file) for file in named if not file.is_file()]
    if missing:
        return "wrong", f"missing: {', '.join(missing)}"
    open_ones = [str(file) for file in named if _open_to_others(file)]
    if open_ones:
        return "note", f"can be read by others: {', '.join(open_ones)}"
    return "ok", f"{len(named)} named"


def _open_to_others(file: Path) -> bool:
    return bool(stat.S_IMODE(file.stat().st_mode) & 0o077)


def _traces(settings: Settings) -> Answer:
    from api.wiring import traces_of

    traces = traces_of(settings)
    if traces is None:
        return "ok", "none are sent (LOOKALIKE_TRACES_URL)"
    traces.close()
    return "ok", f"{settings.traces_ratio:.0%} of requests are traced to {settings.traces_url}"


def _remote_service(settings: Settings) -> Answer:
    if settings.url is None:
        return "ok", "LOOKALIKE_URL is not set: commands open the data folder"
    from api.commands.session import open_client

    with open_client() as client:
        client.limits()
    return "ok", f"{settings.url} answers and knows the key"


CHECKS: Final[tuple[Callable[[Settings], Answer], ...]] = (
    _packages,
    _profile,
    _runtime,
    _image_decoding,
    _records,
    _data_folder,
    _data_format,
    _root_key,
    _ledger,
    _audit_push,
    _backup_key,
    _tls,
    _port,
    _disk,
    _index,
    _identities,
    _secret_files,
    _traces,
    _remote_service,
)
