"""A reverse proxy that does to requests and responses what badly set up ones do."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

__all__ = ["collected", "cut_after_silence", "late", "passed_on", "reverse_proxy", "without_upgrade"]

Forward = Callable[[socket.socket, socket.socket], None]


def without_upgrade(head: bytes) -> bytes:
    """A request without the headers of one hop, as HTTP/1.1 has it and as nginx does by default."""
    lines = head.split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line.lower().startswith((b"upgrade:", b"connection:")))


def passed_on(source: socket.socket, target: socket.socket) -> None:
    """Bytes as they come."""
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def collected(size: int) -> Forward:
    """The response's bytes when there are so many of them, or when it has ended."""

    def forward(source: socket.socket, target: socket.socket) -> None:
        held = b""
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                held += data
                if len(held) >= size:
                    target.sendall(held)
                    held = b""
            target.sendall(held)

    return forward


def cut_after_silence(seconds: float) -> Forward:
    """The response's bytes as they come, until, its first event being there, none came for so long."""

    def forward(source: socket.socket, target: socket.socket) -> None:
        seen = b""
        while b"data:" not in seen and (data := source.recv(65_536)):
            seen += data
            target.sendall(data)
        source.settimeout(seconds)
        passed_on(source, target)

    return forward


def late(seconds: float) -> Callable[[bytes], bytes]:
    """The request as it is, some time after it came."""

    def change(head: bytes) -> bytes:
        time.sleep(seconds)
        return head

    return change


@contextlib.contextmanager
def reverse_proxy(
    url: str, *, change: Callable[[bytes], bytes] = lambda head: head, respond: Forward = passed_on
) -> Iterator[str]:
    """Run it in front of `url` while the block runs; gives its own address.

    Args:
        change: What becomes of a request's head.
        respond: Forwards the response, from the server to the client.
    """
    parts = urlsplit(url)
    listener = socket.create_server(("127.0.0.1", 0))
    open_sockets: list[socket.socket] = [listener]
    threads: list[threading.Thread] = []

    def start(work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        threads.append(thread)
        thread.start()

    def serve(client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            data = client.recv(65_536)
            if not data:
                return
            head += data
        head, _, body = head.partition(b"\r\n\r\n")
        server = socket.create_connection((parts.hostname, parts.port))
        open_sockets.append(server)
        server.sendall(change(head) + b"\r\n\r\n" + body)
        start(passed_on, client, server)
        respond(server, client)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                open_sockets.append(client)
                start(serve, client)

    start(accept)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        for each in open_sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in threads:
            thread.join(5)
