"""Errors on the wire: every class of `kinoscore.errors` becomes a status and comes back as that class.

The google.rpc.Status carries google.rpc.ErrorInfo (domain `kinoscore`, the error's reason and metadata);
where a request field is at fault, google.rpc.BadRequest; and where the metadata has `retry_seconds`,
google.rpc.RetryInfo, which clients of any kind know. It travels in the trailing metadata, under
`grpc-status-details-bin`.
"""

from collections.abc import Iterator
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from kinoscore import errors
from kinoscore.errors import InvalidFilter, KinoscoreError

__all__ = ["DETAILS_KEY", "DOMAIN", "abort", "from_rpc_error", "status_code", "to_status"]

DOMAIN = "kinoscore"
DETAILS_KEY = "grpc-status-details-bin"

# gRPC refuses metadata above 8 KiB; a character may take 12 bytes in the message and 6 in the details.
_LONGEST_TEXT = 400

# gRPC itself ends calls with these, without details.
_CLASS_OF_CODE: dict[grpc.StatusCode, type[KinoscoreError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidRequest,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.FAILED_PRECONDITION: errors.FailedPrecondition,
    grpc.StatusCode.UNIMPLEMENTED: errors.FailedPrecondition,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.ResourceExhausted,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    grpc.StatusCode.CANCELLED: errors.Unavailable,
}


def status_code(error: KinoscoreError) -> grpc.StatusCode:
    """The gRPC status code of an error."""
    return grpc.StatusCode[error.status]


def to_status(error: KinoscoreError) -> status_pb2.Status:
    """The status that tells a client of any language what went wrong."""
    number, _ = status_code(error).value
    message = _shortened(error.message)
    metadata = {key: _shortened(value) for key, value in error.metadata.items()}
    details = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)]
    status = status_pb2.Status(code=number, message=message, details=[_packed(detail) for detail in details])
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=message)
        status.details.append(_packed(error_details_pb2.BadRequest(field_violations=[violation])))
    if retry_seconds := error.metadata.get("retry_seconds"):
        delay = duration_pb2.Duration(seconds=int(retry_seconds))
        status.details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    return status


async def abort(context: Any, error: KinoscoreError) -> None:
    """Ends a call with the status of an error; never returns."""
    status = to_status(error)
    await context.abort(
        status_code(error),
        status.message,
        trailing_metadata=((DETAILS_KEY, status.SerializeToString()),),
    )


def from_rpc_error(error: grpc.RpcError, *, silent: str = "") -> KinoscoreError:
    """The error that the server raised; for a status without our details, the nearest class of its code.

    Args:
        silent: what to say when no server answered; gRPC's own words when empty.
    """
    code = error.code()
    message = error.details() or f"the call ended with {code.name}"
    status = _status_of(error)
    if status is None:
        if silent and code is grpc.StatusCode.UNAVAILABLE:
            return errors.Unavailable(silent)
        return _CLASS_OF_CODE.get(code, errors.InternalError)(message)
    info, field = _details_of(status)
    kind = _CLASS_OF_REASON.get(info.reason)
    if info.domain != DOMAIN or kind is None:
        return _CLASS_OF_CODE.get(code, errors.InternalError)(message)
    metadata = dict(info.metadata)
    if kind is InvalidFilter:
        return InvalidFilter(status.message, position=int(metadata.get("position", "0")))
    return kind(status.message, field=field, metadata=metadata)


def _classes(root: type[KinoscoreError]) -> Iterator[type[KinoscoreError]]:
    yield root
    for kind in root.__subclasses__():
        yield from _classes(kind)


# The root and InternalError share a reason; the later, more precise one stays.
_CLASS_OF_REASON = {kind.reason: kind for kind in _classes(KinoscoreError)}


def _status_of(error: grpc.RpcError) -> status_pb2.Status | None:
    metadata: Any = error.trailing_metadata() or ()
    for key, value in metadata:
        if key == DETAILS_KEY:
            return status_pb2.Status.FromString(value)
    return None


def _details_of(status: status_pb2.Status) -> tuple[error_details_pb2.ErrorInfo, str]:
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(request)
    field = request.field_violations[0].field if request.field_violations else ""
    return info, field


def _packed(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"
