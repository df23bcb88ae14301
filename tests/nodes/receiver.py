"""A real HTTP receiver on a node's loopback, to see what was delivered, and to be a sink that
misbehaves.

Its socket belongs to the node's network; its threads belong to the test. So nothing of it can be
seen on the node but the open port, a test waits for an arrival without polling, and the requests
outlive the node's reboot.
"""

import contextlib
import ctypes
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CLONE_NEWNET = 0x40000000


@dataclass(frozen=True)
class Request:
    """One request as it came in; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    arrived_ns: int
    """CLOCK_REALTIME, taken when the last byte of the body was there."""

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What the receiver says; without a status it says nothing until it is told otherwise."""

    status: int | None = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Receiver:
    """Records every request. Made by `Node.receiver()`, which closes it with the node."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/"
        self._changed = threading.Condition()
        self._requests: list[Request] = []
        self._answer = Answer()
        self._once: list[Answer] = []
        self._rule: Callable[[Request], Answer] | None = None
        self._leader: int | None = None
        self._server: _Server | None = None

    @property
    def requests(self) -> tuple[Request, ...]:
        with self._changed:
            return tuple(self._requests)

    def clear(self) -> None:
        with self._changed:
            self._requests.clear()

    def wait_for(
        self,
        count: int = 1,
        timeout: float = 10,
        matching: Callable[[Request], bool] = lambda _: True,
    ) -> list[Request]:
        """The requests that match, as soon as there are `count` of them."""
        with self._changed:
            self._changed.wait_for(lambda: sum(map(matching, self._requests)) >= count, timeout)
            found = [request for request in self._requests if matching(request)]
            if len(found) < count:
                seen = "\n".join(f"  {r.method} {r.path} {r.body[:500]!r}" for r in self._requests)
                raise TimeoutError(f"{len(found)} of {count} requests in {timeout} s; all:\n{seen}")
            return found

    def answer(
        self,
        status: int = 200,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        times: int | None = None,
    ) -> None:
        """Answer so from now on, or only the next `times` requests."""
        self._say(Answer(status, body, headers or {}), times)

    def answer_by(self, rule: Callable[[Request], Answer]) -> None:
        """Answer each request by what it holds, until `answer()` says otherwise."""
        with self._changed:
            self._rule = rule

    def hang(self, times: int | None = None) -> None:
        """Take requests and record them, but say nothing until `answer()` or `down()`."""
        self._say(Answer(None), times)

    def down(self) -> None:
        """Refuse connections."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()
            with self._changed:
                self._changed.notify_all()

    def up(self) -> None:
        """Accept connections again."""
        if self._server is None and self._leader is not None:
            self._server = _Server(_listen(self._leader, self.port), self)

    def attach(self, leader: int) -> None:
        """Listen in the network of the node whose PID 1 is `leader`: at each of its boots."""
        self.down()
        self._leader = leader
        self.up()

    def close(self) -> None:
        self._leader = None
        self.down()

    def _say(self, answer: Answer, times: int | None) -> None:
        with self._changed:
            if times is None:
                self._answer, self._once, self._rule = answer, [], None
            else:
                self._once += [answer] * times
            self._changed.notify_all()

    def take(self, request: Request, server: "_Server") -> Answer | None:
        """Record a request and say how to answer it; None when the receiver went down meanwhile."""
        with self._changed:
            self._requests.append(request)
            said = self._once.pop(0) if self._once else None
            self._changed.notify_all()
            if said is None and self._rule is not None:
                return self._rule(request)
            if said is None and self._answer.status is not None:
                return self._answer
            if said is not None and said.status is not None:
                return said
            before = self._answer
            self._changed.wait_for(lambda: server.stopped or self._answer is not before)
            return None if server.stopped else self._answer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def _record(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, body, time.time_ns())
        answer = self.server.receiver.take(request, self.server)
        if answer is None or answer.status is None:
            self.close_connection = True
            return
        with contextlib.suppress(ConnectionError):  # the sender had a time-out shorter than ours
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

    do_POST = do_PUT = do_GET = do_DELETE = _record  # noqa: N815 - the names http.server calls

    def log_message(self, *_: object) -> None:
        """The requests are the log."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, listening: socket.socket, receiver: Receiver) -> None:
        super().__init__(("127.0.0.1", receiver.port), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.receiver = receiver
        self.stopped = False
        self._connections: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A sender was killed, or stop() cut the connection: both are what a test wanted."""

    def stop(self) -> None:
        self.stopped = True
        self.shutdown()
        self.server_close()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):  # it ended by itself meanwhile
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()


def _listen(leader: int, port: int) -> socket.socket:
    """A listening socket in the network namespace of a process.

    A namespace is entered by a thread, and a socket stays in the one it was made in: so a thread of
    its own goes there, and ends with the socket made.
    """
    made: list[socket.socket | OSError] = []

    def make() -> None:
        try:
            with _namespace(leader) as namespace:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(namespace, CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "cannot enter the node's network")
            made.append(socket.create_server(("127.0.0.1", port), backlog=128))
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]


@contextlib.contextmanager
def _namespace(leader: int) -> Iterator[int]:
    descriptor = os.open(f"/proc/{leader}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
