"""For each target of tests/fuzz/targets.py the modules whose branches guide the search. Imports none of them."""

from __future__ import annotations

CODE = {
    "pictures": ["embedder.headers", "embedder.images"],
    "multipart": ["api.bodies", "api.multipart", "python_multipart"],
    "json": ["api.bodies"],
    "envelopes": ["security.envelope"],
    "streams": ["security.sealed_stream"],
    "bundles": ["security.bundle_file", "api.bundles"],
    "bundle-manifests": ["embedder.bundles", "embedder.json_entries", "embedder.manifests"],
    "networks": ["embedder.onnx_files"],
    "imports": ["api.picture_sources", "api.zip_archive", "api.bodies"],
    "import-rows": ["api.picture_sources", "lookalike.inputs"],
    "backups": ["security.backup_file"],
    "backup-records": ["security.backup_records"],
    "signed-headers": ["security.sigv4"],
}
