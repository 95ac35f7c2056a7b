"""The whole exception tree; each error has a stable code, and only api/errors.py knows status codes.

LookalikeError
├ InvalidInput            invalid_input
│  ├ UnsupportedImage     unsupported_image       not JPEG, PNG or WebP, damaged, animated
│  ├ ImageTooLarge        image_too_large         bytes, pixels, faces or pictures beyond a limit
│  ├ ImageTooSmall        image_too_small
│  ├ UndecodableImage     undecodable_image       decoding it took too long or too much memory, or ended the decoder
│  ├ FaceNotFound         face_not_found
│  ├ AllRejected          all_samples_rejected    carries the reasons per picture
│  ├ LimitExceeded        limit_exceeded          more of something than may be kept
│  ├ BadArchive           bad_archive             many pictures in one file, and the file is not sound
│  ├ ModelNotAvailable    model_not_available
│  ├ ConsentRequired      consent_required        the collection enrols nobody without a valid consent
│  └ WrongKind            wrong_kind              faces asked of a collection of pictures, or the other way round
├ Unauthenticated         unauthenticated
│  ├ IncompleteSignature  incomplete_signature    a request signed as AWS's are lacks a part, or one is malformed
│  ├ SignatureExpired     signature_expired       its date is too far from this service's clock
│  ├ SignatureMismatch    signature_mismatch      it was signed with another secret, or changed since
│  └ UnknownAccessKey     unknown_access_key      unknown, expired or revoked
├ PermissionDenied        permission_denied
├ NotFound                not_found
│  ├ CollectionNotFound   collection_not_found
│  ├ SubjectNotFound      subject_not_found
│  ├ SampleNotFound       sample_not_found
│  ├ KeyNotFound          api_key_not_found
│  ├ PrincipalNotFound    principal_not_found     nobody of this name is known, or blocked
│  ├ JobNotFound          job_not_found
│  ├ HoldNotFound         hold_not_found          no such legal hold, or no longer
│  ├ UnknownNotFound      unknown_not_found       no such unknown person, or no longer
│  ├ WebhookNotFound      webhook_not_found       no such receiver of events, or no longer
│  ├ PendingNotFound      pending_not_found       no identification waits by this id, or no longer
│  └ ModelNotFound        model_not_found         no bundle of this name is here
├ Conflict                conflict
│  ├ CollectionExists     collection_exists
│  ├ SpaceMismatch        space_mismatch
│  ├ IdempotencyMismatch  idempotency_mismatch
│  ├ NotCalibratable      not_calibratable        too few subjects to learn from
│  ├ NotCalibrated        not_calibrated          a rate was asked for where none can be promised yet
│  ├ KeyMoved             key_moved               a key was rotated in the middle of a write; it is tried again
│  ├ GenerationChanged    generation_changed      a re-index began in the middle of a write; it is tried again
│  ├ NoSuchGeneration     no_such_generation      nothing is there to promote, try or roll back to
│  ├ LicenceNotAccepted   licence_not_accepted    a model that is not for commercial use, and nobody said yes to that
│  ├ ModelInUse           model_in_use            a collection or new collections still need the model
│  ├ NoEarlierModel       no_earlier_model        nothing was active before this model
│  ├ SubjectExists        subject_exists          the new name of a subject is taken
│  ├ SampleElsewhere      sample_elsewhere        this picture was moved to another subject
│  ├ FourEyesRequired     four_eyes_required      two people confirm who it is, and this call would tell one alone
│  ├ LegalHold            legal_hold              what is to be erased or overwritten must be kept for now
│  └ NeedsConfirmation    needs_confirmation      more would be erased at once, or sooner, than is done unasked
├ Overloaded              overloaded
├ StorageFull             storage_full
├ IndexUnavailable        index_unavailable
├ IdentityUnavailable     identity_unavailable    the identity provider's keys cannot be had, or are too old
├ StorageUnavailable      storage_unavailable
└ Unsafe                  unsafe                  the service refuses to go on
   ├ TamperedData         tampered_data
   ├ KeyUnavailable       key_unavailable         the root key is missing, wrong or unreadable
   ├ BadSettings          bad_settings
   ├ DataTooNew           data_too_new
   ├ BadBackup            bad_backup              a backup is cut short, or no backup at all
   ├ LedgerMismatch       ledger_mismatch         erasures are missing, or those of another history were given
   ├ RestoreUnfinished    restore_unfinished      a data folder holds half a restore
   ├ WrongRecipient       wrong_recipient         a file is sealed to another key
   ├ UntrustedSender      untrusted_sender        a file is sealed by nobody who is trusted here
   └ BadModel             bad_model               a model file is missing or not the one that was pinned
      └ BadBundle         bad_bundle              a bundle is damaged, or not what its manifest says
         └ UntrustedBundle  untrusted_bundle      a bundle is signed by nobody who may sign
"""

from __future__ import annotations

from collections.abc import Sequence


