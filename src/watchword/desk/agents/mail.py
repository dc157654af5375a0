# SPDX-License-Identifier: Apache-2.0
"""Mails to people who are to confirm: plain text, by SMTP, after the answer was given.

An answer never waits for a mail: how long one takes would tell a stranger whether an address is known.
Nothing is sent over a connection that is not what the TokenDesk asks for.
"""

import asyncio
import smtplib
import ssl
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Final

from prometheus_client import Counter

from watchword.desk.agents.policy import AgentPolicy, domain_of
from watchword.process.logs import LOGGER

MAX_IN_FLIGHT: Final = 64
# Threads of their own: a mail server that hangs must keep no one waiting who asks the store from a thread.
_THREADS: Final = 4
TIMEOUT_SECONDS: Final = 20.0


class _PlainFirst(smtplib.SMTP):
    """A connection that is to become TLS, and takes nothing that was said before as said after."""

    def docmd(self, cmd: str, args: str = "") -> tuple[int, bytes]:
        """Send a command and read its answer.

        Raises:
            smtplib.SMTPException: more came in plain text than the answer to STARTTLS: it would be read as
                what the server says later (RFC 3207, section 6).
        """
        answer = super().docmd(cmd, args)
        if cmd.upper() == "STARTTLS" and self.sock is not None and self.file is not None:
            self.sock.settimeout(0)
            has_more = bool(self.file.peek(1))
            self.sock.settimeout(TIMEOUT_SECONDS)
            if has_more:
                # No QUIT either: its answer would be what was put there.
                self.close()
                raise smtplib.SMTPException("plain text follows the answer to STARTTLS")
        return answer


class Mailer:
    """Sends mails in the background, a bounded number at once. Belongs to one event loop."""

    def __init__(self, mails: Counter) -> None:
        """Count what becomes of each mail in a counter with the label `outcome`."""
        self._mails = mails
        self._in_flight: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(_THREADS, "desk-mail")

    def send(self, policy: AgentPolicy, address: str, link: str) -> None:
        """Have a link mailed to an address."""
        if policy.mail is None or len(self._in_flight) >= MAX_IN_FLIGHT:
            self.hold_back("no mail server, or too many mails at once")
            return
        task = asyncio.create_task(self._send(policy, address, link))
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)

    def hold_back(self, why: str) -> None:
        """Count and log a mail that is not sent, without whom it was for."""
        self._mails.labels("dropped").inc()
        LOGGER.error("a mail was not sent", extra={"why": why})

    async def finish(self) -> None:
        """Wait for the mails that are on their way."""
        await asyncio.gather(*self._in_flight, return_exceptions=True)

    async def _send(self, policy: AgentPolicy, address: str, link: str) -> None:
        try:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._threads, deliver, policy, address, link)
        except (OSError, smtplib.SMTPException, ValueError) as error:
            self._mails.labels("failed").inc()
            # What a server answers may quote the address.
            LOGGER.error("a mail was not sent", extra={"why": type(error).__name__})
        else:
            self._mails.labels("sent").inc()


def message_for(policy: AgentPolicy, address: str, link: str) -> EmailMessage:
    """The mail with the link that confirms."""
    message = EmailMessage()
    sender = policy.mail.from_ if policy.mail is not None else ""
    message["From"], message["To"] = sender, address
    message["Subject"] = "An agent asks to act for you"
    message["Date"], message["Message-ID"] = formatdate(), make_msgid(domain=domain_of(sender))
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(
        "Someone asked that an agent, such as an AI assistant, may act for you.\n\n"
        "If you started this yourself, open the link, read what the agent may do, and decide:\n\n"
        f"{link}\n\n"
        "If you did not, do nothing. Do not pass the link on: it is good for ten minutes, and who opens it\n"
        "decides for you. Opening it alone changes nothing.\n"
    )
    return message


def deliver(policy: AgentPolicy, address: str, link: str) -> None:
    """Send one mail; blocks.

    Raises:
        OSError: the server is away, or is not who its name says.
        smtplib.SMTPException: it takes no mail from the desk.
    """
    mail = policy.mail
    if mail is None:
        raise ValueError("no mail server is set")
    context = ssl.create_default_context()
    server: smtplib.SMTP
    if mail.security == "TLS":
        server = smtplib.SMTP_SSL(mail.host, mail.port, timeout=TIMEOUT_SECONDS, context=context)
    else:
        server = _PlainFirst(mail.host, mail.port, timeout=TIMEOUT_SECONDS)
    with server:
        if mail.security == "StartTLS":
            server.starttls(context=context)
        if policy.mail_login is not None:
            server.login(*policy.mail_login)
        server.send_message(message_for(policy, address, link))
