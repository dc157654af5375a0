# SPDX-License-Identifier: Apache-2.0
"""T8, T9 and T12: bytes that cost, bytes that mean the same as others, and two copies that disagree."""

from collections.abc import Callable
from functools import partial

from testing.attacks.case import Case, cases
from testing.attacks.world import SUBJECT, URL, claims, key, payload, token
from testing.tokens import b64, compact

ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def with_header(header: bytes) -> bytes:
    """An unsigned token: the header is refused before the signature is looked at."""
    return f"{b64(header)}.{b64(payload())}.AAAA".encode()


COST = [
    *cases(
        "T8",
        "token_too_large",
        [
            ("a million dots", lambda: b"." * 1_000_000),
            ("8 KiB and a byte", lambda: b"A" * (8 * 1024 + 1)),
            ("a long good token", lambda: token(padding="x" * 8192)),
            ("16 MiB of one letter", lambda: b"A" * (16 * 1024 * 1024)),
            ("a long header", lambda: token(header={"note": "x" * 8192})),
            ("a long signature", lambda: token() + b"A" * 8192),
        ],
    ),
    *cases(
        "T8",
        "malformed_token",
        [
            ("8 KiB of dots", lambda: b"." * 8192),
            ("one dot", lambda: b"."),
            ("two dots", lambda: b".."),
            ("three dots", lambda: b"..."),
            ("one part", lambda: b64(payload()).encode()),
            ("two parts", lambda: token().rsplit(b".", 1)[0]),
            ("four parts", lambda: token() + b".AAAA"),
            ("a leading dot", lambda: b"." + token()),
            ("a trailing dot", lambda: token() + b"."),
            ("8 KiB of one letter", lambda: b"A" * 8192),
            ("a header of 5 KiB of brackets", lambda: with_header(b"[" * 5000)),
            ("a header of nested objects", lambda: with_header(b'{"alg":' * 700)),
            ("a deep but closed header", lambda: with_header(b'{"a":' + b"[" * 2400 + b"]" * 2400 + b"}")),
            ("a header with a huge integer", lambda: with_header(b'{"alg":' + b"9" * 4800 + b"}")),
            ("a header with 1e400", lambda: with_header(b'{"alg":"RS256","kid":"rsa","n":1e400}')),
            ("a header with NaN", lambda: with_header(b'{"alg":"RS256","kid":"rsa","n":NaN}')),
            (
                "a header with a repeated name",
                lambda: with_header(b'{"alg":"RS256","kid":"rsa","kid":"rsa"}'),
            ),
            (
                "a header with a repeated inner name",
                lambda: with_header(b'{"alg":"RS256","kid":"rsa","x":{"a":1,"a":2}}'),
            ),
            ("a header that is a list", lambda: with_header(b'["RS256"]')),
            ("a header that is a string", lambda: with_header(b'"RS256"')),
            ("a header that is null", lambda: with_header(b"null")),
            ("an empty JSON header text", lambda: with_header(b" ")),
            ("a header of two objects", lambda: with_header(b'{"alg":"RS256"}{"kid":"rsa"}')),
            ("a header in UTF-16", lambda: with_header('{"alg":"RS256","kid":"rsa"}'.encode("utf-16"))),
            (
                "a header after a byte order mark",
                lambda: with_header(b'\xef\xbb\xbf{"alg":"RS256","kid":"rsa"}'),
            ),
            ("a header that is not UTF-8", lambda: with_header(b'{"alg":"RS256","kid":"\xff"}')),
            ("a header with half a surrogate pair", lambda: with_header(b'{"alg":"RS256","kid":"\\ud800"}')),
            ("a header with a trailing comma", lambda: with_header(b'{"alg":"RS256","kid":"rsa",}')),
            ("a header with a comment", lambda: with_header(b'{"alg":"RS256"/**/,"kid":"rsa"}')),
            ("a header in single quotes", lambda: with_header(b"{'alg':'RS256','kid':'rsa'}")),
            (
                "a header with a raw line break in a string",
                lambda: with_header(b'{"alg":"RS256","kid":"rs\na"}'),
            ),
            ("bytes of every value", lambda: bytes(range(256))),
            ("an empty token", lambda: b""),
        ],
    ),
    *cases(
        "T8",
        "malformed_claims",
        [
            ("a payload of 5 KiB of brackets", lambda: token(body=b"[" * 5000)),
            ("a payload of nested objects", lambda: token(body=b'{"a":' * 1000)),
            (
                "a payload with deep extras",
                lambda: token(body=payload()[:-1] + b',"x":' + b"[" * 2000 + b"]" * 2000 + b"}"),
            ),
            (
                "a payload with a huge integer",
                lambda: token(body=payload()[:-1] + b',"x":' + b"9" * 4500 + b"}"),
            ),
            (
                "exp a huge integer",
                lambda: token(body=compact(claims(exp=...))[:-1] + b',"exp":' + b"9" * 4000 + b"}"),
            ),
            ("a payload that is a list", lambda: token(body=b"[]")),
            ("a payload that is null", lambda: token(body=b"null")),
            ("a payload that is a string", lambda: token(body=b'"' + SUBJECT.encode() + b'"')),
            ("a payload of zeros", lambda: token(body=b"\0" * 64)),
            ("a payload that is not UTF-8", lambda: token(body=payload().replace(b"atlas-0", b"atlas-\xff"))),
            (
                "a payload with half a surrogate pair",
                lambda: token(body=payload().replace(b"atlas-0", b"\\udc00")),
            ),
            ("a payload in UTF-16", lambda: token(body=payload().decode().encode("utf-16"))),
            ("a payload after a byte order mark", lambda: token(body=b"\xef\xbb\xbf" + payload())),
            ("a payload cut short", lambda: token(body=payload()[:-1])),
        ],
    ),
]