class LookalikeError(Exception):
    """Anything that Lookalike refuses or fails at; str(error) is safe to show and names no person."""

    code = "error"


class InvalidInput(LookalikeError):
    code = "invalid_input"


class UnsupportedImage(InvalidInput):
    code = "unsupported_image"


class ImageTooLarge(InvalidInput):
    code = "image_too_large"


class ImageTooSmall(InvalidInput):
    code = "image_too_small"


class UndecodableImage(InvalidInput):
    code = "undecodable_image"


class FaceNotFound(InvalidInput):
    code = "face_not_found"


class AllRejected(InvalidInput):
    """rejected: for each picture, its file name and the reasons."""

    code = "all_samples_rejected"

    def __init__(self, message: str, rejected: Sequence[tuple[str, tuple[str, ...]]] = ()) -> None:
        super().__init__(message)
        self.rejected = tuple(rejected)


class LimitExceeded(InvalidInput):
    code = "limit_exceeded"


class BadArchive(InvalidInput):
    code = "bad_archive"


class ModelNotAvailable(InvalidInput):
    code = "model_not_available"


class ConsentRequired(InvalidInput):
    code = "consent_required"


class WrongKind(InvalidInput):
    code = "wrong_kind"


class Unauthenticated(LookalikeError):
    code = "unauthenticated"


class IncompleteSignature(Unauthenticated):
    code = "incomplete_signature"


class SignatureExpired(Unauthenticated):
    code = "signature_expired"


class SignatureMismatch(Unauthenticated):
    code = "signature_mismatch"


class UnknownAccessKey(Unauthenticated):
    code = "unknown_access_key"


class PermissionDenied(LookalikeError):
    code = "permission_denied"


class NotFound(LookalikeError):
    code = "not_found"


class CollectionNotFound(NotFound):
    code = "collection_not_found"


class SubjectNotFound(NotFound):
    code = "subject_not_found"


class SampleNotFound(NotFound):
    code = "sample_not_found"


class KeyNotFound(NotFound):
    code = "api_key_not_found"


class PrincipalNotFound(NotFound):
    code = "principal_not_found"


class JobNotFound(NotFound):
    code = "job_not_found"


class HoldNotFound(NotFound):
    code = "hold_not_found"


class PendingNotFound(NotFound):
    code = "pending_not_found"


class UnknownNotFound(NotFound):
    code = "unknown_not_found"


class WebhookNotFound(NotFound):
    code = "webhook_not_found"


class ModelNotFound(NotFound):
    code = "model_not_found"


class Conflict(LookalikeError):
    code = "conflict"


class CollectionExists(Conflict):
    code = "collection_exists"


class SpaceMismatch(Conflict):
    code = "space_mismatch"


class IdempotencyMismatch(Conflict):
    code = "idempotency_mismatch"


class NotCalibratable(Conflict):
    code = "not_calibratable"


class NotCalibrated(Conflict):
    code = "not_calibrated"


class GenerationChanged(Conflict):
    code = "generation_changed"


class KeyMoved(Conflict):
    code = "key_moved"


class NoSuchGeneration(Conflict):
    code = "no_such_generation"


class LicenceNotAccepted(Conflict):
    code = "licence_not_accepted"


class ModelInUse(Conflict):
    code = "model_in_use"


class NoEarlierModel(Conflict):
    code = "no_earlier_model"


class SubjectExists(Conflict):
    code = "subject_exists"


class SampleElsewhere(Conflict):
    code = "sample_elsewhere"


class FourEyesRequired(Conflict):
    code = "four_eyes_required"


class LegalHold(Conflict):
    code = "legal_hold"


class NeedsConfirmation(Conflict):
    code = "needs_confirmation"


class Overloaded(LookalikeError):
    code = "overloaded"


class StorageFull(LookalikeError):
    code = "storage_full"


class IndexUnavailable(LookalikeError):
    code = "index_unavailable"


class IdentityUnavailable(LookalikeError):
    code = "identity_unavailable"


class StorageUnavailable(LookalikeError):
    code = "storage_unavailable"


class Unsafe(LookalikeError):
    code = "unsafe"


class TamperedData(Unsafe):
    code = "tampered_data"


class KeyUnavailable(Unsafe):
    code = "key_unavailable"


class BadSettings(Unsafe):
    code = "bad_settings"


class DataTooNew(Unsafe):
    code = "data_too_new"


class BadBackup(Unsafe):
    code = "bad_backup"


class LedgerMismatch(Unsafe):
    code = "ledger_mismatch"


class RestoreUnfinished(Unsafe):
    code = "restore_unfinished"


class WrongRecipient(Unsafe):
    code = "wrong_recipient"


class UntrustedSender(Unsafe):
    code = "untrusted_sender"


class BadModel(Unsafe):
    code = "bad_model"


class BadBundle(BadModel):
    code = "bad_bundle"


class UntrustedBundle(BadBundle):
    code = "untrusted_bundle"
