# SPDX-License-Identifier: Apache-2.0
"""What a caller is told when a request does not get through to the app: its trouble, and never a refusal."""

from watchword.gate.answers import Answer, problem
from watchword.process.logs import LOGGER


def unfit(why: str) -> Answer:
    """The answer to a request that cannot be passed on as it came."""
    detail = f"It cannot be passed on to the app unchanged: {why}."
    return problem(400, "The request cannot be passed on.", detail, reason="unfit_request")


def trouble(what: str, status: int, title: str, detail: str) -> Answer:
    """The answer for an app that gave none; `what` names the trouble, for people and for programs."""
    return problem(status, title, detail, [(b"x-watchword-upstream", what.encode())], upstream=what)


def note(what: str, error_type: str = "", *, is_begun: bool = False) -> None:
    """Write the trouble down; `is_begun`: the caller has a part of the answer already."""
    LOGGER.warning(
        "upstream trouble",
        extra={"upstream": what, "error_type": error_type, "answer_begun": is_begun},
    )
