"""A proxy on loopback, so that names of the world can be asked for here."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_READ_AT_ONCE = 65_536
_SECONDS_TO_END = 600


@contextmanager
def proxy_to(address: str, context: ssl.SSLContext | None = None) -> Iterator[tuple[str, list[str]]]:
    """Leads every CONNECT, whatever host it names, to `address`; with `context`, the TLS ends here, for a server that
    speaks none. Yields its own URL, and the hosts that were asked for."""
    asked: list[str] = []

    def serve(client: socket.socket) -> None:
        host, _, port = address.partition(":")
        with suppress(OSError), client, socket.create_connection((host, int(port))) as behind:
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(1)
            asked.append(head.decode().split(" ")[1])
            client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            with context.wrap_socket(client, server_side=True) if context else client as front:
                back = threading.Thread(target=_copy, args=(behind, front), daemon=True)
                back.start()
                _copy(front, behind)
                back.join(_SECONDS_TO_END)

    def accept() -> None:
        with suppress(OSError):  # the listener is closed at the end
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
        listener.shutdown(socket.SHUT_RDWR)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(_READ_AT_ONCE):
            target.sendall(piece)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
