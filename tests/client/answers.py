# SPDX-License-Identifier: Apache-2.0
"""What a gate answers, in the forms that reach a caller; the shapes are those of DESIGN 5."""

import json

from tests.client.server import Answer, Answers, Received

PROBLEM: dict[str, object] = {
    "type": "https://watchword.dev/reasons/expired",
    "title": "The token has expired.",
    "status": 401,
    "detail": "The token expired 12 seconds ago.",
    "reason": "expired",
    "decision_id": "d-42",
    "remedy": "Re-read the token file before each request.",
}
CHALLENGE = (
    'Bearer realm="watchword", error="invalid_token", reason="expired", error_description="It expired."'
)


def refusal(status: int = 401, **members: object) -> Answer:
    problem = PROBLEM | {"status": status} | members
    return Answer(
        status,
        {"content-type": "application/problem+json", "x-watchword-reason": str(problem["reason"])},
        json.dumps(problem).encode(),
    )


def only(token: str) -> Answers:
    """Let one token in, and refuse all else as a gate does."""

    def answer(request: Received) -> Answer:
        if request.authorization == f"Bearer {token}":
            return Answer()
        if request.authorization is None:
            return refusal(reason="missing_credential", detail="There is no Authorization header.")
        return refusal()

    return answer
