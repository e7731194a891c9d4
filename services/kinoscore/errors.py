"""Every error that kinoscore raises, each mapped to one gRPC status.

    KinoscoreError
    ├── InvalidRequest            INVALID_ARGUMENT     the request is wrong; it will fail again
    │   ├── InvalidMedia          INVALID_ARGUMENT     the bytes are not media that can be used
    │   └── InvalidFilter         INVALID_ARGUMENT     the filter does not parse; carries the position
    ├── NotFound                  NOT_FOUND            the track or the file does not exist
    ├── FailedPrecondition        FAILED_PRECONDITION  the request is right, the state is not
    │   ├── SpaceMismatch         FAILED_PRECONDITION  a vector of another embedding space, or dimension
    │   ├── InvalidRepository     FAILED_PRECONDITION  the model repository is missing or half-written
    │   └── DataFolderInUse       FAILED_PRECONDITION  another process owns the data folder
    ├── ResourceExhausted         RESOURCE_EXHAUSTED   a limit was reached
    │   ├── MediaTooLarge         RESOURCE_EXHAUSTED   size, duration or resolution above the configured limit
    │   ├── QueueFull             RESOURCE_EXHAUSTED   too much work is waiting; try again later
    │   └── StorageFull           RESOURCE_EXHAUSTED   the disk is full
    ├── DeadlineExceeded          DEADLINE_EXCEEDED    the caller's time is up
    ├── Unavailable               UNAVAILABLE          a part that the request needs is silent; try again
    └── InternalError             INTERNAL             a defect of kinoscore

The module imports nothing but the standard library: every room, the trainer included, may use it.
`kinoscore.runtime.status` turns an error into a gRPC status with details and back.
"""

from collections.abc import Mapping
from typing import ClassVar

__all__ = [
    "DataFolderInUse",
    "DeadlineExceeded",
    "FailedPrecondition",
    "InternalError",
    "InvalidFilter",
    "InvalidMedia",
    "InvalidRepository",
    "InvalidRequest",
    "KinoscoreError",
    "MediaTooLarge",
    "NotFound",
    "QueueFull",
    "ResourceExhausted",
    "SpaceMismatch",
    "StorageFull",
    "Unavailable",
]


class KinoscoreError(Exception):
    """The root of the tree.

    Args:
        message: one line that names the cause and, where there is one, the remedy.
        field: the request field at fault, as a dotted path (`settings.k`), where there is one.
        metadata: further facts for programs (`{"limit": "1000"}`); they travel in google.rpc.ErrorInfo.
    """

    status: ClassVar[str] = "INTERNAL"
    reason: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str, *, field: str = "", metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.metadata = dict(metadata or {})

    def __str__(self) -> str:
        return self.message


class InvalidRequest(KinoscoreError):
    """The request is wrong in itself; sending it again will fail again."""

    status = "INVALID_ARGUMENT"
    reason = "INVALID_REQUEST"


class InvalidMedia(InvalidRequest):
    """The bytes are not media, or hold nothing that can be decoded."""

    reason = "INVALID_MEDIA"


class InvalidFilter(InvalidRequest):
    """The filter does not parse.

    Args:
        message: what was expected.
        position: the zero-based character at which the filter stops making sense.
    """

    reason = "INVALID_FILTER"

    def __init__(self, message: str, *, position: int) -> None:
        super().__init__(message, field="filter", metadata={"position": str(position)})
        self.position = position


class NotFound(KinoscoreError):
    """What was asked for does not exist."""

    status = "NOT_FOUND"
    reason = "NOT_FOUND"


class FailedPrecondition(KinoscoreError):
    """The request is right, but the state of the system forbids it."""

    status = "FAILED_PRECONDITION"
    reason = "FAILED_PRECONDITION"


class SpaceMismatch(FailedPrecondition):
    """A vector of another embedding space or of another dimension."""

    reason = "SPACE_MISMATCH"


class InvalidRepository(FailedPrecondition):
    """The model repository is missing, half-written or of another version."""

    reason = "INVALID_REPOSITORY"


class DataFolderInUse(FailedPrecondition):
    """Another process owns the data folder."""

    reason = "DATA_FOLDER_IN_USE"


class ResourceExhausted(KinoscoreError):
    """A limit was reached."""

    status = "RESOURCE_EXHAUSTED"
    reason = "RESOURCE_EXHAUSTED"


class MediaTooLarge(ResourceExhausted):
    """The media is above the configured size, duration or resolution."""

    reason = "MEDIA_TOO_LARGE"


class QueueFull(ResourceExhausted):
    """Too much work is waiting already."""

    reason = "QUEUE_FULL"


class StorageFull(ResourceExhausted):
    """The disk is full."""

    reason = "STORAGE_FULL"


class DeadlineExceeded(KinoscoreError):
    """The caller's time is up."""

    status = "DEADLINE_EXCEEDED"
    reason = "DEADLINE_EXCEEDED"


class Unavailable(KinoscoreError):
    """A part that the request needs does not answer."""

    status = "UNAVAILABLE"
    reason = "UNAVAILABLE"


class InternalError(KinoscoreError):
    """A defect of kinoscore itself."""
