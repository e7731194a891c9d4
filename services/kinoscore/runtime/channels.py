"""How one part of kinoscore reaches another over gRPC."""

import ipaddress

__all__ = ["MAX_MESSAGE_BYTES", "channel_options"]

MAX_MESSAGE_BYTES = 16 * 1024 * 1024


def channel_options(address: str) -> list[tuple[str, int]]:
    """The channel options for `host:port`.

    A service that comes back is found again within a second; by itself gRPC would wait up to two minutes. A
    proxy of the environment (`http_proxy`) is never asked for this machine's own addresses: gRPC would
    otherwise send even loopback calls there.
    """
    options = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
    ]
    if _is_loopback(address):
        options.append(("grpc.enable_http_proxy", 0))
    return options


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
