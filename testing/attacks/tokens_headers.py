# SPDX-License-Identifier: Apache-2.0
"""T4 and T10: headers that change what is signed, and tokens that are not signed JSON at all."""

import zlib
from functools import partial
from typing import Any

from testing.attacks.case import Case, cases
from testing.attacks.world import key, payload, token
from testing.tokens import b64, compact


def detached(**header: Any) -> bytes:
    """RFC 7515, appendix F: the payload is left out of the text that was signed."""
    head, _, signature = token(header=header).split(b".")
    return head + b".." + signature


def unencoded() -> bytes:
    """RFC 7797: the payload is signed as it is."""
    head = b64(compact({"alg": "RS256", "kid": "rsa", "b64": False, "crit": ["b64"]})).encode()
    signed = head + b"." + b64(payload()).encode()
    return signed + b"." + b64(key("rsa").signature(head + b"." + payload())).encode()


CRITICAL = [
    *cases(
        "T4",
        "unsupported_header",
        [
            (f"crit {value!r}", partial(token, header={"crit": value}))
            for value in (
                ["urn:example:unknown"],
                [],
                ["exp"],
                ["alg"],
                ["b64"],
                ["exp", "exp"],
                "exp",
                None,
                False,
                {},
                [1],
                ["http://example.invalid/UNDEFINED"],
                [""],
            )
        ],
    ),
    *cases(
        "T4",
        "unsupported_header",
        [
            ("b64 false", partial(token, header={"b64": False})),
            ("b64 true", partial(token, header={"b64": True})),
            ("b64 false with crit", partial(token, header={"b64": False, "crit": ["b64"]})),
            ("b64 false, signed unencoded", unencoded),
            ("typ at+jwt", partial(token, header={"typ": "at+jwt"})),
            ("typ in lower case", partial(token, header={"typ": "jwt"})),
            ("typ JOSE", partial(token, header={"typ": "JOSE"})),
            ("typ a list", partial(token, header={"typ": ["JWT"]})),
            ("typ null", partial(token, header={"typ": None})),
            ("typ with a space", partial(token, header={"typ": "JWT "})),
        ],
    ),
    *cases(
        "T4",
        "malformed_token",
        [
            ("detached payload", detached),
            ("detached payload with b64 false", partial(detached, b64=False, crit=["b64"])),
            ("crit twice", lambda: token(header=b'{"alg":"RS256","kid":"rsa","crit":["b64"],"crit":[]}')),
            (
                "JSON serialization instead of compact",
                lambda: compact(
                    dict(zip(("protected", "payload", "signature"), token().decode().split("."), strict=True))
                ),
            ),
        ],
    ),
]


def five_parts(**header: Any) -> bytes:
    head = b64(compact({"alg": "RSA-OAEP", "enc": "A256GCM", "kid": "rsa"} | header))
    return f"{head}.{b64(b'k' * 256)}.{b64(b'i' * 12)}.{b64(b'c' * 99)}.{b64(b't' * 16)}".encode()


def squeezed() -> bytes:
    return zlib.compress(payload())[2:-4]


ENCRYPTED = [
    *cases(
        "T10",
        "malformed_token",
        [
            ("five parts", five_parts),
            ("five parts, direct key", partial(five_parts, alg="dir")),
            (
                "five parts, a password and a million rounds",
                partial(five_parts, alg="PBES2-HS256+A128KW", p2c=10**6),
            ),
            ("five parts, compressed", partial(five_parts, zip="DEF")),
            ("five parts, an empty key", lambda: five_parts().replace(b"." + b64(b"k" * 256).encode(), b".")),
            ("five parts with an allowed alg", partial(five_parts, alg="RS256")),
        ],
    ),
    *cases(
        "T10",
        "unsupported_header",
        [
            ("zip DEF", partial(token, header={"zip": "DEF"})),
            ("zip DEF over a compressed payload", lambda: token(header={"zip": "DEF"}, body=squeezed())),
            ("zip NONE", partial(token, header={"zip": "NONE"})),
            ("zip null", partial(token, header={"zip": None})),
            (
                "zip over a bomb",
                lambda: token(header={"zip": "DEF"}, body=zlib.compress(b" " * 2_000_000)[2:-4]),
            ),
            ("enc in a signed token", partial(token, header={"enc": "A256GCM"})),
        ],
    ),
    *cases(
        "T10",
        "malformed_claims",
        [
            ("a compressed payload", lambda: token(body=squeezed())),
            ("a nested token", lambda: token(body=token())),
            ("a nested token with cty", lambda: token(header={"cty": "JWT"}, body=token())),
        ],
    ),
]

TOKENS: list[Case[bytes]] = [*CRITICAL, *ENCRYPTED]
