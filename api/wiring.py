"""The composition root: settings in, services out; the one place where all packages meet."""

from __future__ import annotations

import os
import shutil
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from api.audit_keeper import AuditKeeper
from api.audit_receivers import FileReceiver, Receiver, means_of, receiver_of
from api.bundle_store import BundleStore
from api.calibrator import Calibrator
from api.drift_look import DriftLook
from api.figures import Figures
from api.follower import Follower
from api.identity import open_identities, open_login
from api.imports import Imports, import_threads
from api.job_kinds import SERVICE, job_kinds, principal_of_job
from api.jobs import JobRunner
from api.key_care import KeyCare
from api.models import InstalledModels, image_limits
from api.pool import threads_for
from api.record_store import open_rows
from api.refusals import Refusals
from api.root_access import root_access
from api.tending import Tending
from api.webhook_calls import Courier
from api.webhook_sender import WebhookSender
from embedder.decoders import Decoders, can_isolate
from embedder.images import decode_image
from index.backends import ELASTIC, Backends, index_factory
from lookalike.access import AccessRequests
from lookalike.answers import Caller
from lookalike.audit_book import AuditBook
from lookalike.consent import Consents
from lookalike.corrections import Corrections
from lookalike.domain import Grant, Kind, Principal
from lookalike.drift_watch import DriftWatch
from lookalike.errors import BadSettings, IndexUnavailable, InvalidInput, StorageFull, StorageUnavailable
from lookalike.events import EventFeed
from lookalike.exports import Transfers
from lookalike.face_users import FaceUsers
from lookalike.faces import Faces
from lookalike.gallery import Gallery
from lookalike.holds import Holds
from lookalike.ports import Records, RowFiles, Rows
from lookalike.probe_log import ProbeLog
from lookalike.profiles import require_profile
from lookalike.reindex import Reindexer, end_trial
from lookalike.retention import Retention
from lookalike.rosters import Rosters
from lookalike.settings import Settings
from lookalike.trials import Trials
from lookalike.webhooks import Webhooks
from security.audit import SealedAuditLog
from security.checkpoint_outbox import Outbox
from security.client_certificates import ask_for_certificates
from security.client_pair import require_client_pair
from security.console_sessions import ConsoleSessions
from security.file_heads import rewrap_heads
from security.holds import SealedHolds
from security.identities import Identities
from security.keys import KeyRing, open_key_ring
from security.ledger_copy import Ledger
from security.makers import own_maker, trusted_makers
from security.oidc_login import OidcLogin
from security.rbac import principal_for
from security.recipient import Sender, sender_of
from security.rotation import KeyRotation
from security.row_files import SealedRowFiles
from security.sealed_adoption import SealedAdoption
from security.sealed_corrections import SealedCorrections
from security.sealed_faces import SealedFaceRecords
from security.sealed_imports import SealedImports
from security.sealed_jobs import SealedJobs
from security.sealed_models import SealedModels
from security.sealed_pending import SealedPending
from security.sealed_probe_days import SealedProbeDays
from security.sealed_records import SealedRecords
from security.sealed_retention import SealedRetention
from security.sealed_snapshots import SealedSnapshots
from security.sealed_unknowns import SealedUnknowns
from security.sealed_webhooks import SealedWebhooks
from security.tls import server_context
from security.tokens import ApiKeys

if TYPE_CHECKING:
    from api.traces import Traces

