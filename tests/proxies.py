"""A proxy on loopback, as a company has it: what is asked for through it ends at a TLS server of the test's own."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_READ_AT_ONCE = 65_536


@contextmanager
def proxy_to(port: int, context: ssl.SSLContext) -> Iterator[tuple[int, list[str]]]:
    """Takes every CONNECT, whatever host it names, to 127.0.0.1:`port`, with TLS by `context` up to the proxy's end.
    Yields its own port, and the hosts that were asked for."""
    asked: list[str] = []

    def serve(client: socket.socket) -> None:
        with suppress(OSError), client, socket.create_connection(("127.0.0.1", port)) as behind:
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(1)
            method, host, _ = head.decode().split(" ", 2)
            assert method == "CONNECT", head
            asked.append(host)
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with context.wrap_socket(client, server_side=True) as inside:
                back = threading.Thread(target=_copy, args=(behind, inside), daemon=True)
                back.start()
                _copy(inside, behind)
                back.join()

    def accept() -> None:
        with suppress(OSError):  # the listener is closed at the end
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1], asked
        listener.shutdown(socket.SHUT_RDWR)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(_READ_AT_ONCE):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
