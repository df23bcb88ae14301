"""Say one message to one receiver, and what its answer means.

Everything that a receiver may do wrong is met here: refuse, hang, dribble, redirect, answer with
nonsense or with a gigabyte. No address, no secret and no text of a foreign exception leaves this
module, since an address is often the secret; only the receiver's host is named.

No retry, no file but the credentials, no log: whoever sends decides what follows.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import io
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http.client import HTTPResponse, RemoteDisconnected
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import msgspec
import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from outcomed import __version__
from outcomed.errors import OutcomedError
from outcomed.model import SECOND, Delivery, Record, Sink, Usec

CONNECT_SECONDS = 5.0  # for each of the host's addresses
READ_SECONDS = 15.0  # between two pieces of the answer
TOTAL_SECONDS = 20.0  # for the whole answer, however it dribbles
LARGEST_ANSWER = 64 << 10  # bytes that are read so that the connection can be kept
LONGEST_RETRY_AFTER = 3600 * SECOND  # a receiver's typing error must not silence it for a year

_CREDENTIAL_PREFIX = "outcomed."
_PREFIX = b"whsec_"
_WORD = re.compile(rb"[a-z_]{1,40}")
_HEADERS = {"User-Agent": f"outcomed/{__version__}", "Accept-Encoding": "identity"}
_HOST = re.compile(r"[A-Za-z0-9._:-]{1,253}")


# --- what came of it -------------------------------------------------------------------------


class Delivered(Record, frozen=True):
    """The receiver took it."""

    status: int


class Retry(Record, frozen=True):
    """Not now. `answered`: the receiver spoke, so the fault may lie in this one message."""

    reason: str
    after: Usec | None = None
    answered: bool = False


class Refused(Record, frozen=True):
    """Never: the same message will get the same answer. `form`: another form of it may not."""

    reason: str
    form: bool = False


Outcome = Delivered | Retry | Refused


class _Fate(StrEnum):
    TAKEN = "taken"
    LATER = "later"
    NEVER = "never"


# The one place that tells permanent from temporary. When in doubt it is temporary: a receiver that
# is being deployed, moved or given a new secret answers with almost anything, and an alert that is
# told too often is better than one that is lost. Permanent is only what is said of the message
# itself, or of the address for ever.
_STATUS: dict[int, tuple[_Fate, str]] = {
    400: (_Fate.NEVER, "it does not understand the message"),
    401: (_Fate.LATER, "the secret or the token may have been changed"),
    403: (_Fate.LATER, "the secret or the token may have been changed"),
    404: (_Fate.LATER, "nothing is there at present"),
    405: (_Fate.LATER, "the address does not take a POST"),
    407: (_Fate.LATER, "a proxy in between wants credentials"),
    408: (_Fate.LATER, "it waited too long for the message"),
    410: (_Fate.NEVER, "the address is gone for good"),
    413: (_Fate.NEVER, "the message is too large for it"),
    415: (_Fate.NEVER, "it does not take JSON of this kind"),
    422: (_Fate.NEVER, "it does not accept what the message says"),
    429: (_Fate.LATER, "it is told too much"),
    502: (_Fate.LATER, "what is behind it does not answer"),
    503: (_Fate.LATER, "it is not available"),
    504: (_Fate.LATER, "what is behind it does not answer"),
}
_STATUS_CLASS: dict[int, tuple[_Fate, str]] = {
    2: (_Fate.TAKEN, ""),
    3: (_Fate.LATER, "redirects are not followed for a POST; configure the final address"),
    4: (_Fate.LATER, "it does not want the message at present"),
    5: (_Fate.LATER, "it has a fault of its own"),
}
_FORM = frozenset({400, 413, 422})  # what is said of a message's form
_UNHEARD_OF = (_Fate.LATER, "not an answer that HTTP knows")

# What a request can raise, most particular first: the classes are each other's parents.
_TROUBLE: tuple[tuple[type[Exception], str], ...] = (
    (requests.exceptions.SSLError, "TLS failed"),
    (requests.exceptions.ConnectTimeout, f"no connection within {CONNECT_SECONDS:.0f} s"),
    (requests.exceptions.Timeout, "no whole answer in time"),
    (requests.exceptions.ConnectionError, "the connection failed"),
    (ValueError, "the address is not an http or https URL"),  # every InvalidURL is one
    (requests.exceptions.RequestException, "the request failed"),
    (urllib3.exceptions.HTTPError, "the request failed"),
    (OSError, "the request failed"),
)
_RAISED = tuple(kind for kind, _ in _TROUBLE)


def judge(status: int, retry_after: Usec | None, where: str, word: str = "") -> Outcome:
    """What a status means for the message. `word`: what the receiver calls it."""
    fate, meaning = _STATUS.get(status) or _STATUS_CLASS.get(status // 100, _UNHEARD_OF)
    meaning += f" ({word})" if word else ""
    match fate:
        case _Fate.TAKEN:
            return Delivered(status)
        case _Fate.LATER:
            return Retry(f"{where} answered {status}: {meaning}", retry_after, answered=True)
        case _Fate.NEVER:
            return Refused(f"{where} answered {status}: {meaning}", form=status in _FORM)


# --- sending ---------------------------------------------------------------------------------


class Sender:
    """One sink's connection, kept between messages. Used by one thread at a time.

    An adapter without a session: no redirects (a session that does not follow one still reads all
    of its body), no cookies, and no proxy or netrc from the environment.
    """

    def __init__(self, credentials: Path | None, *, total_seconds: float = TOTAL_SECONDS) -> None:
        self._credentials = credentials
        self._adapter = _BoundedAdapter(total_seconds)
        self._kept = False

    def __enter__(self) -> Sender:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._adapter.close()
        self._kept = False

    def send(self, sink: Sink, delivery: Delivery, now: Usec) -> Outcome:
        """Try once, in the plainest form if the fuller one is refused: limits may have changed."""
        outcome = self._send(sink, delivery, now, build)
        if isinstance(outcome, Refused) and outcome.form and sink.format == "slack":
            return self._send(sink, delivery, now, build_plain)
        return outcome

    def _send(self, sink: Sink, delivery: Delivery, now: Usec, make: _Build) -> Outcome:
        """A kept connection that turns out to be dead does not count as a try."""
        try:
            request = make(sink, delivery, now, self._credentials)
        except SinkError as error:
            return Retry(error.fault)
        except msgspec.ValidationError as error:
            return Refused(f"not a message that can be put into words: {error}")
        was_kept = self._kept
        outcome = self._try(request, now)
        if was_kept and isinstance(outcome, _Cut):
            self.close()
            outcome = self._try(request, now)
        return outcome if not isinstance(outcome, _Cut) else Retry(outcome.reason)

    def _try(self, request: Request, now: Usec) -> Outcome | _Cut:
        self._kept, where = False, host_of(request.url)
        try:
            response = self._adapter.send(
                requests.Request("POST", request.url, request.headers, data=request.body).prepare(),
                stream=True,
                timeout=(CONNECT_SECONDS, READ_SECONDS),
            )
        except _RAISED as error:
            return _trouble(error, where)
        self._kept, answer = _settle(response)
        after = _retry_after(response.headers.get("Retry-After"), now)
        word = answer.decode() if request.has_word and _WORD.fullmatch(answer) else ""
        return judge(response.status_code, after, where, word)


_Build = Callable[[Sink, Delivery, Usec, "Path | None"], "Request"]


@dataclass(frozen=True, slots=True)
class _Cut:
    """The connection broke before an answer came: the receiver may or may not have the message."""

    reason: str


def _trouble(error: Exception, where: str) -> Retry | _Cut:
    what = next(text for kind, text in _TROUBLE if isinstance(error, kind))
    detail = _detail(error)
    reason = f"{where}: {what}{f': {detail}' if detail else ''}"
    timed_out = isinstance(error, (requests.exceptions.Timeout, requests.exceptions.SSLError))
    cut = isinstance(error, requests.exceptions.ConnectionError) and not timed_out
    return _Cut(reason) if cut else Retry(reason)


def _detail(error: BaseException) -> str:
    """The system's own word for it. Never `str(error)`: that quotes the address."""
    cause: BaseException | None = error
    while cause is not None:
        if word := _word(cause):
            return word
        cause = cause.__cause__ or cause.__context__
    return ""


