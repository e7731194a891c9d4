"""Errors keep their class, message, field and facts across the wire."""

import grpc
import pytest
from google.rpc import error_details_pb2

from kinoscore import errors
from kinoscore.runtime.status import DETAILS_KEY, from_rpc_error, status_code, to_status


class EndedCall(grpc.RpcError):
    """What a client sees when a call fails."""

    def __init__(
        self, code: grpc.StatusCode, details: str, metadata: tuple[tuple[str, bytes], ...] = ()
    ) -> None:
        self._code, self._details, self._metadata = code, details, metadata

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        return self._metadata


def over_the_wire(error: errors.KinoscoreError) -> errors.KinoscoreError:
    status = to_status(error)
    return from_rpc_error(
        EndedCall(status_code(error), status.message, ((DETAILS_KEY, status.SerializeToString()),))
    )


@pytest.mark.parametrize("name", sorted(set(errors.__all__) - {"InvalidFilter", "KinoscoreError"}))
def test_every_class_of_the_tree_comes_back_as_itself(name: str) -> None:
    kind = getattr(errors, name)
    back = over_the_wire(kind("the cause; the remedy", field="settings.k", metadata={"limit": "7"}))
    assert type(back) is kind
    assert (back.message, back.field, back.metadata) == (
        "the cause; the remedy",
        "settings.k",
        {"limit": "7"},
    )


def test_a_filter_error_keeps_its_position() -> None:
    back = over_the_wire(errors.InvalidFilter("expected a value", position=17))
    assert isinstance(back, errors.InvalidFilter)
    assert (back.position, back.field) == (17, "filter")


def test_a_status_carries_error_info_and_the_field_at_fault() -> None:
    status = to_status(errors.MediaTooLarge("too long", field="chunk", metadata={"limit": "60"}))
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(request)
    assert status.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert (info.domain, info.reason, dict(info.metadata)) == (
        "kinoscore",
        "MEDIA_TOO_LARGE",
        {"limit": "60"},
    )
    assert request.field_violations[0].field == "chunk"


def test_a_status_says_when_to_try_again() -> None:
    error = errors.QueueFull("full; try again in 5 s", metadata={"retry_seconds": "5"})
    retry = error_details_pb2.RetryInfo()
    assert to_status(error).details[1].Unpack(retry)
    assert retry.retry_delay.seconds == 5
    assert over_the_wire(error).metadata == error.metadata


def test_a_status_without_field_carries_no_bad_request() -> None:
    assert len(to_status(errors.Unavailable("gone")).details) == 1


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, errors.Unavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.DeadlineExceeded),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, errors.ResourceExhausted),
        (grpc.StatusCode.UNIMPLEMENTED, errors.FailedPrecondition),
        (grpc.StatusCode.UNKNOWN, errors.InternalError),
    ],
)
def test_a_status_of_grpc_itself_becomes_the_nearest_class(
    code: grpc.StatusCode, kind: type[errors.KinoscoreError]
) -> None:
    back = from_rpc_error(EndedCall(code, "from gRPC"))
    assert type(back) is kind
    assert back.message == "from gRPC"


def test_a_very_long_message_still_fits_into_the_metadata_of_grpc() -> None:
    status = to_status(errors.InvalidRequest("…" * 100_000, field="filter"))
    assert len(status.SerializeToString()) * 4 / 3 + 3 * len(status.message.encode()) < 8192
