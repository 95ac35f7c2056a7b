"""Opens the client that a command speaks through: to a service over HTTPS, or to the data folder in this process.

Either way the same HTTP API answers. Within the process the caller is `local:UID` with the role admin.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lookalike.errors import BadSettings

if TYPE_CHECKING:
    from api.client import Client
    from lookalike.settings import Settings


@contextmanager
def open_client() -> Iterator[Client]:
    """A client as the settings say; closed, with all that it opened, at the end."""
    from lookalike.settings import read_settings

    settings = read_settings()
    with _remote(settings, settings.url) if settings.url is not None else _local(settings) as client:
        yield client


def require_local(command: str) -> Settings:
    """The settings, for a command that works on the data folder itself. Raises: BadSettings under LOOKALIKE_URL."""
    from lookalike.settings import read_settings

    settings = read_settings()
    if settings.url is not None:
        raise BadSettings(f"{command} works on the data folder itself: run it where that is, without LOOKALIKE_URL")
    return settings


@contextmanager
def _remote(settings: Settings, url: str) -> Iterator[Client]:
    from api.client import Client

    token = None if settings.token_file is None else partial(_text, settings.token_file, "LOOKALIKE_TOKEN_FILE")
    if token is not None:
        token()  # what is wrong with the file is told before anything is sent
    with Client(
        url,
        api_key=None if token is not None else _key(settings),
        token=token,
        certificate=settings.client_certificate,
        certificate_key=settings.client_key,
        ca=_ca(settings),
    ) as client:
        yield client


@contextmanager
def _local(settings: Settings) -> Iterator[Client]:
    from api.app import create_app
    from api.client import Client
    from api.in_process import InProcessTransport
    from api.wiring import local_principal, open_services

    services = open_services(settings)
    try:
        transport = InProcessTransport(create_app(services, principal=local_principal()))
        with Client("http://localhost", transport=transport) as client:
            yield client
    finally:
        services.close()


def _key(settings: Settings) -> str | None:
    """The API key; None where a client certificate does without one."""
    if settings.api_key_file is not None:
        return _text(settings.api_key_file, "LOOKALIKE_API_KEY_FILE")
    if settings.client_certificate is not None:
        return None
    raise BadSettings(
        "LOOKALIKE_URL needs LOOKALIKE_API_KEY_FILE, a file that holds an API key; or LOOKALIKE_TOKEN_FILE, or a client"
        " certificate"
    )


def _text(path: Path, setting: str) -> str:
    """What a file holds, read anew each time: whoever renews a token writes it there."""
    try:
        return path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettings(f"{setting} {path} cannot be read: {type(error).__name__}") from error


def _ca(settings: Settings) -> Path | None:
    """The CA file that was named, else the one of a data folder on this machine, else the system's."""
    own = settings.data / "tls" / "ca.crt"
    return settings.ca or (own if own.is_file() else None)
