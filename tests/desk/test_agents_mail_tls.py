# SPDX-License-Identifier: Apache-2.0
"""Mails over StartTLS and TLS: to a server whose certificate is good, and to no other one, nothing at all."""

from __future__ import annotations

import datetime
import smtplib
import socket
import ssl
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest

from testing.agents import ALICE, mailbox
from testing.keys.authority import Authority
from watchword.desk.agents.mail import deliver
from watchword.desk.agents.policy import AgentPolicy
from watchword.trust.api.v1alpha1 import AgentMail

Security = Literal["StartTLS", "TLS"]
LOGIN = ("desk", "s3cret")
BOTH: tuple[Security, ...] = ("StartTLS", "TLS")
LINK = "https://desk.example.com/claim?secret=x"


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """The only authority that the desk trusts."""
    made = Authority()
    trusted = tmp_path / "trusted.pem"
    trusted.write_text(made.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    return made


def send(port: int, security: Security, host: str = "localhost") -> None:
    mail = AgentMail(host=host, port=port, security=security, from_="desk@example.com")
    deliver(AgentPolicy(mail=mail, mail_login=LOGIN), ALICE, LINK)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
@pytest.mark.parametrize("security", BOTH)
def test_a_server_with_a_good_certificate_gets_the_mail(
    authority: Authority, tmp_path: Path, security: Security, host: str
) -> None:
    context = authority.server(tmp_path)
    given = {"starttls": context} if security == "StartTLS" else {"tls": context}
    with mailbox(**given) as box:
        send(box.port, security, host)
        assert box.wait_for(1)["To"] == ALICE
        assert box.logins == [(b"desk", b"s3cret")]


def wrong_name(authority: Authority, folder: Path) -> ssl.SSLContext:
    return authority.server(folder, ["mail.example.com"])


def wrong_subdomain(authority: Authority, folder: Path) -> ssl.SSLContext:
    return authority.server(folder, ["localhost.example.com", "*.localhost"])


def ended(authority: Authority, folder: Path) -> ssl.SSLContext:
    return authority.server(folder, ends_in=datetime.timedelta(days=-1))


def unknown_authority(_: Authority, folder: Path) -> ssl.SSLContext:
    return Authority().server(folder)


def same_name_authority(_: Authority, folder: Path) -> ssl.SSLContext:
    return Authority("test authority").server(folder)


def old_tls(authority: Authority, folder: Path) -> ssl.SSLContext:
    context = authority.server(folder)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    return context


@pytest.mark.parametrize(
    "make", [wrong_name, wrong_subdomain, ended, unknown_authority, same_name_authority, old_tls]
)
@pytest.mark.parametrize("security", BOTH)
def test_a_server_that_is_not_who_its_name_says_gets_nothing(
    authority: Authority,
    tmp_path: Path,
    security: Security,
    make: Callable[[Authority, Path], ssl.SSLContext],
) -> None:
    context = make(authority, tmp_path)
    given = {"starttls": context} if security == "StartTLS" else {"tls": context}
    with mailbox(**given) as box:
        with pytest.raises((OSError, smtplib.SMTPException)):
            send(box.port, security)
        assert (box.mails, box.logins) == ([], [])


class Wire:
    """A server that says what a test has it say; `heard` is all that it got in plain text."""

    def __init__(self) -> None:
        self.heard = b""
        self.port = 0


@contextmanager
def wire(serve: Callable[[socket.socket, Wire], None]) -> Iterator[Wire]:
    """Serve one connection until the end of the block."""
    made = Wire()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made.port = listener.getsockname()[1]

        def run() -> None:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(30)
                try:
                    serve(connection, made)
                except OSError:
                    # A client that leaves is what is hoped for.
                    return

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield made
        finally:
            listener.close()
            thread.join()


def line(connection: socket.socket, made: Wire) -> bytes:
    """One line of the client's; empty: it left."""
    found = b""
    while not found.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte:
            return b""
        found += byte
    made.heard += found
    return found


def talk(connection: socket.socket, made: Wire, *answers: bytes) -> None:
    """Greet, and answer each line by the next answer; then take what else comes."""
    connection.sendall(b"220 mail.example.com\r\n")
    for answer in answers:
        if not line(connection, made):
            return
        connection.sendall(answer)
    while data := connection.recv(65536):
        made.heard += data
        if data.upper().startswith(b"QUIT"):
            connection.sendall(b"221 bye\r\n")


OFFERS = b"250-mail.example.com\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN\r\n"
SAYS_YES = b"235 welcome\r\n250 ok\r\n250 ok\r\n354 go on\r\n250 queued\r\n"
PLAIN: dict[str, tuple[bytes, ...]] = {
    "does not offer it": (b"250-mail.example.com\r\n250 AUTH PLAIN LOGIN\r\n", b"250 ok\r\n"),
    "offers it in another word": (b"250-mail.example.com\r\n250 XSTARTTLS\r\n", b"250 ok\r\n"),
    "knows no EHLO": (b"502 what\r\n", b"250 mail.example.com\r\n", b"250 ok\r\n"),
    "refuses it": (OFFERS, b"454 not now\r\n"),
    "answers it with 250": (OFFERS, b"250 ok\r\n"),
    "answers it with nonsense": (OFFERS, b"hello\r\n"),
    "goes on in plain text": (OFFERS, b"220 go\r\n", OFFERS),
    "says more in plain text in the same breath": (OFFERS, b"220 go\r\n" + OFFERS + SAYS_YES),
    "says one more byte": (OFFERS, b"220 go\r\n2"),
}


@pytest.mark.parametrize("what", PLAIN)
def test_a_server_that_stays_in_plain_text_gets_no_mail_and_no_password(
    authority: Authority, what: str
) -> None:
    del authority
    failures = (OSError, smtplib.SMTPException)
    with wire(lambda connection, made: talk(connection, made, *PLAIN[what])) as made, pytest.raises(failures):
        send(made.port, "StartTLS")
    for secret in (b"s3cret", b"AHMzY3JldA", b"AUTH", b"MAIL", b"RCPT", b"DATA", ALICE.encode(), b"claim"):
        assert secret not in made.heard, made.heard


def test_what_is_said_before_tls_is_not_taken_for_what_is_said_after_it(
    authority: Authority, tmp_path: Path
) -> None:
    """A real TLS server behind one who adds to its last words in plain text (RFC 3207, section 6)."""
    context = authority.server(tmp_path)
    inside: list[bytes] = []

    def serve(connection: socket.socket, made: Wire) -> None:
        connection.sendall(b"220 mail.example.com\r\n")
        line(connection, made)
        connection.sendall(OFFERS)
        line(connection, made)
        connection.sendall(b"220 go\r\n250-mail.evil.example\r\n250 AUTH PLAIN\r\n")
        with context.wrap_socket(connection, server_side=True) as secure:
            inside.append(secure.recv(65536))

    with wire(serve) as made, pytest.raises(smtplib.SMTPException, match="plain text follows"):
        send(made.port, "StartTLS")
    assert inside in ([], [b""])
    assert b"AUTH" not in made.heard


def test_a_plain_server_gets_nothing_over_tls(authority: Authority) -> None:
    del authority
    with (
        wire(lambda connection, made: talk(connection, made, OFFERS)) as made,
        pytest.raises(ssl.SSLError, match=r"(?i)wrong.version"),
    ):
        send(made.port, "TLS")
    assert b"s3cret" not in made.heard
