"""Serves an app over doubled services on a free port, as a process of its own: FOLDER on|off [SETTING=VALUE ...]."""

from __future__ import annotations

import datetime
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from api.app import create_app
from api.server import serve
from security.certificates import all_names, make_ca, make_server
from security.tls import ServerIdentity, context_for, server_context
from tests.api import doubles


def identity(folder: Path) -> ServerIdentity:
    now = datetime.datetime.now(datetime.UTC)
    ca = make_ca("test", b"secret", now)
    server = make_server(ca, all_names(()), b"secret", now)
    tls = folder / "tls"
    tls.mkdir()
    (folder / "ca.crt").write_bytes(ca.certificate)
    for name, content in (("server.crt", server.certificate), ("server.key", server.key)):
        (tls / name).write_bytes(content)
    return ServerIdentity(tls / "server.crt", tls / "server.key", "secret", folder / "ca.crt")


def main() -> None:
    folder, tls, *rest = sys.argv[1:]
    overrides = dict(item.split("=", 1) for item in rest)
    slow_s = float(overrides.pop("slow_s", "0"))
    services = doubles.services(Path(folder), **{"port": 0, "tls": tls, **overrides})
    services.gallery.before = lambda: time.sleep(slow_s)
    given, minimum = services.settings.tls_certificate, services.settings.tls_min_version
    if given is not None:
        services.server_context = lambda: server_context(
            Path(folder), None, minimum=minimum, certificate=given, key=services.settings.tls_key
        )
    elif tls == "on":
        made = identity(Path(folder))
        services.server_context = lambda: context_for(made, minimum)
    serve(services, create_app(services), lambda url: print(f"ready {url}", flush=True))  # type: ignore[arg-type]
    services.close()


main()
