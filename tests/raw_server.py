"""A server that answers with the bytes it is given: for the answers that no Inngest server would give."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

Answer = bytes | Callable[[socket.socket], None]


def http_answer(status: str, content: bytes = b"", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


@dataclass
class RawServer:
    """Gives `answers` in turn, one per connection, the last one again and again, and keeps the requests' bytes."""

    url: str
    answers: list[Answer]
    requests: list[bytes] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def serve(self, connection: socket.socket) -> None:
        with connection:
            request = b""
            while not _complete(request):
                part = connection.recv(65536)
                if not part:
                    return
                request += part
            self.requests.append(request)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if callable(answer):
                answer(connection)
            else:
                connection.sendall(answer)


def _complete(request: bytes) -> bool:
    head, end, body = request.partition(b"\r\n\r\n")
    if not end:
        return False
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.partition(b":")[2])
    return body.endswith(b"0\r\n\r\n") if b"transfer-encoding: chunked" in head.lower() else True


@contextlib.contextmanager
def raw_server(*answers: Answer) -> Iterator[RawServer]:
    """Run a `RawServer` on a free port of the loopback interface. Answers should close: `connection: close`."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = RawServer(f"http://127.0.0.1:{listener.getsockname()[1]}", list(answers))
    workers: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            server.serve(connection)

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            if server.stopped.is_set():
                connection.close()
                return
            workers.append(threading.Thread(target=serve, args=(connection,)))
            workers[-1].start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield server
    finally:
        server.stopped.set()
        socket.create_connection(listener.getsockname()).close()  # wakes the acceptor
        acceptor.join()
        for worker in workers:
            worker.join()
        listener.close()
