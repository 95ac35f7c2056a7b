"""The Elasticsearch that tests/services/elasticsearch/run started; each test has a deployment of its own in it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from index.elastic_cluster import ElasticOptions, address_of
from index.elastic_servers import ElasticServers

SMALL = {"shards": 1, "replicas": 0}


def url() -> str:
    """es+https://admin@localhost:PORT; the test is left out, and says so, where none was started."""
    found = os.environ.get("LOOKALIKE_TEST_ELASTICSEARCH")
    if found is None:
        pytest.skip("left out: no Elasticsearch was started (tests/services/start does)")
    return found


def home() -> Path:
    url()
    return Path(os.environ["LOOKALIKE_TEST_ELASTICSEARCH_HOME"])


def options(**changes: Any) -> ElasticOptions:
    return ElasticOptions(
        **{
            "deployment": secrets.token_hex(16),
            "ca": home() / "home/config/certs/ca.crt",
            "password_file": home() / "password",
            "attested": True,
            **SMALL,
            **changes,
        }
    )


def settings(at: str | None = None) -> dict[str, str]:
    """What a service is told of it by its environment."""
    return {
        "LOOKALIKE_INDEX": at or url(),
        "LOOKALIKE_ELASTICSEARCH_CA": str(home() / "home/config/certs/ca.crt"),
        "LOOKALIKE_ELASTICSEARCH_PASSWORD_FILE": str(home() / "password"),
        "LOOKALIKE_ELASTICSEARCH_REPLICAS": "0",
        "LOOKALIKE_VOLUME_ENCRYPTED": "attested",
    }


def client(at: str | None = None) -> Elasticsearch:
    """A client of the cluster itself, to look behind the port."""
    return Elasticsearch(
        list(address_of(at or url()).nodes),
        basic_auth=("admin", (home() / "password").read_text()),
        ca_certs=str(home() / "home/config/certs/ca.crt"),
        request_timeout=30,
    )


@contextmanager
def opened(at: str | None = None, **changes: Any) -> Iterator[ElasticServers]:
    """Servers over the cluster, whose indexes are deleted at the end."""
    chosen = options(**changes)
    servers = ElasticServers([at or url()], chosen)
    try:
        yield servers
    finally:
        servers.close()
        cleaner = ElasticServers([url()], chosen)
        cleaner.keep_only(set)
        cleaner.close()