LEAST_ROOM_BYTES: Final = 1_000_000
"""Below this a service on SQLite says that it is not ready: a commit wants room for its log, and a little more."""


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that an edge calls; close() ends it.

    decoders: None where pictures are decoded in this process.
    first_key: the admin key that this start made or took from its file; None where one exists already.
    """

    settings: Settings
    gallery: Gallery
    faces: Faces
    face_users: FaceUsers
    api_keys: ApiKeys
    identities: Identities
    sessions: ConsoleSessions
    login: OidcLogin | None
    answers: Records
    audit: SealedAuditLog
    audit_book: AuditBook
    audit_keeper: AuditKeeper
    refusals: Refusals
    jobs: JobRunner
    imports: Imports
    rotation: KeyRotation
    transfers: Transfers
    retention: Retention
    consents: Consents
    holds: Holds
    corrections: Corrections
    access: AccessRequests
    sender: Sender
    reindexer: Reindexer
    trials: Trials
    feed: EventFeed
    webhooks: Webhooks
    courier: Courier
    deployment: str
    drift: DriftWatch
    drift_look: DriftLook
    figures: Figures
    traces: Traces | None
    rosters: Rosters
    models: InstalledModels
    decoders: Decoders | None
    bundles: BundleStore
    runtime: str
    first_key: str | None
    server_context: Callable[[], ssl.SSLContext]
    close: Callable[[], None]


def open_services(settings: Settings, *, live: bool = False) -> Services:
    """Open the data folder and join the parts.

    live: a service that answers others: it makes the first key, loads every gallery, and follows other processes.
    Raises: BadSettings, KeyUnavailable, DataTooNew, BadModel, StorageFull, StorageUnavailable.
    """
    require_profile(settings)
    with ExitStack() as stack:
        folder = prepare_folder(settings.data)
        # Models load outside Python for the most part, so the records can be read meanwhile.
        decoders = open_decoders(settings)
        if decoders is not None:
            stack.callback(decoders.close)
            if live:
                decoders.start()
        loading = ThreadPoolExecutor(1, "models")
        stack.callback(loading.shutdown)
        models = InstalledModels(settings, decoders or decode_image)
        first_model = loading.submit(models.default, Kind.FACE)
        rows = stack.enter_context(open_rows(settings))
        keyring = open_key_ring(settings.keys, folder, rows, access=root_access(settings))
        audit = SealedAuditLog(rows, keyring)
        ledger = Ledger(rows, keyring, audit, settings.ledger)
        ledger.require_current()
        refusals = Refusals(audit.append, settings.max_refused_per_minute, settings.max_requests_per_minute)
        keeper = AuditKeeper(audit, Outbox(rows, time.time), open_receivers(settings))
        records = SealedFaceRecords(rows, keyring, audit, ledger=ledger)
        api_keys = ApiKeys(rows, keyring, audit, ledger=ledger)
        identities = open_identities(settings, rows, keyring, audit, ledger, api_keys, live)
        stack.callback(identities.close)
        backends = open_backends(settings, keyring.deployment, SealedRowFiles(folder / "rows"))
        stack.callback(backends.close)
        rosters = Rosters(records, SealedSnapshots(folder / "snapshots", keyring), backends, backends.servers)
        if live:
            _load(rosters)
        probe_days = SealedProbeDays(rows, keyring, audit)
        probes = ProbeLog(probe_days if settings.drift_days else None)
        drift = DriftWatch(records, audit, models, probe_days, probes, settings.drift_days)
        drift_look = DriftLook(drift, probes)
        stack.callback(drift_look.close)
        trials = Trials(end_trial(records, Caller(SERVICE, "-")))
        stack.callback(trials.close)
        gallery = Gallery(
            records,
            audit,
            rosters,
            models,
            trials,
            probes=probes,
            max_regions=settings.max_regions,
            unknown_store=SealedUnknowns(rows, keyring, audit),
            pending_store=SealedPending(rows, keyring, audit),
        )
        stack.callback(gallery.unknowns.close)
        faces = Faces(records, audit, models, gallery)
        first_model.result()
        models.bundles = open_bundles(settings, rows, keyring, audit, records)
        space = models.default(Kind.FACE)
        if live and models.names(Kind.IMAGE):
            models.default(Kind.IMAGE)  # a file that is missing or wrong ends the start, not the first search
        if models.calibration(space) is None:
            raise BadSettings(f"the model {space.model!r} has no calibration, so its scores could not be judged")
        reindexer = Reindexer(
            records,
            audit,
            rosters,
            models,
            standby_s=3600.0 * settings.standby_hours,
            known_index=lambda url: _offered_index(backends, url),
        )
        imports = Imports(settings, SealedImports(folder / "imports", keyring), gallery, records, audit)
        transfers = Transfers(records, SealedAdoption(rows, keyring, audit), audit, models)
        looks = SealedRetention(rows, keyring)
        retention = Retention(records, audit, gallery, looks)
        rotation = KeyRotation(rows, keyring, audit, ledger, lambda: rewrap_heads(keyring, _sealed_files(folder)))
        kinds = job_kinds(gallery, reindexer, imports, retention, rotation)
        jobs = JobRunner(SealedJobs(rows, keyring), kinds, principal_of_job(identities.principal))
        stack.callback(jobs.close)
        feed, webhook_store = EventFeed(records, audit), SealedWebhooks(rows, keyring, audit)
        courier = Courier(settings.webhook_hosts, settings.webhook_ca)
        stack.callback(courier.close)
        webhook_sender = WebhookSender(webhook_store, feed, courier, keyring.deployment)
        stack.callback(webhook_sender.stop)
        figures = Figures(
            rosters=rosters,
            jobs=jobs,
            job_kinds=kinds,
            rotation=rotation,
            api_keys=api_keys,
            audit=audit,
            keeper=keeper,
            trials=trials,
            unknowns=gallery.unknowns,
            webhooks=webhook_store,
        )
        traces = traces_of(settings) if live else None
        if traces is not None:
            stack.callback(traces.close)
        first_key = None
        if live:
            webhook_sender.start()
            stack.callback(keeper.stop)
            keeper.start()
            stack.callback(refusals.stop)
            refusals.start()
            first_key = api_keys.bootstrap(settings.bootstrap_key_file)
            calibrator = Calibrator(gallery, jobs, settings.calibrate_from)
            tending = Tending(
                records,
                rosters,
                calibrator,
                jobs,
                gallery.unknowns,
                ledger.catch_up,
                lambda: _sweep(imports, jobs, rosters),
                KeyCare(rotation, jobs, settings.rotate_after_hours * 3600.0),
                retention=retention,
                pending=gallery.pending,
            )
            stack.callback(Follower(rosters, tending, lambda: require_room(settings)).stop)
            jobs.start()
            if settings.drift_days:
                drift_look.start()
        else:
            rosters.trouble = None
        return Services(
            settings=settings,
            gallery=gallery,
            faces=faces,
            face_users=FaceUsers(records, audit, gallery, faces),
            api_keys=api_keys,
            identities=identities,
            sessions=ConsoleSessions(keyring, identities, audit),
            login=open_login(settings, identities, keyring),
            answers=records,
            audit=audit,
            audit_book=AuditBook(audit),
            audit_keeper=keeper,
            refusals=refusals,
            jobs=jobs,
            imports=imports,
            rotation=rotation,
            transfers=transfers,
            retention=retention,
            consents=Consents(records, audit, gallery, looks),
            access=AccessRequests(records, audit, gallery.live, gallery.unknowns, looks, naming=gallery.pending.naming),
            corrections=Corrections(records, audit, SealedCorrections(rows, keyring, audit, ledger), rosters),
            holds=Holds(records, audit, SealedHolds(rows, keyring, audit)),
            sender=sender_of(keyring),
            reindexer=reindexer,
            trials=trials,
            feed=feed,
            webhooks=Webhooks(webhook_store, records, audit, settings.webhook_hosts),
            courier=courier,
            deployment=keyring.deployment,
            drift=drift,
            drift_look=drift_look,
            figures=figures,
            traces=traces,
            rosters=rosters,
            models=models,
            decoders=decoders,
            bundles=models.bundles,
            runtime=models.encoder(space).runtime,
            first_key=first_key,
            server_context=lambda: _tls(settings, keyring),
            close=stack.pop_all().close,
        )


def open_decoders(settings: Settings) -> Decoders | None:
    """What decodes pictures apart from this process, not started yet; None where settings or system do without."""
    if settings.image_decoding == "in-process" or not can_isolate():
        return None
    most = threads_for(settings.workers) + import_threads()
    return Decoders(most, image_limits(settings), settings.decode_timeout_s)


def open_bundles(
    settings: Settings, rows: Rows, keyring: KeyRing, audit: SealedAuditLog, records: SealedRecords
) -> BundleStore:
    """The imported bundles of a data folder. Raises: BadSettings for a maker's key that cannot be read."""
    kept = SealedModels(settings.data.absolute() / "bundles", rows, keyring, audit)
    makers = trusted_makers(settings.model_signers, own_maker(keyring))
    return BundleStore(settings, kept, audit, records, makers)


