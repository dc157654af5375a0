# SPDX-License-Identifier: Apache-2.0
"""docs/reference/reasons.md: the checks in their order, and each reason with what to do about it."""

from watchword.identity import CHECKS, Reason

# The checks around those that the verifier runs: the gate's own, before and after.
_BEFORE = (
    (1, "a bundle is loaded", (Reason.NOT_READY,)),
    (2, "exactly one Bearer credential", (Reason.MISSING_CREDENTIAL, Reason.MALFORMED_CREDENTIAL)),
    (3, "the token is a compact JWS of at most 8 KiB", (Reason.TOKEN_TOO_LARGE, Reason.MALFORMED_TOKEN)),
)
_AFTER = (
    (
        16,
        "a desk did not take the token back; a route matches; its scope, account and project are granted",
        (
            Reason.REVOCATIONS_UNKNOWN,
            Reason.REVOKED,
            Reason.NO_ROUTE,
            Reason.AMBIGUOUS_QUERY,
            Reason.INSUFFICIENT_SCOPE,
            Reason.ACCOUNT_NOT_GRANTED,
            Reason.WRONG_PURPOSE,
            Reason.NOT_IN_TOKEN,
        ),
    ),
    (17, "the workload is within its rate", (Reason.RATE_LIMITED,)),
)


def page() -> str:
    """The page's text."""
    table = [*_BEFORE, *((check.number, check.name, check.reasons) for check in CHECKS), *_AFTER]
    lines = [
        "# My request was refused: the checks and their reasons",
        "",
        "Generated from the code (`make generate`). The checks run in this order; the first to fail is the",
        "answer: in the body's `reason`, in the header `X-Watchword-Reason`, and in the metric",
        "`watchword_decisions_total`. Nothing that a token says is used before its signature held (check 6).",
        "",
        "| # | what must be true | reasons |",
        "|---|---|---|",
    ]
    for number, name, reasons in table:
        links = ", ".join(f"[`{reason.code}`](#{reason.code})" for reason in reasons)
        lines.append(f"| {number} | {name} | {links} |")
    for reason in Reason:
        lines += [
            "",
            f"## {reason.code}",
            "",
            f"**{reason.status}.** {reason.summary}",
            "",
            f"What to do: {reason.remedy}",
        ]
    return "\n".join(lines) + "\n"
