"""Servers that drip, flood, redirect and say nothing: each exchange ends in time and in bounds."""

from __future__ import annotations

import base64
import gzip
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from deploy_tasks.api.transport import NoAnswer, NotSent, Transport, answers, look

Answer = Callable[[socket.socket, threading.Event], object]
"""Answers on a connection, until it is done or the event is set."""

SECONDS = 2.0
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n"  # which takes half a day at a byte every 50 ms


@contextmanager
def server(answer: Answer) -> Iterator[tuple[str, list[bytes]]]:
    """A server of one connection a request; yields its address and what it was sent."""
    got: list[bytes] = []
    ended = threading.Event()

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            while not ended.is_set():
                connection, _ = listener.accept()
                with connection:
                    got.append(connection.recv(65_536))
                    with suppress(OSError):
                        answer(connection, ended)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/x", got
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(600)


def drip(first: bytes, drop: bytes = b"x") -> Answer:
    """Sends `first`, then a `drop` every 50 ms."""

    def answer(connection: socket.socket, ended: threading.Event) -> None:
        connection.sendall(first)
        while not ended.wait(0.05):
            connection.sendall(drop)

    return answer


def say(answer: bytes) -> Answer:
    """Sends `answer` and no more."""
    return lambda connection, _: connection.sendall(answer)


def ask(url: str, *, seconds: float = 600, most: int = 1_000_000) -> object:
    return Transport(url, "k3y").exchange("POST", "", b"{}", seconds=seconds, most=most)


@pytest.mark.parametrize(
    "answer",
    [
        drip(HEAD),
        drip(b"HTTP/1.1 200 OK\r\nX-Long: "),
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x="),
        drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        drip(b"HTTP/1.1 302 Found\r\nLocation: /y\r\nContent-Length: 999999\r\n\r\n"),
        drip(b"", b""),
    ],
    ids=["body", "headers", "chunk extension", "100 Continue", "body of a redirect", "nothing at all"],
)
def test_an_answer_that_drips_ends_at_the_deadline(answer: Answer) -> None:
    with server(answer) as (url, got):
        with pytest.raises(NoAnswer):
            ask(url, seconds=SECONDS)
        assert len(got) == 1


def bomb(status: bytes) -> Answer:
    packed = gzip.compress(bytes(50_000_000))
    head = b"HTTP/1.1 " + status + b"\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    return say(head + packed)


def test_a_bomb_is_not_unpacked() -> None:
    with server(bomb(b"200 OK")) as (url, _), pytest.raises(NoAnswer, match="more than 1000000 bytes"):
        ask(url, seconds=600)


@pytest.mark.parametrize("status", [b"302 Found\r\nLocation: /y", b"422 No"])
def test_of_what_is_no_success_only_the_beginning_is_read(status: bytes) -> None:
    with server(bomb(status)) as (url, _):
        answer = Transport(url, "k3y").exchange("POST", "", b"{}", seconds=600, most=1_000_000)
    assert answer.status in (302, 422)
    assert 0 < len(answer.body) <= 2 * 65_536


@pytest.mark.parametrize(
    "answer",
    [b"", HEAD + b"{", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n{}"],
    ids=["closed", "half a body", "no HTTP", "no gzip"],
)
def test_half_an_answer_is_none_and_the_request_is_not_sent_again(answer: bytes) -> None:
    with server(say(answer)) as (url, got):
        with pytest.raises(NoAnswer):
            ask(url)
        assert len(got) == 1


def test_a_port_where_nobody_listens_was_not_sent_to() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NotSent):
        ask(f"http://127.0.0.1:{port}/x")


def test_a_ca_bundle_that_is_not_there_is_named_and_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    with pytest.raises(NotSent, match="REQUESTS_CA_BUNDLE"):
        ask("https://deploy.example.com/x")


@pytest.mark.parametrize("status", [b"301", b"302", b"303", b"307", b"308"])
def test_the_key_does_not_follow_a_redirect(status: bytes) -> None:
    with server(say(b"")) as (elsewhere, got_elsewhere):
        head = b"HTTP/1.1 " + status + b" Moved\r\nLocation: " + elsewhere.encode() + b"\r\nContent-Length: 0\r\n\r\n"
        with server(say(head)) as (url, got):
            answer = Transport(url, "k3y").exchange("POST", "", b"{}", seconds=600, most=1000)
            assert answer.headers["Location"] == elsewhere
            assert b"X-API-Key: k3y" in got[0]
    assert got_elsewhere == []


def test_a_proxy_does_not_get_the_key_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    with server(say(ok)) as (proxy, got_proxy):
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        with server(say(ok)) as (url, got):
            ask(url)
            assert answers(url, 600)
            assert len(got) == 2
    assert got_proxy == []


def test_whether_somebody_answers_is_asked_without_the_key() -> None:
    head = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
    with server(say(head)) as (url, got):
        assert answers(url, 600)
    assert b"X-API-Key" not in got[0]
    assert not answers(url, 600)


def test_who_points_to_what_is_no_url_answers_all_the_same() -> None:
    with server(say(b"HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n")) as (url, _):
        assert answers(url, 600)


def test_a_login_outside_latin_1_is_sent_as_utf_8() -> None:
    with server(say(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as (url, requests):
        assert look(url, 600, ("\N{EURO SIGN}", "p")) is not None
    assert b"Basic " + base64.b64encode("\N{EURO SIGN}:p".encode()) in requests[0]
