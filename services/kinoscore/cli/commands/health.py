"""`kinoscore health`: whether a server serves, as its orchestrator asks every few seconds."""

from typing import Any

import click

from kinoscore.cli.running import run

__all__ = ["command"]


@click.command(name="health")
@click.argument("address", default="127.0.0.1:50050", metavar="[HOST:PORT]")
@click.option("--service", default="", show_default="the whole server", help="The full name of one service.")
@click.option(
    "--timeout", type=float, default=3.0, show_default=True, metavar="SECONDS", help="How long to wait."
)
def command(address: str, service: str, timeout: float) -> None:
    """Ask a server, by the standard health protocol of gRPC, whether it serves.

    Any server of kinoscore can be asked, `kinoscore up` as well as `kinoscore serve X`. The exit status is 0
    when it serves, and 1 when it does not or does not answer.
    """

    async def work() -> int:
        import grpc
        from grpc_health.v1 import health_pb2, health_pb2_grpc

        from kinoscore.errors import DeadlineExceeded, NotFound, Unavailable
        from kinoscore.runtime.channels import channel_options

        told = {
            grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded(f"no answer from {address} in {timeout:g} s"),
            grpc.StatusCode.NOT_FOUND: NotFound(f"{address} has no service {service}"),
        }

        async with grpc.aio.insecure_channel(address, options=channel_options(address)) as channel:
            # The stub's type names none of its methods.
            stub: Any = health_pb2_grpc.HealthStub(channel)
            try:
                answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=timeout)
            except grpc.aio.AioRpcError as error:
                silent = Unavailable(f"no server answers at {address}: {error.details()}")
                raise told.get(error.code(), silent) from error
        click.echo(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
        return 0 if answer.status == health_pb2.HealthCheckResponse.SERVING else 1

    run(work())
