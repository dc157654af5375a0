# SPDX-License-Identifier: Apache-2.0
"""What a caller is told when a request does not get through to the app: its trouble, and never a refusal."""

from watchword.gate.responses import Answer, problem
from watchword.process.logs import LOGGER


def unfit(why: str) -> Answer:
    """The answer to a request that cannot be passed on as it came."""
    detail = f"It cannot be passed on to the app unchanged: {why}."
    return problem(400, "The request cannot be passed on.", detail, reason="unfit_request")


def trouble(what: str, status: int, title: str, detail: str) -> Answer:
    """The answer for an app that gave none; `what` names the trouble, for people and for programs."""
    return problem(status, title, detail, [(b"x-watchword-upstream", what.encode())], upstream=what)


def explain(what: str, authority: str, answer_seconds: float, protocol: str) -> Answer:
    """The answer to a request that got none from the app.

    Args:
        what: `unreachable`, `timeout` or `broken`.
        authority: HOST:PORT of the app.
        answer_seconds: how long it could take.
        protocol: what it is expected to speak.
    """
    if what == "unreachable":
        detail = f"Nothing answers at {authority}. Check that the app listens there; this is no refusal."
        return trouble(what, 502, "The app behind the gate cannot be reached.", detail)
    if what == "timeout":
        detail = f"The app sent nothing for {answer_seconds:.0f} seconds (--upstream-timeout-seconds)."
        return trouble(what, 504, "The app behind the gate did not answer in time.", detail)
    detail = f"The app closed the connection, or answered with something that is not {protocol}."
    return trouble("broken", 502, "The app behind the gate did not answer.", detail)


def http2_only() -> Answer:
    """The answer to a request in HTTP/1.1 for an app that speaks HTTP/2 alone."""
    detail = "It is behind --upstream h2c://, so call it with HTTP/2 from the first byte, as gRPC does."
    return problem(505, "The app speaks HTTP/2 only.", detail, reason="http2_only")


def too_slow(seconds: float) -> Answer:
    """The answer to a caller who stopped to send in the middle of its body."""
    detail = f"Nothing of the body came for {seconds:.0f} seconds (--upload-timeout-seconds)."
    return problem(408, "The body came too slowly.", detail, reason="body_too_slow")


def too_many() -> Answer:
    """The answer where more is passed on at once than a gate keeps account of."""
    detail = "The gate passes on as many requests as it can. Nothing of this one reached the app."
    return problem(503, "Too many requests are under way.", detail, [(b"retry-after", b"1")])


def note(what: str, error_type: str = "", *, is_begun: bool = False) -> None:
    """Write the trouble down; `is_begun`: the caller has a part of the answer already."""
    LOGGER.warning(
        "upstream trouble",
        extra={"upstream": what, "error_type": error_type, "answer_begun": is_begun},
    )