def each_part(change: Callable[[bytes], bytes]) -> list[tuple[str, Callable[[], bytes]]]:
    """The change on the header, the payload and the signature of a token that is otherwise good."""

    def build(index: int) -> bytes:
        parts = token().split(b".")
        parts[index] = change(parts[index])
        return b".".join(parts)

    return [(name, partial(build, index)) for index, name in enumerate(("header", "payload", "signature"))]


def standard_alphabet(part: bytes) -> bytes:
    """The other alphabet, certainly visible."""
    return part[:4] + b"+/" + part[6:]


LOOSE: dict[str, Callable[[bytes], bytes]] = {
    "padded": lambda part: part + b"=",
    "padded twice": lambda part: part + b"==",
    "percent-encoded padding": lambda part: part + b"%3D",
    "a space in front": lambda part: b" " + part,
    "a space behind": lambda part: part + b" ",
    "a line break behind": lambda part: part + b"\r\n",
    "a line break inside": lambda part: part[:8] + b"\r\n" + part[8:],
    "a tab inside": lambda part: part[:8] + b"\t" + part[8:],
    "a NUL inside": lambda part: part[:8] + b"\0" + part[8:],
    "the standard alphabet": standard_alphabet,
    "a plus for one letter": lambda part: part[:5] + b"+" + part[6:],
    "an equals sign inside": lambda part: part[:5] + b"=" + part[6:],
    "a byte over 127": lambda part: part[:5] + b"\xc3\xa9" + part[7:],
    "an impossible length": lambda part: part + b"A" * ((1 - len(part)) % 4),
}


def spare_bits(index: int) -> bytes:
    """A part whose last character carries bits that no byte holds: other text, same bytes."""
    for pad in ("", "x", "xx"):
        parts = token(header={"note": pad}, note=pad).split(b".")
        last = ALPHABET.index(parts[index][-1:])
        if len(parts[index]) % 4:
            parts[index] = parts[index][:-1] + ALPHABET[last + 1 : last + 2]
            return b".".join(parts)
    raise AssertionError("one of three lengths has spare bits")


LOOSE_ENCODING = cases(
    "T9",
    "malformed_token",
    [
        *((f"{part}: {name}", build) for name, change in LOOSE.items() for part, build in each_part(change)),
        ("header: spare bits", partial(spare_bits, 0)),
        ("payload: spare bits", partial(spare_bits, 1)),
        ("signature: spare bits", partial(spare_bits, 2)),
        ("header: empty", lambda: b"." + token().partition(b".")[2]),
        ("quoted", lambda: b'"' + token() + b'"'),
        ("a line break at the end", lambda: token() + b"\n"),
        ("Bearer said twice", lambda: b"Bearer " + token()),
        ("hexadecimal", lambda: b".".join(part.hex().encode() + b"=" for part in token().split(b"."))),
    ],
)


def swapped(take: tuple[int, int, int]) -> bytes:
    parts = token().split(b".")
    return b".".join(parts[index] for index in take)


def of_two(index: int) -> bytes:
    """A good token with one part of another good token, both of the same key."""
    parts, others = token().split(b"."), token(header={"note": "x"}, note="x").split(b".")
    parts[index] = others[index]
    return b".".join(parts)


def twice(first: bytes, second: bytes) -> bytes:
    """A payload that says something twice; each half would pass or fail alone."""
    return token(body=payload()[:-1] + b"," + first + b"," + second + b"}")


def bit_flipped(part: int, position: int) -> bytes:
    parts = token().split(b".")
    old = parts[part][position : position + 1]
    parts[part] = parts[part][:position] + (b"A" if old != b"A" else b"B") + parts[part][position + 1 :]
    return b".".join(parts)


def ecdsa(change: Callable[[bytes, bytes], bytes], kid: str = "es256") -> bytes:
    """An EC token whose R and S are rewritten."""
    head = token(kid).rpartition(b".")[0]
    raw = key(kid).signature(head)
    half = len(raw) // 2
    return head + b"." + b64(change(raw[:half], raw[half:])).encode()


ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def der(r: bytes, s: bytes) -> bytes:
    def integer(raw: bytes) -> bytes:
        body = raw.lstrip(b"\0")
        body = b"\0" + body if body[:1] >= b"\x80" else body
        return b"\x02" + bytes([len(body)]) + body

    body = integer(r) + integer(s)
    return b"\x30" + bytes([len(body)]) + body


