# SPDX-License-Identifier: Apache-2.0
"""H12: headers that an app would honor in place of what was decided, each in the spellings that servers fold.

The names are from what frameworks, servers, proxies and identity providers document, and not from the table
that the gate filters by. None may reach the app; the good request that carries one does.
"""

from functools import partial

from testing.attacks.case import Case, cases
from testing.honored_headers import HONORED

# What the case is judged by: no refusal, and nothing of it at the app.
NOT_PASSED_ON = "not passed on"
VALUE = b"value-of-the-caller"


def _with_hyphens(name: str) -> str:
    return name.replace("_", "-")


SPELLINGS = {
    "as documented": lambda name: name,
    "with underscores": lambda name: _with_hyphens(name).replace("-", "_"),
    "in capitals, with dots": lambda name: _with_hyphens(name).replace("-", ".").upper(),
    "mixed": lambda name: _with_hyphens(name).swapcase().replace("-", "_", 1),
}


def line(name: str) -> bytes:
    """One header line."""
    return name.encode() + b": " + VALUE


# Lines with the caller's own token in a header that nothing drops by its name.
TOKEN_COPIES: list[Case[bytes]] = cases(
    "H15",
    NOT_PASSED_ON,
    [
        (f"the token in {text.partition(b':')[0].decode()}", partial(bytes, text))
        for text in (
            b"Cookie: session=1; access_token=%b",
            b"X-Api-Key: %b",
            b"X-Token: %b",
            b"X-Access-Token: Bearer %b",
            b"Api_Token: %b",
            b"Sec-WebSocket-Protocol: bearer, %b",
            b"User-Agent: curl %b",
            b"Referer: http://gate/?access_token=%b",
        )
    ],
)
HEADERS: list[Case[bytes]] = cases(
    "H12",
    NOT_PASSED_ON,
    [
        (f"{name} {how}", partial(line, spell(name)))
        for name in HONORED
        for how, spell in SPELLINGS.items()
        # A name of one word has no separator to spell.
        if how == "as documented" or "-" in _with_hyphens(name)
    ],
)
