"""One Elasticsearch cluster as this process speaks to it: address, credentials, deadlines, and what errors mean.

Every answer is whole or an error: a node that hangs, refuses or has lost shards raises IndexUnavailable within the
deadline of one call. While a cluster does not answer, one caller a second tries it and the others are told at once,
so that nobody queues behind a dead node. All calls may be repeated: reads are reads, and writes carry versions.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import elastic_transport
from elasticsearch import (
    ApiError,
    AuthenticationException,
    AuthorizationException,
    Elasticsearch,
    NotFoundError,
    UnsupportedProductError,
)

from index.elastic_tls import ClientContext
from lookalike.errors import BadSettings, IndexUnavailable
from lookalike.settings import is_loopback

SCHEMES: Final = {"es+https": "https", "es+http": "http"}
TRY_EVERY_S = 1.0
"""How often a cluster that did not answer is tried again."""

SHARD_AWAY: Final = (
    "Elasticsearch answers for a part of the indexes only: a shard is away. If it is lost for good, delete its index, "
    "which is made anew from the records"
)

Answer = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ElasticOptions:
    """What the settings say of every Elasticsearch. deployment: random hex, in the name of each index.

    shown: the certificate and key by which the cluster sees who connects;
    vectors: how new indexes hold them, as in `index/elastic_mapping.py`; candidates: what a graph looks at; timeout_s:
    until one call must be answered; attested: somebody answers for the encryption of the nodes' volumes.
    """

    deployment: str
    ca: Path | None = None
    shown: tuple[Path, Path] | None = None
    password_file: Path | None = None
    api_key_file: Path | None = None
    shards: int = 1
    replicas: int = 1
    vectors: str = "flat"
    candidates: int = 1000
    timeout_s: float = 3.5
    attested: bool = False


@dataclass(frozen=True, slots=True)
class ElasticAddress:
    """nodes: https://HOST:PORT each; user: whose password the password file holds."""

    nodes: tuple[str, ...]
    user: str | None


def address_of(url: str) -> ElasticAddress:
    """Read es+https://[USER@]HOST:PORT[,HOST:PORT…]. Raises: BadSettings, which does not repeat the URL."""
    form = "es+https://[USER@]HOST:PORT[,HOST:PORT]"
    try:
        parts = urlsplit(url)
    except ValueError:
        raise BadSettings(f"an Elasticsearch index is named {form}") from None
    scheme = SCHEMES.get(parts.scheme)
    user, _, hosts = parts.netloc.rpartition("@")
    if scheme is None or not hosts or parts.path.strip("/") or parts.query or parts.fragment:
        raise BadSettings(f"an Elasticsearch index is named {form}")
    if ":" in user:
        raise BadSettings("no password goes into a URL: LOOKALIKE_ELASTICSEARCH_PASSWORD_FILE names the file of it")
    nodes = []
    for each in hosts.split(","):
        try:
            host, port = urlsplit(f"//{each}").hostname, urlsplit(f"//{each}").port
        except ValueError:
            host = port = None
        if host is None or port is None:
            raise BadSettings(f"an Elasticsearch index is named {form}, each host with its port")
        if scheme == "http" and not is_loopback(host):
            raise BadSettings("es+http: is accepted for a loopback address only; faces travel by es+https:")
        nodes.append(f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}")
    return ElasticAddress(tuple(nodes), user or None)


