"""Where a server of ours listens, taken before it starts, so that its address is known."""

import socket

from shared.errors import UsageError


def listen(host: str, port: int) -> socket.socket:
    """A socket bound there; port 0 is a free one. Raises UsageError."""
    try:
        (family, *_, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        raise UsageError(f"cannot listen on {host}, port {port}: {error.strerror or error}") from error
    return listening


def in_url(host: str) -> str:
    """The host as it stands in an address."""
    return f"[{host}]" if ":" in host else host
