import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest

from kinoscore.runtime.channels import channel_options
from kinoscore.runtime.relay import answer_to_stream


class FakeCall:
    """A stream-unary call that ends when it is told to."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.written: list[object] = []
        self.half_closed = False

    def __await__(self) -> Any:
        return self.answer.__await__()

    def add_done_callback(self, callback: Callable[[object], None]) -> None:
        """grpc.aio tells the end of a call here before anything can be written over its status."""

    def done(self) -> bool:
        return self.answer.done()

    def cancel(self) -> None:
        self.answer.cancel()

    async def write(self, message: object) -> None:
        if self.done():
            raise asyncio.InvalidStateError("RPC already finished.")
        self.written.append(message)

    async def done_writing(self) -> None:
        self.half_closed = True
        self.answer.set_result("answer")


async def messages(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


async def test_all_messages_are_sent_in_order_before_the_answer() -> None:
    call = FakeCall()
    assert await answer_to_stream(call, messages(3)) == "answer"
    assert call.written == [0, 1, 2]


async def test_an_early_answer_ends_the_sending() -> None:
    call = FakeCall()
    drawn = 0

    async def refused_after_two() -> AsyncIterator[int]:
        nonlocal drawn
        for number in range(100):
            drawn = number
            if number == 2:
                call.answer.set_result("refused")
            yield number

    assert await answer_to_stream(call, refused_after_two()) == "refused"
    assert drawn == 2
    assert not call.half_closed


async def test_an_error_of_the_source_cancels_the_call_and_is_raised() -> None:
    async def broken() -> AsyncIterator[int]:
        yield 1
        raise ValueError("disk")

    call = FakeCall()
    with pytest.raises(ValueError, match="disk"):
        await answer_to_stream(call, broken())
    assert call.answer.cancelled()


async def test_cancelling_the_caller_stops_the_source() -> None:
    stopped = asyncio.Event()
    started = asyncio.Event()

    async def endless() -> AsyncIterator[int]:
        try:
            started.set()
            await asyncio.Event().wait()
            yield 1
        finally:
            stopped.set()

    waiting = asyncio.create_task(answer_to_stream(FakeCall(), endless()))
    async with asyncio.timeout(5):
        await started.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await stopped.wait()


async def test_an_error_of_the_call_is_raised_as_it_is() -> None:
    call = FakeCall()
    error = grpc.aio.AioRpcError(grpc.StatusCode.NOT_FOUND, grpc.aio.Metadata(), grpc.aio.Metadata(), "none")
    call.answer.set_exception(error)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await answer_to_stream(call, messages(3))
    assert raised.value is error


async def test_a_refusal_in_the_midst_of_a_message_is_raised_as_it_is() -> None:
    async def refuse(requests: AsyncIterator[bytes], context: Any) -> None:
        async for _ in requests:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too large", (("why", "size"),))

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(256):
            yield bytes(256 * 1024)

    server = grpc.aio.server()
    handler = grpc.stream_unary_rpc_method_handler(refuse)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", {"Refuse": handler}),))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    async with grpc.aio.insecure_channel(address, options=channel_options(address)) as channel:
        refuse_call = channel.stream_unary("/test/Refuse")
        # grpc.aio loses the reason in about one of ten.
        for _ in range(50):
            with pytest.raises(grpc.aio.AioRpcError, match="too large") as raised:
                await answer_to_stream(refuse_call(timeout=30), parts())
            assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert ("why", "size") in tuple(raised.value.trailing_metadata())
    await server.stop(None)


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("127.0.0.1:1", False),
        ("localhost:1", False),
        ("[::1]:1", False),
        ("10.0.0.1:1", True),
        ("host:1", True),
    ],
)
def test_a_proxy_is_never_asked_for_this_machine(address: str, asked: bool) -> None:
    assert (("grpc.enable_http_proxy", 0) not in channel_options(address)) is asked