def _word(error: BaseException) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return error.verify_message
        case ssl.SSLError():
            return (error.reason or "").replace("_", " ").lower()
        case RemoteDisconnected():
            return "closed before an answer came"
        case requests.exceptions.RequestException():
            return ""
        case OSError():
            return (error.strerror or "").lower()
        case _:
            return ""


def _settle(response: requests.Response) -> tuple[bool, bytes]:
    """Read the rest of a short answer; whether the connection can be used again, and the answer.

    The status has been given: nothing here changes its fate.
    """
    try:
        rest = response.raw.read(LARGEST_ANSWER + 1, decode_content=False)
        return len(rest) <= LARGEST_ANSWER, rest
    except (OSError, urllib3.exceptions.HTTPError, requests.exceptions.RequestException):
        return False, b""  # the status counts, and the next message gets a fresh connection
    finally:
        response.close()


def _retry_after(header: str | None, now: Usec) -> Usec | None:
    """Seconds or a date (RFC 9110, 10.2.3), no longer than an hour. Anything else is ignored."""
    if header is None:
        return None
    header = header.strip()
    if header.isascii() and header.isdigit():
        wait = int(header[:12]) * SECOND
    else:
        try:
            wait = int(parsedate_to_datetime(header).timestamp() * SECOND) - now
        except (ValueError, OverflowError):
            return None
    return Usec(min(max(wait, 0), LONGEST_RETRY_AFTER))


