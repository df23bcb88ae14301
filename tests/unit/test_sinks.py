"""A real receiver on loopback, and everything it may do wrong."""

import base64
import hashlib
import hmac
import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from outcomed import __version__, sinks
from outcomed.model import HOUR, SECOND, Delivery, Usec, Webhook
from outcomed.sinks import Delivered, Refused, Retry
from tests import slack as slacklike

NOW = Usec(1_800_000_000 * SECOND)
MESSAGE = Delivery("m1", "ops", NOW, {"specversion": "1.0", "id": "m1", "data": {"job": "ä"}})
SECRET = "T0KEN"
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OLD_WHSEC = "whsec_" + base64.b64encode(b"\x00\xff key").decode()
OTHER_WHSEC = "whsec_" + base64.b64encode(b"somebody else's").decode()


class Receiver(ThreadingHTTPServer):
    """Keeps what it was told; `answer` maps a message to a status and headers."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.told: list[tuple[str, dict[str, str], bytes]] = []
        self.peers: list[int] = []
        self.open: set[socket.socket] = set()
        self.says = b"ok"
        self.answer: Callable[[dict[str, Any]], tuple[int, dict[str, str]]] = lambda _: (200, {})

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/{SECRET}"

    @property
    def ids(self) -> list[str]:
        return [json.loads(body)["id"] for _, _, body in self.told]

    def handle_error(self, *_: object) -> None:
        """A client that was killed, or that refused our certificate."""

    def stop(self) -> None:
        """As its process would end: every connection is closed as well."""
        self.shutdown()
        self.server_close()
        for each in list(self.open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def setup(self) -> None:
        super().setup()
        self.server.open.add(self.connection)

    def finish(self) -> None:
        self.server.open.discard(self.connection)
        with suppress(OSError):
            super().finish()

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) < length:
            return  # its sender was killed halfway
        self.server.told.append((self.path, dict(self.headers), body))
        self.server.peers.append(self.client_address[1])
        status, headers = self.server.answer(json.loads(body))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.server.says)))
        self.end_headers()
        self.wfile.write(self.server.says)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def receiving(port: int = 0) -> Iterator[Receiver]:
    receiver = Receiver(port)
    thread = threading.Thread(target=receiver.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield receiver
    finally:
        receiver.stop()
        thread.join()


def request(connection: socket.socket) -> None:
    """Read one; header and body come apart. Over TLS, or at its end, whatever there is."""
    data = b""
    while piece := connection.recv(65536):
        data += piece
        if data.endswith(b"}}") or not data.startswith(b"POST"):
            return


@contextmanager
def speaking(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """A receiver that says whatever `talk` sends to one connection after another."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return  # the test is over
                with connection, suppress(OSError):
                    request(connection)
                    talk(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/{SECRET}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def sender(tmp_path: Path) -> Iterator[sinks.Sender]:
    with sinks.Sender(tmp_path, total_seconds=0.5) as sender:
        yield sender


def webhook(url: str, secret_credential: str | None = None) -> Webhook:
    return Webhook("ops", url=url, secret_credential=secret_credential)


def reason(outcome: sinks.Outcome) -> str:
    """Why not; and nobody who reads it learns the address."""
    assert isinstance(outcome, Retry | Refused)
    assert SECRET not in outcome.reason
    assert "http://" not in outcome.reason
    return outcome.reason


# --- what is sent ----------------------------------------------------------------------------


def test_the_envelope_is_the_body(receiver: Receiver, sender: sinks.Sender) -> None:
    assert sender.send(webhook(receiver.url), MESSAGE, NOW) == Delivered(200)
    path, headers, body = receiver.told[0]
    assert path == f"/{SECRET}"
    assert body == '{"specversion":"1.0","id":"m1","data":{"job":"ä"}}'.encode()
    assert headers["Content-Type"] == "application/cloudevents+json; charset=utf-8"
    assert headers["User-Agent"] == f"outcomed/{__version__}"
    assert not any(name.lower().startswith("webhook-") for name in headers)


@pytest.mark.parametrize(
    ("stored", "keys"),
    [
        (b"plain secret\n", [b"plain secret"]),
        (b"ends in a newline\n\n", [b"ends in a newline\n"]),
        (WHSEC.encode() + b"\n", [base64.b64decode(WHSEC[6:])]),
        (f"{WHSEC} {OLD_WHSEC}".encode(), [base64.b64decode(WHSEC[6:]), b"\x00\xff key"]),
        (f"{WHSEC}\n{OLD_WHSEC}\n".encode(), [base64.b64decode(WHSEC[6:]), b"\x00\xff key"]),
    ],
)
def test_it_is_signed_as_standard_webhooks_say(
    tmp_path: Path, receiver: Receiver, sender: sinks.Sender, stored: bytes, keys: list[bytes]
) -> None:
    (tmp_path / "outcomed.pager-key").write_bytes(stored)
    assert sender.send(webhook(receiver.url, "pager-key"), MESSAGE, NOW) == Delivered(200)
    _, headers, body = receiver.told[0]
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("m1", "1800000000")
    signed = [hmac.new(key, b"m1.1800000000." + body, hashlib.sha256).digest() for key in keys]
    assert headers["webhook-signature"].split(" ") == [
        "v1," + base64.b64encode(one).decode() for one in signed
    ]


def test_the_signature_is_the_one_of_the_standards_own_example() -> None:
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    ident, body = "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}'
    headers = sinks.sign([key], ident, 1614265330, body)
    assert headers == {
        "webhook-id": ident,
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_the_standards_own_library_accepts_each_try_and_knows_the_repeat(
    tmp_path: Path, receiver: Receiver, sender: sinks.Sender
) -> None:
    library = pytest.importorskip("standardwebhooks", reason="Debian has no package of it")
    (tmp_path / "outcomed.k").write_text(f"{WHSEC} {OLD_WHSEC}\n")
    answers = iter([500, 503, 200])
    receiver.answer = lambda _: (next(answers), {})
    now = Usec(time.time_ns() // 1000)
    tries = [now - 120 * SECOND, now - 60 * SECOND, now]
    outcomes = [sender.send(webhook(receiver.url, "k"), MESSAGE, Usec(at)) for at in tries]
    assert [type(outcome) for outcome in outcomes] == [Retry, Retry, Delivered]
    for (_, headers, body), at in zip(receiver.told, tries, strict=True):
        for key in (WHSEC, OLD_WHSEC):
            assert library.Webhook(key).verify(body, headers)["id"] == "m1"
        with pytest.raises(library.WebhookVerificationError):
            library.Webhook(WHSEC).verify(body + b" ", headers)
        with pytest.raises(library.WebhookVerificationError):
            library.Webhook(OTHER_WHSEC).verify(body, headers)
        assert headers["webhook-id"] == "m1"
        assert headers["webhook-timestamp"] == str(at // SECOND)


def test_the_address_may_be_a_credential(
    tmp_path: Path, receiver: Receiver, sender: sinks.Sender
) -> None:
    (tmp_path / "outcomed.ops-url").write_text(f"{receiver.url}\n")
    sink = Webhook("ops", url_credential="ops-url")
    assert sender.send(sink, MESSAGE, NOW) == Delivered(200)
    assert receiver.told[0][0] == f"/{SECRET}"


def test_a_user_in_the_address_is_basic_authentication(
    receiver: Receiver, sender: sinks.Sender
) -> None:
    sender.send(webhook(receiver.url.replace("//", f"//me:{SECRET}@")), MESSAGE, NOW)
    word = base64.b64encode(f"me:{SECRET}".encode()).decode()
    assert receiver.told[0][1]["Authorization"] == f"Basic {word}"


def test_the_environments_proxy_is_not_used(
    monkeypatch: pytest.MonkeyPatch, receiver: Receiver, sender: sinks.Sender
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert sender.send(webhook(receiver.url), MESSAGE, NOW) == Delivered(200)


@pytest.mark.parametrize(
    ("stored", "says"),
    [
        (None, "No such file"),
        (b"\n", "empty"),
        (b"whsec_T0KEN!", "base64 to follow"),
        (b"whsec_\n", "base64 to follow"),
        (f"{WHSEC} T0KEN".encode(), "whsec_ has to begin each key"),
    ],
)
def test_a_credential_that_is_not_there_is_waited_for(
    tmp_path: Path, sender: sinks.Sender, stored: bytes | None, says: str
) -> None:
    if stored is not None:
        (tmp_path / "outcomed.k").write_bytes(stored)
    outcome = sender.send(webhook("http://127.0.0.1:1/", "k"), MESSAGE, NOW)
    assert isinstance(outcome, Retry)
    assert says in reason(outcome)
    assert "outcomed.k" in outcome.reason


def test_without_credentials_at_all_it_says_so() -> None:
    with sinks.Sender(None) as sender:
        outcome = sender.send(Webhook("ops", url_credential="u"), MESSAGE, NOW)
    assert "started without credentials" in reason(outcome)


@pytest.mark.parametrize("name", ["../shadow", "/etc/shadow"])
def test_a_credentials_name_leads_nowhere_else(sender: sinks.Sender, name: str) -> None:
    assert "not a name" in reason(sender.send(Webhook("o", url_credential=name), MESSAGE, NOW))


# --- Slack -----------------------------------------------------------------------------------


def slack_sink(url: str) -> Webhook:
    return Webhook("ops", url=url, format="slack")


def test_slack_is_told_in_its_own_form(receiver: Receiver, sender: sinks.Sender) -> None:
    assert sender.send(slack_sink(receiver.url), MESSAGE, NOW) == Delivered(200)
    _, headers, body = receiver.told[0]
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert slacklike.faults(body) == []
    assert "delivery m1" not in json.loads(body)["text"]
    assert "delivery\nm1" in slacklike.screen(json.loads(body), 9)


@pytest.mark.parametrize(
    ("status", "word", "means", "reason_"),
    [
        (400, b"invalid_token", Refused, "it does not understand the message (invalid_token)"),
        (403, b"action_prohibited", Retry, "may have been changed (action_prohibited)"),
        (404, b"channel_not_found", Retry, "nothing is there at present (channel_not_found)"),
        (404, b"no_service", Retry, "nothing is there at present (no_service)"),
        (410, b"channel_is_archived", Refused, "gone for good (channel_is_archived)"),
        (500, b"rollup_error", Retry, "a fault of its own (rollup_error)"),
        (404, f"no such {SECRET}".encode(), Retry, "nothing is there at present"),
        (404, b"<html>" * 20_000, Retry, "nothing is there at present"),
    ],
)
def test_what_slack_answers_means(
    receiver: Receiver,
    sender: sinks.Sender,
    status: int,
    word: bytes,
    means: type[sinks.Outcome],
    reason_: str,
) -> None:
    receiver.answer, receiver.says = lambda _: (status, {}), word
    outcome = sender.send(slack_sink(receiver.url), MESSAGE, NOW)
    assert isinstance(outcome, means)
    assert reason(outcome).endswith(reason_)


def test_slack_that_is_told_too_much_says_when_to_come_back(
    receiver: Receiver, sender: sinks.Sender
) -> None:
    receiver.answer, receiver.says = lambda _: (429, {"Retry-After": "30"}), b"rate_limited"
    outcome = sender.send(slack_sink(receiver.url), MESSAGE, NOW)
    assert isinstance(outcome, Retry)
    assert outcome.after == 30 * SECOND
    assert outcome.reason.endswith("it is told too much (rate_limited)")


def test_what_another_receiver_says_is_not_repeated(
    receiver: Receiver, sender: sinks.Sender
) -> None:
    receiver.answer, receiver.says = lambda _: (404, {}), b"no_service"
    assert "no_service" not in reason(sender.send(webhook(receiver.url), MESSAGE, NOW))


def test_slack_that_takes_no_blocks_any_more_is_told_by_text(
    receiver: Receiver, sender: sinks.Sender
) -> None:
    receiver.answer = lambda message: (400 if "blocks" in message else 200, {})
    receiver.says = b"invalid_blocks"
    assert sender.send(slack_sink(receiver.url), MESSAGE, NOW) == Delivered(200)
    full, plain = (json.loads(body) for _, _, body in receiver.told)
    assert plain == {key: value for key, value in full.items() if key != "blocks"}


def test_a_message_that_slack_refuses_in_both_forms_is_refused(
    receiver: Receiver, sender: sinks.Sender
) -> None:
    receiver.answer = lambda _: (400, {})
    assert isinstance(sender.send(slack_sink(receiver.url), MESSAGE, NOW), Refused)
    assert len(receiver.told) == 2


def test_a_message_that_this_version_cannot_put_into_words_is_refused(
    receiver: Receiver, sender: sinks.Sender
) -> None:
    message = Delivery("m1", "ops", NOW, {"id": "m1", "data": {"state": "acknowledged"}})
    assert "put into words" in reason(sender.send(slack_sink(receiver.url), message, NOW))
    assert receiver.told == []


def test_an_archived_channel_is_not_asked_twice(receiver: Receiver, sender: sinks.Sender) -> None:
    receiver.answer = lambda _: (410, {})
    assert isinstance(sender.send(slack_sink(receiver.url), MESSAGE, NOW), Refused)
    assert len(receiver.told) == 1


# --- nothing is shown ------------------------------------------------------------------------


def test_nothing_shows_a_request(tmp_path: Path) -> None:
    request = sinks.build(webhook(f"http://127.0.0.1/{SECRET}"), MESSAGE, NOW, tmp_path)
    assert SECRET not in repr(request)


# --- what is answered ------------------------------------------------------------------------

TAKEN, LATER, NEVER = Delivered, Retry, Refused


@pytest.mark.parametrize(
    ("status", "means"),
    [
        *((status, TAKEN) for status in (200, 201, 202, 204, 299)),
        *((status, LATER) for status in (301, 302, 303, 307, 308)),
        *((status, LATER) for status in (401, 403, 404, 405, 408, 409, 423, 425, 429, 451)),
        *((status, NEVER) for status in (400, 410, 413, 415, 422)),
        *((status, LATER) for status in (500, 501, 502, 503, 504, 599, 666, 999)),
    ],
)
def test_a_status_means(status: int, means: type[sinks.Outcome]) -> None:
    outcome = sinks.judge(status, None, "host")
    assert isinstance(outcome, means)
    if isinstance(outcome, Retry):
        assert outcome.answered
    if not isinstance(outcome, Delivered):
        assert reason(outcome).startswith(f"host answered {status}: ")


def test_a_redirect_is_not_followed(receiver: Receiver, sender: sinks.Sender) -> None:
    receiver.answer = lambda _: (307, {"Location": f"{receiver.url}/elsewhere"})
    assert "redirects are not followed" in reason(sender.send(webhook(receiver.url), MESSAGE, NOW))
    assert len(receiver.told) == 1


@pytest.mark.parametrize(
    ("header", "after"),
    [
        ("7", 7 * SECOND),
        (" 0 ", 0),
        ("Fri, 15 Jan 2027 08:00:30 GMT", 30 * SECOND),
        ("Fri, 15 Jan 2021 08:00:30 GMT", 0),
        ("31536000", HOUR),
        ("9" * 4000, HOUR),
        ("soon", None),
        ("-5", None),
        ("²", None),
        ("", None),
    ],
)
def test_retry_after_is_a_time_or_nothing(header: str, after: int | None) -> None:
    assert sinks._retry_after(header, NOW) == after


def test_retry_after_reaches_the_outcome(receiver: Receiver, sender: sinks.Sender) -> None:
    receiver.answer = lambda _: (503, {"Retry-After": "7"})
    outcome = sender.send(webhook(receiver.url), MESSAGE, NOW)
    assert isinstance(outcome, Retry)
    assert (outcome.after, outcome.answered) == (7 * SECOND, True)


# --- the connection --------------------------------------------------------------------------


def test_a_connection_is_kept(receiver: Receiver, sender: sinks.Sender) -> None:
    for _ in range(5):
        assert sender.send(webhook(receiver.url), MESSAGE, NOW) == Delivered(200)
    assert len(set(receiver.peers)) == 1


def test_a_receiver_that_writes_in_pieces_costs_no_delayed_ack(
    receiver: Receiver, sender: sinks.Sender
) -> None:
    """http.server writes header and body apart: 40 ms each, were the first not acknowledged."""
    sender.send(webhook(receiver.url), MESSAGE, NOW)
    began = time.monotonic()
    for _ in range(50):
        sender.send(webhook(receiver.url), MESSAGE, NOW)
    assert time.monotonic() - began < 50 * 0.03


def test_a_receiver_that_was_restarted_is_told_at_once(sender: sinks.Sender) -> None:
    with receiving() as first:
        sender.send(webhook(first.url), MESSAGE, NOW)
        port = first.port
    with receiving(port) as second:
        assert sender.send(webhook(second.url), MESSAGE, NOW) == Delivered(200)
        assert second.ids == ["m1"]


def test_a_kept_connection_that_breaks_under_the_request_is_tried_anew(
    sender: sinks.Sender,
) -> None:
    answers = iter([True, True, False, True])

    def once(connection: socket.socket) -> None:
        while next(answers, False):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            request(connection)

    with speaking(once) as url:
        assert sender.send(webhook(url), MESSAGE, NOW) == Delivered(200)
        assert sender.send(webhook(url), MESSAGE, NOW) == Delivered(200)
        assert sender.send(webhook(url), MESSAGE, NOW) == Delivered(200)
        sender.close()
    assert list(answers) == []


def test_a_fresh_connection_that_breaks_is_a_failure(sender: sinks.Sender) -> None:
    with speaking(lambda _: None) as url:
        assert "closed before an answer came" in reason(sender.send(webhook(url), MESSAGE, NOW))


def test_nobody_there_is_a_failure(sender: sinks.Sender) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    outcome = sender.send(webhook(f"http://127.0.0.1:{port}/{SECRET}"), MESSAGE, NOW)
    assert reason(outcome) == "127.0.0.1: the connection failed: connection refused"


@pytest.mark.parametrize("length", [b"", b"Content-Length: 9999999999\r\n"])
def test_an_answer_without_end_is_cut(sender: sinks.Sender, length: bytes) -> None:
    sent = 0

    def flood(connection: socket.socket) -> None:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n")
        while True:
            sent += connection.send(b"x" * 65536)

    with speaking(flood) as url:
        assert sender.send(webhook(url), MESSAGE, NOW) == Delivered(200)
    assert sent < 20 << 20  # what the kernel buffers


def drip(start: bytes) -> Callable[[socket.socket], None]:
    def talk(connection: socket.socket) -> None:
        connection.sendall(start)
        until = time.monotonic() + 5
        while time.monotonic() < until:
            connection.sendall(b"x")
            time.sleep(0.02)

    return talk


def test_a_header_that_drips_for_ever_is_cut(sender: sinks.Sender) -> None:
    with speaking(drip(b"HTTP/1.1 200 OK\r\nX-Slow: ")) as url:
        began = time.monotonic()
        assert "no whole answer in time" in reason(sender.send(webhook(url), MESSAGE, NOW))
        assert time.monotonic() - began < 2


def test_a_body_that_drips_for_ever_does_not_change_the_status(sender: sinks.Sender) -> None:
    start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5"
    with speaking(drip(start.replace(b"chunked", b"identity"))) as url:
        began = time.monotonic()
        assert sender.send(webhook(url), MESSAGE, NOW) == Delivered(200)
        assert time.monotonic() - began < 2


def test_a_receiver_that_never_answers_is_cut(sender: sinks.Sender) -> None:
    done = threading.Event()
    with speaking(lambda _: done.wait(5) and None) as url:
        assert "no whole answer in time" in reason(sender.send(webhook(url), MESSAGE, NOW))
        done.set()


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 banana\r\n\r\n",
        b"\x00" * 200_000,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 500 \xff\r\nContent-Length: -7\r\nRetry-After: \xff\r\n\r\n",
        b"HTTP/1.1 503 x\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    ],
)
def test_nonsense_is_a_failure(sender: sinks.Sender, answer: bytes) -> None:
    with speaking(lambda connection: connection.sendall(answer)) as url:
        outcome = sender.send(webhook(url), MESSAGE, NOW)
    assert isinstance(outcome, Retry)
    assert reason(outcome)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "T0KEN",
        "ftp://127.0.0.1/T0KEN",
        "http://[::1/T0KEN",
        "https:///T0KEN",
        "http://127.0.0.1:99999/T0KEN",
        f"http://{'a' * 70}.invalid/T0KEN",
        "http://.a/T0KEN",
        "http://\n<3>forged/T0KEN",
    ],
)
def test_an_address_that_is_none_is_waited_to_be_corrected(sender: sinks.Sender, url: str) -> None:
    outcome = sender.send(webhook(url), MESSAGE, NOW)
    assert isinstance(outcome, Retry)
    assert "\n" not in reason(outcome)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    path = tmp_path / "own.pem"
    subprocess.run(
        [  # a certificate of its own making
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-keyout", "own.pem", "-out", "certificate.pem"),
        ],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    path.write_bytes(path.read_bytes() + (tmp_path / "certificate.pem").read_bytes())
    return path


def test_a_certificate_that_nobody_vouches_for_is_waited_for(
    sender: sinks.Sender, certificate: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with receiving() as receiver:
        receiver.socket = context.wrap_socket(receiver.socket, server_side=True)
        outcome = sender.send(webhook(receiver.url.replace("http:", "https:")), MESSAGE, NOW)
        assert isinstance(outcome, Retry)
        assert reason(outcome) == "127.0.0.1: TLS failed: self-signed certificate"
        assert receiver.told == []


def test_plain_http_behind_https_is_waited_for(receiver: Receiver, sender: sinks.Sender) -> None:
    url = receiver.url.replace("http:", "https:")
    assert reason(sender.send(webhook(url), MESSAGE, NOW)).startswith("127.0.0.1: TLS failed")
