# SPDX-License-Identifier: Apache-2.0
"""One request and its answer on a connection: what the connection asks of it, and the one by an application.

The connection reads and frames; an exchange holds the body until it is taken, and writes the answer. The
mistake to prevent is a body that is read on because the network has more, while no one takes it.
"""

from typing import TYPE_CHECKING, Protocol

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent


class BoundedFlow(FlowControl):
    """Flow control that does not read on while what was read already waits for its turn.

    Attributes:
        is_held: enough further requests wait.
        is_full: whatever takes the present body takes no more for now.
    """

    is_held = is_full = False

    def resume_reading(self) -> None:
        """Read on, unless there is enough to do."""
        if not (self.is_held or self.is_full):
            super().resume_reading()


class Exchange(Protocol):
    """One request and its answer, as their connection sees them.

    Attributes:
        response_started: a byte of the final answer was written.
        response_complete: all of it was.
        keep_alive: another request may follow on the connection.
    """

    response_started: bool
    response_complete: bool
    keep_alive: bool

    def held_bytes(self) -> int:
        """How many bytes wait here."""

    def take_body(self, body: bytes) -> None:
        """Take a part of the request's body."""

    def take_end(self) -> None:
        """Note that the request is whole."""

    def drop_caller(self) -> None:
        """Answer no more: the caller is gone, or the rest of its request cannot be read."""

    def slow_down(self) -> None:
        """Hold no more than is held by now, as far as that can be helped."""

    def go_on(self) -> None:
        """Write on: the caller takes more again."""


class BoundedCycle(RequestResponseCycle):
    """One request and its answer, by the application.

    Attributes:
        is_last: its connection ends behind it, and not at once: a part of its body has not been read, and a
            kernel that closes with bytes unread resets the connection, so that the answer may be lost.
    """

    flow: BoundedFlow
    is_last = False

    def held_bytes(self) -> int:
        """How many bytes of the body wait for the application."""
        return len(self.body)

    def take_body(self, body: bytes) -> None:
        """Keep a part of the body for the application."""
        self.body += body
        if len(self.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        self.message_event.set()

    def take_end(self) -> None:
        """Let the application know that this is all."""
        self.more_body = False
        self.message_event.set()

    def drop_caller(self) -> None:
        """Let the application know that the caller is gone."""
        self.disconnected = True
        self.message_event.set()

    def slow_down(self) -> None:
        """Read no more until the application took what is there."""
        self.flow.pause_reading()

    def go_on(self) -> None:
        """Nothing: the application waits for its turn in `send`."""

    async def send(self, message: "ASGISendEvent") -> None:
        """Send a part of the answer; without the body that was announced, it is the connection's last."""
        if self.waiting_for_100_continue and not self.response_started:
            # Whether the body comes all the same is the caller's choice (RFC 9110, section 10.1.1).
            self.keep_alive = False
        is_end = message["type"] == "http.response.body" and not message.get("more_body", False)
        if is_end and not self.keep_alive and self.more_body:
            # uvicorn would close at once.
            self.is_last = self.keep_alive = True
        await super().send(message)
