# SPDX-License-Identifier: Apache-2.0
"""A request to `/authz` or one of its variants, taken apart: whose credential, and about which request.

All of it follows from the request's own bytes and from nothing else, so that the same bytes need not be taken
apart twice. Both ways to an answer (the protocol's short cut, the application) start from this one reading.
"""

from typing import Final

import msgspec

from watchword.gate.answers import Answer, problem
from watchword.gate.forwarded import Asked, RequestHeaders, original_request
from watchword.identity import Refusal, read_credential

PATH: Final = b"/authz"
_PREFIX: Final = PATH + b"/"
_ENDPOINTS: Final = "/authz, or /authz/ and nginx, traefik, caddy, or envoy and the path"


class Inquiry(msgspec.Struct, frozen=True):
    """What is asked.

    Attributes:
        credential: the token, or why the request has none that can be read.
        asked: the original request for a proxy; why the proxy did not say it; None where only the identity is
            asked for.
    """

    credential: bytes | Refusal
    asked: Asked | Refusal | None = None


def read_inquiry(method: str, target: bytes, headers: RequestHeaders) -> Inquiry | Answer | None:
    """Take a request apart.

    Args:
        method: its method.
        target: its raw request target.
        headers: its headers, names in lower case.

    Returns:
        The inquiry; the answer where there is no such endpoint below `/authz/`; None for all other paths.
    """
    path = target.partition(b"?")[0]
    if path == PATH:
        return Inquiry(read_credential(headers))
    if not path.startswith(_PREFIX):
        return None
    asked = original_request(path, target, method, headers)
    if asked is None:
        return problem(404, "There is no such endpoint.", f"Use {_ENDPOINTS}.")
    return Inquiry(read_credential(headers), asked)
