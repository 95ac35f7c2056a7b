"""One tree of settings, read from LOOKALIKE_* and lookalike.toml at the edge; there is no global instance."""

from __future__ import annotations

import enum
import ipaddress
import re
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from lookalike.errors import BadSettings

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(:\d{1,5})?")


class Profile(enum.StrEnum):
    SINGLE = "single"
    SCALE = "scale"
    ONPREM = "onprem"
    EDGE = "edge"


class Settings(BaseSettings):
    """Everything an operator may set; docs/settings.md lists each with its meaning."""

    model_config = SettingsConfigDict(
        env_prefix="LOOKALIKE_",
        env_nested_delimiter="__",
        toml_file="lookalike.toml",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    data: Path = Path("data")
    host: str = "127.0.0.1"
    port: int = Field(8443, ge=0, le=65535)
    hosts: tuple[str, ...] = ()
    tls: Literal["on", "off"] = "on"
    tls_min_version: Literal["1.2", "1.3"] = "1.3"
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = Field(None, description="authorities of client certificates; no other asks for any")
    tls_client_certificates: Literal["optional", "required"] = "optional"
    tls_client_crl: Path | None = Field(None, description="revocation lists of client certificates")
    identity_map: Path | None = Field(None, description="what groups, people and certificates may do here")
    oidc_issuer: str | None = Field(None, description="whose access tokens are taken")
    oidc_audience: str | None = None
    oidc_groups_claim: str = Field("groups", min_length=1)
    oidc_token_type: Literal["access", "at+jwt", "any"] = "access"  # noqa: S105
    oidc_leeway_s: float = Field(30.0, ge=0, le=300)
    oidc_jwks: Path | None = Field(None, description="the issuer's keys in a file, where it cannot be asked")
    oidc_ca: Path | None = None
    oidc_keys_kept_hours: float = Field(24.0, gt=0, le=168)
    oidc_client_id: str | None = Field(None, description="as whom the console signs people in at the issuer")
    oidc_client_secret_file: Path | None = None
    oidc_scopes: str = "openid profile"
    console_url: str | None = Field(None, description="where browsers find the console, for their way back")
    bootstrap_key_file: Path | None = None
    url: str | None = None
    api_key_file: Path | None = None
    token_file: Path | None = Field(None, description="an access token instead of an API key")
    client_certificate: Path | None = None
    client_key: Path | None = None
    ca: Path | None = None
    index: str = "faiss:"
    indexes: tuple[str, ...] = Field(
        (),
        description="Elasticsearch clusters that collections can be re-indexed to, or are in, besides LOOKALIKE_INDEX",
    )
    records: str = "sqlite:"
    postgresql_password_file: Path | None = None
    postgresql_ca: Path | None = None
    postgresql_certificate: Path | None = Field(None, description="the service's certificate for PostgreSQL")
    postgresql_key: Path | None = None
    keys: str = "file:keys/root.key"
    passphrase_file: Path | None = None
    vault_token_file: Path | None = None
    vault_ca: Path | None = None
    pkcs11_pin_file: Path | None = None
    ledger: Path | None = None
    backup_key: Path | None = None
    audit_push: tuple[str, ...] = Field((), description="where signed checkpoints of the audit log go")
    audit_push_ca: Path | None = None
    audit_push_key_file: Path | None = None
    webhook_hosts: tuple[str, ...] = Field((), description="hosts that events may be sent to; none allows no webhook")
    webhook_ca: Path | None = None
    profile: Profile = Profile.SINGLE
    volume_encrypted: Literal["attested"] | None = None
    elasticsearch_ca: Path | None = None
    elasticsearch_certificate: Path | None = Field(None, description="the service's certificate for Elasticsearch")
    elasticsearch_key: Path | None = None
    elasticsearch_password_file: Path | None = None
    elasticsearch_api_key_file: Path | None = None
    elasticsearch_shards: int = Field(1, ge=1, le=64)
    elasticsearch_replicas: int = Field(1, ge=0, le=8)
    elasticsearch_vectors: Literal["flat", "int8_flat", "hnsw", "int8_hnsw"] = "flat"
    elasticsearch_candidates: int = Field(1000, ge=50, le=10_000)
    elasticsearch_timeout_s: float = Field(3.5, gt=0, le=30)

    detector: str = "yunet"
    embedder: str = "sface-int8"
    models: tuple[str, ...] = ()
    image_models: tuple[str, ...] = ()
    model_signers: tuple[Path, ...] = ()
    accepted_licences: tuple[str, ...] = ()
    runtime: Literal["auto", "openvino", "onnxruntime"] = "auto"
    calibrate_from: int = Field(
        200, ge=0, description="subjects from which a service calibrates a collection by itself; 0 leaves it to you"
    )
    standby_hours: float = Field(
        24.0, ge=0, description="how long after a re-index one can roll back to the generation before"
    )
    rotate_after_hours: float = Field(
        12.0,
        ge=0,
        le=20,
        description="how long after an erasure the collection's key is rotated, and its old one destroyed",
    )
    drift_days: int = Field(
        90, ge=0, le=3_650, description="days that the counts of what probes were like are kept; 0 counts nothing"
    )
    workers: int = Field(
        0, ge=0, le=256, description="threads that work on requests; 0 takes the number of cores and two more"
    )

    image_decoding: Literal["isolated", "in-process"] = Field(
        "isolated", description="whether pictures are decoded in processes of their own, which no file can get out of"
    )
    decode_timeout_s: float = Field(
        10.0, ge=1, le=300, description="processor time that one picture may take to decode; twice that by the clock"
    )
    max_image_bytes: int = Field(20_000_000, ge=1_000)
    max_image_pixels: int = Field(25_000_000, ge=10_000)
    max_faces: int = Field(100, ge=1, le=1_000)
    max_regions: int = Field(
        300, ge=16, le=2_000, description="parts of one picture that a search with regions=auto looks at"
    )
    max_images: int = Field(32, ge=1, le=1_000)
    max_request_bytes: int = Field(64_000_000, ge=1_000)
    max_bundle_bytes: int = Field(64_000_000, ge=1_000, description="the largest model bundle that is imported")
    max_import_bytes: int = Field(10_000_000_000, ge=1_000, description="the largest file of pictures that is imported")
    max_import_pictures: int = Field(250_000, ge=1, description="pictures that one such file may hold")
    max_queue: int = Field(64, ge=1, le=100_000, description="requests that may wait for a worker; more are shed")
    max_refused_per_minute: int = Field(
        60, ge=1, le=1_000_000, description="wrong credentials from one address before it is told to wait"
    )
    max_requests_per_minute: int = Field(
        0, ge=0, le=1_000_000, description="requests of one credential, by each replica; 0 sets no bound"
    )
    header_timeout_s: float = Field(10.0, gt=0)
    body_idle_timeout_s: float = Field(10.0, gt=0)
    body_min_bytes_per_s: int = Field(8_000, ge=1)
    answer_timeout_s: float = Field(30.0, gt=0)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "ecs", "text"] = Field(
        "auto", description="ecs: a line of JSON each; text: for people; auto: text where stderr is a terminal"
    )
    traces_url: str | None = Field(None, description="an OpenTelemetry collector, by its full address for traces")
    traces_ca: Path | None = None
    traces_header_file: Path | None = None
    traces_ratio: float = Field(1.0, ge=0, le=1, description="the share of requests that are traced")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over the environment, the environment over lookalike.toml."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @field_validator("index", "indexes")
    @classmethod
    def _no_password(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for url in (value,) if isinstance(value, str) else value:
            if ":" in url.partition("://")[2].rpartition("@")[0]:
                raise ValueError("no password goes into a URL: LOOKALIKE_ELASTICSEARCH_PASSWORD_FILE names its file")
        return value

    @field_validator("webhook_hosts")
    @classmethod
    def _hosts_alone(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            if not _HOST.fullmatch(host):
                raise ValueError("HOST or HOST:PORT is allowed, an IPv6 address in brackets")
        return value

    @field_validator("records")
    @classmethod
    def _known_records(cls, value: str) -> str:
        if value != "sqlite:" and not value.startswith("postgresql://"):
            raise ValueError("allowed are sqlite: and postgresql://USER@HOST:PORT/DATABASE")
        # What stands before the first @ holds a password if it has a colon, also one that was not escaped as it should.
        user, at, _ = value.removeprefix("postgresql://").partition("@")
        if (at and ":" in user) or any(f"{name}=" in value for name in ("password", "passfile")):
            raise ValueError("no password in the URL: LOOKALIKE_POSTGRESQL_PASSWORD_FILE names a file that holds it")
        return value

    @field_validator("traces_url")
    @classmethod
    def _no_user(cls, value: str | None) -> str | None:
        if value is not None and "@" in value:
            raise ValueError(
                "no password goes into a URL: LOOKALIKE_TRACES_HEADER_FILE names a file that holds a header"
            )
        return value

    @field_validator("ledger", "backup_key", mode="before")
    @classmethod
    def _none_if_empty(cls, value: object) -> object:
        return None if value == "" else value

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.tls == "off" and not is_loopback(self.host):
            raise ValueError("tls: off is accepted on a loopback address only")
        for name in ("tls", "postgresql", "elasticsearch"):
            if (getattr(self, f"{name}_certificate") is None) != (getattr(self, f"{name}_key") is None):
                raise ValueError(f"{name}_certificate and {name}_key are given together or not at all")
        if (self.client_certificate is None) != (self.client_key is None):
            raise ValueError("client_certificate and client_key are given together or not at all")
        if (self.oidc_issuer is None) != (self.oidc_audience is None):
            raise ValueError("oidc_issuer and oidc_audience are given together or not at all")
        if self.tls_client_ca is not None and self.tls == "off":
            raise ValueError("tls_client_ca: without TLS there are no client certificates")
        if self.tls_client_crl is not None and self.tls_client_ca is None:
            raise ValueError("tls_client_crl needs tls_client_ca, whose certificates it revokes")
        if (self.oidc_issuer is not None or self.tls_client_ca is not None) and self.identity_map is None:
            raise ValueError("identity_map: without it no token and no client certificate may do anything")
        if self.oidc_client_id is not None and (self.oidc_issuer is None or self.console_url is None):
            raise ValueError("oidc_client_id needs oidc_issuer, and console_url for the way back")
        if self.oidc_client_secret_file is not None and self.oidc_client_id is None:
            raise ValueError("oidc_client_secret_file needs oidc_client_id, whose secret it is")
        if "openid" not in self.oidc_scopes.split():
            raise ValueError("oidc_scopes: openid must be among them")
        if self.url is not None and not self.url.startswith("https://"):
            raise ValueError("url: must begin with https://")
        return self

    @property
    def base_url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls == 'on' else 'http'}://{host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Whether a host name or address can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_settings(**overrides: object) -> Settings:
    """Settings from arguments, environment and file. Raises: BadSettings naming each wrong one and what is allowed."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        lines = [
            f"LOOKALIKE_{'__'.join(str(part) for part in item['loc']).upper() or '*'}: {item['msg']}"
            for item in error.errors()
        ]
        raise BadSettings("; ".join(lines)) from None
    except (OSError, ValueError) as error:
        raise BadSettings(f"lookalike.toml cannot be read: {type(error).__name__}") from error