class ElasticCluster:
    """A client with one deadline, one meaning for each failure, and no queue before a dead node. Thread-safe."""

    def __init__(self, url: str, options: ElasticOptions) -> None:
        """Speaks to nobody yet. Raises: BadSettings."""
        address = address_of(url)
        if not options.attested:
            raise BadSettings(
                "Elasticsearch keeps templates in the clear on its nodes, and faces can be made out of templates: "
                "encrypt the nodes' volumes, then say so with LOOKALIKE_VOLUME_ENCRYPTED=attested"
            )
        self.options = options
        self._lock = threading.Lock()
        self._failure: str | None = None
        self._try_at = 0.0
        credentials = _credentials(address, options)
        trust: dict[str, Any] = {}
        if address.nodes[0].startswith("https:"):
            trust = {"verify_certs": True, **({"ca_certs": str(options.ca)} if options.ca is not None else {})}
            if options.shown is not None:
                trust = {"ssl_context": ClientContext(*options.shown, options.ca)}
        elif options.shown is not None:
            raise BadSettings("LOOKALIKE_ELASTICSEARCH_CERTIFICATE is shown over es+https: alone")
        try:
            self._client = Elasticsearch(
                list(address.nodes),
                request_timeout=options.timeout_s,
                max_retries=max(1, len(address.nodes) - 1),  # of what no node has seen; never after a time-out
                retry_on_timeout=False,
                retry_on_status=(),
                connections_per_node=32,
                **credentials,
                **trust,
            )
        except (OSError, ValueError) as error:
            raise BadSettings(f"Elasticsearch cannot be spoken to: {type(error).__name__}; look at the CA") from error

    def close(self) -> None:
        self._client.close()

    def require_up(self) -> None:
        """Raises: IndexUnavailable if the last call was not answered; asks nobody."""
        failure = self._failure
        if failure is not None:
            raise IndexUnavailable(failure)

    def ask(self, call: Callable[[Elasticsearch], Any], *, timeout_s: float | None = None) -> Answer | None:
        """What the cluster answers; None where it has no such index. Raises: IndexUnavailable."""
        with self._turn():
            try:
                client = self._client if timeout_s is None else self._client.options(request_timeout=timeout_s)
                answer = call(client)
            except NotFoundError:
                self._failure = None
                return None
            except ApiError as error:
                self._failure = None  # it answers; what it lacks is this call's trouble
                raise IndexUnavailable(meaning(error)) from error
            except elastic_transport.TransportError as error:
                self._failure = _silence(error, timeout_s or self.options.timeout_s)
                self._try_at = time.monotonic() + TRY_EVERY_S
                raise IndexUnavailable(self._failure) from error
            self._failure = None
            found: Answer = answer.body if isinstance(answer, elastic_transport.ApiResponse) else answer
            return found

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Lets a call through, and of those to a cluster that did not answer one a second. Raises: IndexUnavailable."""
        failure = self._failure
        if failure is None:
            yield
            return
        if time.monotonic() < self._try_at or not self._lock.acquire(blocking=False):
            raise IndexUnavailable(failure)
        try:
            yield
        finally:
            self._lock.release()


def meaning(error: ApiError) -> str:
    """What an answer that is an error says to an operator; never a value of the request."""
    if isinstance(error, UnsupportedProductError):
        return "what answers is no Elasticsearch"
    if isinstance(error, AuthenticationException):
        return "Elasticsearch refuses the credentials"
    if isinstance(error, AuthorizationException) and "security_exception" in kind_of(error):
        return "Elasticsearch does not allow this user or key what is needed"
    if error.status_code == 503 and kind_of(error) == "search_phase_execution_exception":
        return SHARD_AWAY
    return f"Elasticsearch answered {error.status_code} ({kind_of(error)})"


def kind_of(error: ApiError) -> str:
    """The type of an error as the server names it, such as "cluster_block_exception"."""
    body = error.body
    cause = body.get("error") if isinstance(body, dict) else None
    return str(cause.get("type", "unknown")) if isinstance(cause, dict) else "unknown"


def _silence(error: elastic_transport.TransportError, timeout_s: float) -> str:
    if isinstance(error, elastic_transport.ConnectionTimeout):
        return f"Elasticsearch did not answer within {timeout_s:g} s"
    if isinstance(error, elastic_transport.TlsError):
        return "the certificate of Elasticsearch is not trusted (LOOKALIKE_ELASTICSEARCH_CA)"
    if isinstance(error, elastic_transport.ConnectionError):
        return "Elasticsearch cannot be reached"
    return f"what answers does not speak as Elasticsearch does ({type(error).__name__})"


def _credentials(address: ElasticAddress, options: ElasticOptions) -> dict[str, Any]:
    """Raises: BadSettings unless there are exactly one user with a password, or an API key; none on loopback."""
    if options.api_key_file is not None:
        if address.user is not None or options.password_file is not None:
            raise BadSettings("give Elasticsearch a user with a password file, or an API key file, not both")
        return {"api_key": _secret(options.api_key_file, "LOOKALIKE_ELASTICSEARCH_API_KEY_FILE")}
    if address.user is not None:
        if options.password_file is None:
            raise BadSettings("the user in the Elasticsearch URL needs LOOKALIKE_ELASTICSEARCH_PASSWORD_FILE")
        password = _secret(options.password_file, "LOOKALIKE_ELASTICSEARCH_PASSWORD_FILE")
        return {"basic_auth": (address.user, password)}
    if options.password_file is not None or address.nodes[0].startswith("https:"):
        raise BadSettings("Elasticsearch needs a user in its URL and a password file, or an API key file")
    return {}


def _secret(path: Path, setting: str) -> str:
    try:
        secret = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettings(f"{setting} {path} cannot be read: {type(error).__name__}") from error
    if not secret:
        raise BadSettings(f"{setting} {path} is empty")
    return secret
