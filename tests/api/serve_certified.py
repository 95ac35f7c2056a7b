"""Serves an app that takes client certificates over doubled services, as a process of its own: FOLDER [SETTING=VALUE].

The folder holds clients.crt, the authorities of clients, and map.toml, what they may.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from api.app import create_app
from api.identity import open_identities
from api.server import serve
from security.audit import SealedAuditLog
from security.client_certificates import ask_for_certificates
from security.keys import open_key_ring
from security.ledger_copy import Ledger
from security.tls import context_for
from security.tokens import ApiKeys
from tests.api import doubles
from tests.issuer import certificates
from tests.security.memory_rows import MemoryRows


def main() -> None:
    folder = Path(sys.argv[1])
    overrides = dict(item.split("=", 1) for item in sys.argv[2:])
    identity = certificates(folder)
    named = {
        "tls_client_ca": folder / "clients.crt",
        "identity_map": folder / "map.toml",
        "tls_certificate": identity.certificate,
        "tls_key": identity.key,
    }
    services = doubles.services(folder, **{"port": 0, **named, **overrides})
    rows, settings = MemoryRows(), services.settings
    keyring = open_key_ring("file:root.key", folder, rows)
    audit = SealedAuditLog(rows, keyring)
    api_keys = ApiKeys(rows, keyring, audit)
    services.identities = open_identities(
        settings, rows, keyring, audit, Ledger(rows, keyring, audit), api_keys, live=True
    )

    def context():
        made = context_for(identity)
        ask_for_certificates(made, settings.tls_client_ca, settings.tls_client_certificates)
        return made

    services.server_context = context
    serve(services, create_app(services), lambda url: print(f"ready {url}", flush=True))  # type: ignore[arg-type]
    services.close()


main()
