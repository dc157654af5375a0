# SPDX-License-Identifier: Apache-2.0
"""What a connection to the app serves: one request, whichever protocol its caller speaks."""

from typing import TYPE_CHECKING, Protocol

from watchword.process.http_response_parser import ResponseParser

if TYPE_CHECKING:
    from watchword.gate.proxy.upstream_connection import UpstreamConnection


class UpstreamExchange(Protocol):
    """A request on its way, as the app's side sees it.

    Attributes:
        pool: names the connections to the app that may serve it: those of one workload.
    """

    pool: bytes

    def __hash__(self) -> int:
        """By itself."""

    def attach(self, connection: "UpstreamConnection") -> None:
        """Send what waits by a connection that nothing is under way on."""

    def fill(self) -> None:
        """The app takes no more for now."""

    def drain(self) -> None:
        """The app takes more again."""

    def take_answer_head(self, parser: ResponseParser) -> None:
        """Begin the answer; raises BadRequestError where it is none to this request."""

    def take_answer_body(self, body: bytes) -> None:
        """Take a part of the answer; `flush` follows."""

    def flush(self) -> None:
        """Pass on what was taken of the answer."""

    def finish(self) -> None:
        """End the answer that is whole."""

    def lose(self, *, why: str, can_retry: bool = False) -> None:
        """Go on without the connection, which ended."""

    def fail(self, what: str, error_type: str = "") -> None:
        """Tell the caller of the app's trouble."""

    def look(self, now: float) -> None:
        """End what takes too long, in seconds of the loop's clock."""
