"""Asks the service in this container whether it is ready; exit code 0 if it is.

It is asked over loopback, where nobody else can answer, and nothing secret is sent; so the certificate, which may be
the organisation's and name no loopback address, is not checked.
"""

from __future__ import annotations

import http.client
import os
import ssl
import sys

TIMEOUT_S = 4


def main() -> int:
    """0 if GET /readyz answers 200 within four seconds, else 1."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    port = int(os.environ.get("LOOKALIKE_PORT", "8443"))
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT_S, context=context)
    try:
        connection.request("GET", "/readyz")
        return 0 if connection.getresponse().status == http.HTTPStatus.OK else 1
    except OSError:
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
