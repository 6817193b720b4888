"""A WebSocket server that is never the bottleneck: it sends frames made beforehand, in large writes, when told to.

It answers `POST .../token` with a token that says nothing, and `GET .../connect` with a 101 and a pong for each ping.
A third kind of connection commands it: `FIRE <first> <count>` on a line sends these messages to every open WebSocket,
`PACE <count> <rate>` so many of them, one after the other at a steady rate.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

__all__ = ["CHANNEL", "TOPIC", "Firehose", "frame_of", "message_of"]

CHANNEL: Final = "bench"
TOPIC: Final = "status"

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_WRITE: Final = 512 * 1024  # bytes


def message_of(number: int) -> bytes:
    """The JSON of one message, about 300 bytes, in the form that Inngest sends."""
    data = {
        "message": f"Transcoding segment {number:07d}",
        "step": "transcode",
        "percent": number % 100,
        "done": False,
        "tags": ["video", "hd"],
    }
    envelope = {
        "kind": "data",
        "data": data,
        "created_at": f"2026-11-24T13:20:17.{number:09d}Z",
        "channel": CHANNEL,
        "env_id": "7c5a41b0-55a4-4e0c-bd3e-8a9f4d5a1c11",
        "topic": TOPIC,
        "run_id": "01KAV5T5B0M6Q8JW3K5H1Z9XQY",
    }
    return json.dumps(envelope, separators=(",", ":")).encode()


def frame_of(number: int) -> bytes:
    """The same as an unmasked WebSocket text frame."""
    message = message_of(number)
    return b"\x81\x7e" + len(message).to_bytes(2, "big") + message


class Firehose:
    """The server in a process of its own, and the connection that commands it.

    Args:
        count: Messages that are made beforehand.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.firehose", str(count)], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}"
        self.websocket_url = f"ws://127.0.0.1:{self.port}/v1/realtime/connect"
        self._control = socket.create_connection(("127.0.0.1", self.port))
        self._control.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def fire(self, first: int, count: int) -> None:
        """Let it send messages to every open WebSocket; returns at once."""
        self._control.sendall(b"FIRE %d %d\n" % (first, count))

    def pace(self, count: int, rate: float) -> None:
        """Let it send messages at a steady rate, in messages a second; returns at once."""
        self._control.sendall(b"PACE %d %f\n" % (count, rate))

    def stop(self) -> None:
        self._control.close()
        self._process.terminate()
        self._process.wait()

    def __enter__(self) -> Firehose:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Frames:
    def __init__(self, count: int) -> None:
        self.ends = [0]
        frames: list[bytes] = []
        for number in range(count):
            frames.append(frame_of(number))
            self.ends.append(self.ends[-1] + len(frames[-1]))
        self.bytes = memoryview(b"".join(frames))

    def slices(self, first: int, count: int) -> Iterator[memoryview]:
        """These frames in large pieces that end between two frames, so that a pong fits in between."""
        last = first + count
        while first < last:
            until = first
            while until < last and self.ends[until] - self.ends[first] < _WRITE:
                until += 1
            yield self.bytes[self.ends[first] : self.ends[until]]
            first = until


class _Peer:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def send(self, data: bytes | memoryview) -> bool:
        try:
            with self._lock:
                self._connection.sendall(data)
        except OSError:
            return False
        return True


class _Server:
    def __init__(self, count: int) -> None:
        self.count = count
        self._frames = _Frames(count)
        self._peers: list[_Peer] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self._listener.getsockname()[1]

    def serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._handle, args=(connection,), daemon=True).start()

    def _handle(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as reader, contextlib.suppress(OSError):
            first = reader.readline()
            while first.startswith((b"FIRE", b"PACE")):
                command, *numbers = first.split()
                if command == b"FIRE":
                    self._fire(*map(int, numbers))
                else:
                    self._pace(int(numbers[0]), float(numbers[1]))
                first = reader.readline()
            while first:
                headers: dict[bytes, bytes] = {}
                while line := reader.readline().strip():
                    name, _, value = line.partition(b":")
                    headers[name.strip().lower()] = value.strip()
                if first.startswith(b"POST"):
                    reader.read(int(headers.get(b"content-length", b"0")))
                    connection.sendall(_token_answer())
                else:
                    accept = base64.b64encode(hashlib.sha1(headers[b"sec-websocket-key"] + _GUID).digest())
                    connection.sendall(
                        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept
                    )
                    peer = _Peer(connection)
                    self._peers.append(peer)
                    while self._answer(reader.read(2), reader.read, peer):
                        pass
                    self._peers.remove(peer)
                    return
                first = reader.readline()

    def _fire(self, first: int, count: int) -> None:
        for piece in self._frames.slices(first, count):
            for peer in list(self._peers):
                peer.send(piece)

    def _pace(self, count: int, rate: float) -> None:
        started, sent = time.perf_counter(), 0
        while sent < count:
            # Those that have become due leave together: no clock wakes anybody thousands of times a second exactly.
            due = min(int((time.perf_counter() - started) * rate) + 1, count)
            for number in range(sent, due):
                self._fire(number % self.count, 1)
            sent = due
            time.sleep(max(started + sent / rate - time.perf_counter(), 0))

    @staticmethod
    def _answer(head: bytes, read: Callable[[int], bytes], peer: _Peer) -> bool:
        """Take one frame of a client; False when it leaves."""
        if len(head) < 2:
            return False
        opcode, size = head[0] & 15, head[1] & 127
        if size == 126:
            size = int.from_bytes(read(2), "big")
        mask, payload = read(4), read(size)
        if opcode == 9:
            pong = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
            return peer.send(bytes((0x8A, len(pong))) + pong)
        if opcode == 8:
            peer.send(b"\x88\x00")
            return False
        return True


def _token_answer() -> bytes:
    body = json.dumps({"jwt": "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjB9.bm9uZQ"}).encode()
    return b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


if __name__ == "__main__":
    server = _Server(int(sys.argv[1]))
    print(server.port, flush=True)
    server.serve()
