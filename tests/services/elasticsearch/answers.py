"""Whether a node answers: answers.py PORT FOLDER exits 0 if it does."""

import base64
import ssl
import sys
import urllib.request
from pathlib import Path

port, folder = sys.argv[1], Path(sys.argv[2])
secret = base64.b64encode(b"admin:" + (folder / "password").read_bytes()).decode()
url = f"https://localhost:{port}/_cluster/health?wait_for_status=yellow&timeout=1s"
trust = ssl.create_default_context(cafile=str(folder / "home/config/certs/ca.crt"))
try:
    asked = urllib.request.Request(url, headers={"Authorization": f"Basic {secret}"})
    sys.exit(urllib.request.urlopen(asked, timeout=2, context=trust).status != 200)
except OSError:
    sys.exit(1)