# --- the request -----------------------------------------------------------------------------


class SinkError(OutcomedError):
    """The sink cannot be told anything as it is configured here."""


@dataclass(frozen=True, slots=True)
class Request:
    """A POST, ready to be sent. Not shown: the address and the signature are secrets."""

    url: str
    body: bytes
    headers: dict[str, str]
    has_word: bool = False  # its answer is a word that says what is wrong

    def __repr__(self) -> str:
        return f"Request(to {host_of(self.url)}, {len(self.body)} bytes)"


def build(sink: Sink, delivery: Delivery, now: Usec, credentials: Path | None) -> Request:
    """The message as this sink wants it. msgspec.ValidationError: Slack cannot be told it."""
    url = _address(sink, credentials)
    if sink.format == "slack":
        return _to_slack(url, delivery, with_blocks=True)
    body = msgspec.json.encode(delivery.event)
    headers = _HEADERS | {"Content-Type": "application/cloudevents+json; charset=utf-8"}
    if sink.secret_credential is not None:
        keys = _keys(sink.secret_credential, credentials)
        headers |= sign(keys, delivery.id, now // SECOND, body)
    return Request(url, body, headers)


def build_plain(sink: Sink, delivery: Delivery, _now: Usec, credentials: Path | None) -> Request:
    """For a Slack that does not take our blocks."""
    return _to_slack(_address(sink, credentials), delivery, with_blocks=False)


def _to_slack(url: str, delivery: Delivery, *, with_blocks: bool) -> Request:
    from outcomed import slack, wording  # 3 % of the first message's time, for who has such a sink

    words = wording.of(delivery.event, None)
    body = msgspec.json.encode(slack.payload(words) if with_blocks else slack.plain(words))
    headers = _HEADERS | {"Content-Type": "application/json; charset=utf-8"}
    return Request(url, body, headers, has_word=True)


def _address(sink: Sink, credentials: Path | None) -> str:
    url = sink.url if sink.url_credential is None else _text(sink.url_credential, credentials)
    return (url or "").strip()


def sign(keys: Sequence[bytes], ident: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of Standard Webhooks 1.0, symmetric. One signature a key, so that a receiver
    that knows the old or the new one of two is satisfied while they are exchanged."""
    signed = b"%s.%d.%s" % (ident.encode(), timestamp, body)
    digests = [hmac.digest(key, signed, hashlib.sha256) for key in keys]
    return {
        "webhook-id": ident,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(one).decode()}" for one in digests),
    }


def _keys(name: str, credentials: Path | None) -> list[bytes]:
    """Those of a list of whsec_ keys; else the one key that the credential is, as it stands."""
    secret = _credential(name, credentials)
    if not secret.startswith(_PREFIX):
        return [secret]
    return [_key(word, name) for word in secret.split()]


def _key(word: bytes, name: str) -> bytes:
    try:
        key = base64.b64decode(word.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not key or not word.startswith(_PREFIX):
        raise SinkError(
            f"credential {_file_of(name)}: whsec_ has to begin each key, and base64 to follow"
        )
    return key


def _text(name: str, credentials: Path | None) -> str:
    try:
        return _credential(name, credentials).decode("ascii")
    except UnicodeDecodeError:
        raise SinkError(f"credential {_file_of(name)}: not an address") from None


def _credential(name: str, credentials: Path | None) -> bytes:
    if credentials is None:
        raise SinkError(f"credential {_file_of(name)}: the unit was started without credentials")
    if "/" in name:
        raise SinkError(f"credential {_file_of(name)}: not a name of a credential")
    try:
        secret = (credentials / _file_of(name)).read_bytes()
    except OSError as error:
        raise SinkError(
            f"credential {_file_of(name)}: {error.strerror}; it is read from /etc/credstore when "
            "outcomed-deliver.service starts"
        ) from None
    if not (secret := secret.removesuffix(b"\n")):
        raise SinkError(f"credential {_file_of(name)}: is empty")
    return secret


def _file_of(name: str) -> str:
    return _CREDENTIAL_PREFIX + name


def credentials_directory() -> Path | None:
    """Where systemd put this unit's credentials."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    return Path(directory) if directory else None


def host_of(url: str) -> str:
    """The one part of an address that may be seen."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        host = ""
    return host if _HOST.fullmatch(host) else "the receiver"


# --- an answer that ends ---------------------------------------------------------------------
#
# A socket's timeout begins anew with each byte, so a receiver that sends one every ten seconds
# holds its caller for ever, already within the header. Time is therefore bounded where the bytes
# come in. `response_class` is how http.client lets itself be told.


class _Bounded(io.RawIOBase):
    """An answer's bytes, as long as there is time."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, seconds: float) -> None:
        self._raw, self._sock, self._until = raw, sock, time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer did not end in time")
        self._sock.settimeout(min(left, READ_SECONDS))
        # A receiver that writes header and body apart waits for our ACK in between, 40 ms.
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _bounded_answer(seconds: float) -> type[HTTPResponse]:
    class Answer(HTTPResponse):
        def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
            super().__init__(sock, *args, **options)
            self.fp = io.BufferedReader(_Bounded(self.fp.detach(), sock, seconds))

    return Answer


class _BoundedAdapter(HTTPAdapter):
    def __init__(self, seconds: float) -> None:
        answer = _bounded_answer(seconds)
        plain = type("Plain", (HTTPConnection,), {"response_class": answer})
        tls = type("Tls", (HTTPSConnection,), {"response_class": answer})
        self._pools = {
            "http": type("PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
            "https": type("TlsPool", (HTTPSConnectionPool,), {"ConnectionCls": tls}),
        }
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = self._pools