TWO_COPIES = [
    *cases(
        "T12",
        "bad_signature",
        [
            ("the payload of another good token", partial(of_two, 1)),
            ("the signature of another good token", partial(of_two, 2)),
            ("the header of another good token", partial(of_two, 0)),
            ("a flipped bit in the payload", partial(bit_flipped, 1, 30)),
            ("a flipped bit in the signature", partial(bit_flipped, 2, 30)),
            (
                "a signature cut short",
                lambda: (
                    token().rpartition(b".")[0]
                    + b"."
                    + b64(key("rsa").signature(token().rpartition(b".")[0])[:-1]).encode()
                ),
            ),
            ("a signature with bytes behind", lambda: token("es256") + b"AAAA"),
            ("an RSA signature with bytes behind", lambda: token()[:-2] + b"AAAA"),
            ("a signature of zeros", lambda: token().rpartition(b".")[0] + b"." + b64(b"\0" * 256).encode()),
            ("a signature of one byte", lambda: token().rpartition(b".")[0] + b".AA"),
            (
                "a signature over other text",
                lambda: token().rpartition(b".")[0] + b"." + b64(key("rsa").signature(payload())).encode(),
            ),
            ("R and S both zero (CVE-2022-21449)", partial(ecdsa, lambda r, s: b"\0" * 64)),
            ("R zero", partial(ecdsa, lambda r, s: b"\0" * 32 + s)),
            ("S zero", partial(ecdsa, lambda r, s: r + b"\0" * 32)),
            ("R and S the order of the curve", partial(ecdsa, lambda r, s: ORDER.to_bytes(32) * 2)),
            ("R and S swapped", partial(ecdsa, lambda r, s: s + r)),
            ("R and S in DER", partial(ecdsa, der)),
            ("R alone", partial(ecdsa, lambda r, s: r)),
            ("R and S longer by zeros", partial(ecdsa, lambda r, s: b"\0" + r + b"\0" + s)),
            ("R and S of all ones", partial(ecdsa, lambda r, s: b"\xff" * 64)),
            ("ES384 with ES256's length", partial(ecdsa, lambda r, s: r[:32] + s[:32], "es384")),
            ("ES512 without its leading zeros", partial(ecdsa, lambda r, s: r[2:] + s[2:], "es512")),
        ],
    ),
    *cases(
        "T12",
        "malformed_token",
        [
            ("signature in front", partial(swapped, (2, 0, 1))),
            ("two tokens in one", lambda: token() + b"." + token()),
            ("two tokens by a comma", lambda: token() + b"," + token()),
        ],
    ),
    *cases(
        "T12",
        "unsupported_algorithm",
        [
            ("payload and header exchanged", partial(swapped, (1, 0, 2))),
            ("the payload in front", partial(swapped, (1, 2, 0))),
        ],
    ),
    *cases(
        "T12",
        "malformed_claims",
        [
            ("sub twice", partial(twice, b'"sub":"x"', b'"sub":"y"')),
            (
                "sub a second time, trusted",
                lambda: token(body=payload(sub="x")[:-1] + f',"sub":"{SUBJECT}"}}'.encode()),
            ),
            ("sub a second time, escaped", lambda: token(body=payload()[:-1] + b',"\\u0073ub":"x"}')),
            ("aud twice", lambda: token(body=payload()[:-1] + b',"aud":["x"]}')),
            ("exp twice", lambda: token(body=payload()[:-1] + b',"exp":99999999999}')),
            ("kubernetes.io twice", lambda: token(body=payload()[:-1] + b',"kubernetes.io":{}}')),
            (
                "an inner name twice",
                lambda: token(
                    body=payload().replace(
                        b'"namespace":"atlas-production"', b'"namespace":"x","namespace":"atlas-production"'
                    )
                ),
            ),
            ("an unknown name twice", partial(twice, b'"x":1', b'"x":1')),
            ("bytes behind the payload", lambda: token(body=payload() + b"x")),
            ("a second object behind the payload", lambda: token(body=payload() + payload())),
            ("a NUL behind the payload", lambda: token(body=payload() + b"\0")),
        ],
    ),
    *cases(
        "T12",
        "wrong_audience",
        [
            (
                "aud in the header, not in the payload",
                lambda: token(header={"aud": ["tuist-server"]}, aud=...),
            ),
        ],
    ),
    *cases(
        "T12",
        "not_a_service_account",
        [
            ("sub in the header, not in the payload", lambda: token(header={"sub": SUBJECT}, sub=...)),
        ],
    ),
    *cases(
        "T12",
        "wrong_issuer",
        [
            ("iss in the header, not in the payload", lambda: token(header={"iss": URL}, iss=...)),
        ],
    ),
    *cases(
        "T12",
        "missing_time",
        [
            ("exp in the header, not in the payload", lambda: token(header={"exp": 2**33}, exp=...)),
        ],
    ),
]

TOKENS: list[Case[bytes]] = [*COST, *LOOSE_ENCODING, *TWO_COPIES]