def open_receivers(settings: Settings) -> list[tuple[str, Receiver]]:
    """Where checkpoints go, by URL; nothing is connected to yet. Raises: BadSettings, KeyUnavailable."""
    means = means_of(settings.audit_push_ca, settings.audit_push_key_file)
    found = [(url, receiver_of(url, means)) for url in dict.fromkeys(settings.audit_push)]
    for _, receiver in found:
        within = settings.data.resolve()
        if isinstance(receiver, FileReceiver) and receiver.path.resolve().is_relative_to(within):
            raise BadSettings(f"LOOKALIKE_AUDIT_PUSH: {receiver.path} lies inside the data folder, and is lost with it")
    return found


def prepare_folder(folder: Path) -> Path:
    """The data folder, made for its owner alone. Raises: StorageUnavailable, StorageFull."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        kind = StorageFull if error.errno == 28 else StorageUnavailable
        raise kind(f"the data folder cannot be made or owned: {error.strerror}") from error
    return folder.absolute()


def require_room(settings: Settings) -> None:
    """Raises: StorageFull where nothing can be put on record any more, which every answer is."""
    if settings.records == "sqlite:" and shutil.disk_usage(settings.data).free < LEAST_ROOM_BYTES:
        raise StorageFull("the disk that holds the data folder is full: make room, and all goes on by itself")


def open_backends(settings: Settings, deployment: str, files: RowFiles | None = None) -> Backends:
    """What makes indexes, speaking to no cluster yet. deployment: random hex. Raises: BadSettings.

    files: for those whose vectors lie on disk; without it they are known, and none is made.
    """
    if not any(url.startswith(ELASTIC) for url in (settings.index, *settings.indexes)):
        return index_factory(settings.index, settings.indexes, files=files)
    from index.elastic_cluster import ElasticOptions

    options = ElasticOptions(
        deployment=deployment,
        ca=settings.elasticsearch_ca,
        shown=_shown_to_elasticsearch(settings),
        password_file=settings.elasticsearch_password_file,
        api_key_file=settings.elasticsearch_api_key_file,
        shards=settings.elasticsearch_shards,
        replicas=settings.elasticsearch_replicas,
        vectors=settings.elasticsearch_vectors,
        candidates=settings.elasticsearch_candidates,
        timeout_s=settings.elasticsearch_timeout_s,
        attested=settings.volume_encrypted == "attested",
    )
    return index_factory(settings.index, settings.indexes, options, files)


def _shown_to_elasticsearch(settings: Settings) -> tuple[Path, Path] | None:
    certificate, key = settings.elasticsearch_certificate, settings.elasticsearch_key
    if certificate is None or key is None:
        return None
    require_client_pair(certificate, key, "Elasticsearch", datetime.now(UTC))
    return certificate, key


def traces_of(settings: Settings) -> Traces | None:
    """Where spans of requests go, if anywhere; OpenTelemetry is imported for it alone. Raises: BadSettings."""
    if settings.traces_url is None:
        return None
    try:
        from api.traces import open_traces
    except ImportError as error:
        raise BadSettings("LOOKALIKE_TRACES_URL needs the extra `traces`: pip install 'lookalike[traces]'") from error
    return open_traces(settings)


def _load(rosters: Rosters) -> None:
    """Make every collection live; where an index server is down or a disk full, the follower goes on trying."""
    try:
        rosters.load_all()
    except (IndexUnavailable, StorageFull) as error:
        rosters.trouble = f"{error.code}: {error}"


def _sweep(imports: Imports, jobs: JobRunner, rosters: Rosters) -> None:
    """Delete what ended jobs left behind, and what index servers have of collections that are no more."""
    imports.sweep(jobs)
    rosters.sweep()


def _sealed_files(folder: Path) -> list[Path]:
    """This process's files whose keys are wrapped by collections' keys."""
    return [*(folder / "snapshots").glob("*snapshot"), *(folder / "imports").glob("*.*")]


def _offered_index(backends: Backends, url: str) -> str:
    """An index URL that a caller names. Raises: InvalidInput, where in the settings it would be BadSettings."""
    try:
        return backends.known(url)
    except BadSettings as error:
        raise InvalidInput(str(error).replace("LOOKALIKE_INDEX", "index")) from error


def local_principal() -> Principal:
    """Whoever runs the command on the data folder itself: `local:UID`, an admin."""
    return principal_for(f"local:{os.getuid()}", (Grant("admin"),))


def _tls(settings: Settings, keyring: KeyRing) -> ssl.SSLContext:
    context = server_context(
        settings.data.absolute() / "tls",
        keyring,
        hosts=(settings.host, *settings.hosts),
        minimum=settings.tls_min_version,
        certificate=settings.tls_certificate,
        key=settings.tls_key,
    )
    if settings.tls_client_ca is not None:
        ask_for_certificates(context, settings.tls_client_ca, settings.tls_client_certificates)
    return context
