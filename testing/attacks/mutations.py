# SPDX-License-Identifier: Apache-2.0
"""Tokens changed at random, from a seed: bytes, parts, encodings, and claims and headers signed again.

Half of them carry a good signature: a verifier that is only ever shown broken signatures is never asked about
anything else. ES256 keeps the signing cheap.
"""

import json
from random import Random
from typing import Any

from testing.attacks.world import AUDIENCE, HOUR, NOW, SUBJECT, URL, claims, key, subject, token
from testing.tokens import b64, compact

# Times keep minutes away from each border, since the other libraries read the real clock.
ODD = [
    None,
    True,
    False,
    0,
    -1,
    "",
    "x",
    [],
    {},
    1.5,
    2**63,
    -(2**63),
    [1],
    [None],
    {"a": 1},
    "\0",
    "é",
    "\ud7ff",
]
# None that becomes too old or old enough while the judges are asked: each of them reads its clock for itself,
# and of a fraction of a second one makes less than another.
_OFFSETS = (-5 * HOUR, -HOUR - 0.5, -600, HOUR + 0.5, 5 * HOUR)
TIMES = [*(NOW + offset for offset in _OFFSETS), str(int(NOW)), [NOW], 1e300, 10**30]
VALUES: dict[str, list[Any]] = {
    "iss": [URL, URL + "/", URL[:-1], URL.upper(), [URL], "", ...],
    "aud": [
        AUDIENCE,
        [AUDIENCE],
        [AUDIENCE, "x"],
        ["x"],
        AUDIENCE[:-1],
        [],
        [AUDIENCE, 1],
        [[AUDIENCE]],
        "",
        ...,
    ],
    "exp": [*TIMES, ...],
    "iat": [*TIMES, ...],
    "nbf": [*TIMES, ...],
    "sub": [SUBJECT, SUBJECT + "x", "admin", SUBJECT + "\n", ...],
    "jti": ["a", ...],
    "kubernetes.io": [{}, {"namespace": "atlas-production"}, ...],
    "extra": ["x", {"a": [1, {"b": None}]}, 1e-7, 12345678901234567890],
}
HEADERS: dict[str, list[Any]] = {
    "alg": ["ES256", "RS256", "none", "HS256", "ES384", "es256", ["ES256"], ...],
    "kid": ["es256", "rsa", "es384", "", "x", ["es256"], ...],
    "typ": ["JWT", "jwt", "at+jwt", "JOSE", ...],
    "crit": [["exp"], [], ["b64"], "exp"],
    "b64": [False, True],
    "jwk": [{}, None],
    "jku": ["https://x.example"],
    "x5c": [["AAAA"]],
    "x5t": ["AAAA"],
    "zip": ["DEF"],
    "enc": ["A256GCM"],
    "cty": ["JWT"],
    "note": ["x"],
}
NOISE = b'ABCabc019-_+/=. \n\0\x7f\x80\xff%,"{}'


class Mutator:
    """Gives one mutated token after the other; the same seed gives the same changes."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.good = [token(kid) for kid in ("rsa", "es256", "es384", "es512") for _ in range(4)]
        self.signed: list[bytes] = list(self.good)

    def next(self) -> bytes:
        """One token."""
        choice = self.random.random()
        if choice < 0.5:
            signed = self.resigned()
            if len(self.signed) < 2000:
                self.signed.append(signed)
            return signed
        if choice < 0.75:
            return self.noisy(self.random.choice(self.good))
        if choice < 0.85:
            return self.crossed()
        return self.loose(self.random.choice(self.signed))

    def resigned(self) -> bytes:
        """Other claims, another header, other JSON: with a signature that holds."""
        random = self.random
        members: dict[str, Any] = {"alg": "ES256", "kid": "es256"}
        changed = claims()
        if random.random() < 0.3:
            self.change(members, HEADERS)
        for _ in range(random.randrange(3)):
            self.change(changed, VALUES)
        if random.random() < 0.1:
            changed |= subject(
                random.choice(["a", "atlas-production"]), random.choice(["b", "suspended", "expired"])
            )
        head, body = compact(members), compact(changed)
        if random.random() < 0.3:
            body = self.respelled(body)
        if random.random() < 0.05:
            head = self.respelled(head)
        return key("es256").sign(head, body)

    def change(self, document: dict[str, Any], values: dict[str, list[Any]]) -> None:
        """Set, replace or remove one member."""
        random = self.random
        name = random.choice(list(values))
        value = random.choice(values[name] if random.random() < 0.7 else ODD)
        if value is ...:
            document.pop(name, None)
        else:
            document[name] = value

    def respelled(self, text: bytes) -> bytes:
        """The same JSON in other words, or nearly."""
        random = self.random
        document = json.loads(text)
        names = list(document)
        random.shuffle(names)
        name = random.choice(names) if names else "x"
        member = json.dumps({name: document.get(name)})[1:-1].encode()
        match random.randrange(10):
            case 0:
                return json.dumps(document, indent=random.randrange(3)).encode()
            case 1:
                return compact({each: document[each] for each in names})
            case 2:
                return text[:-1] + b"," + member + b"}"
            case 3:
                escaped = "".join(f"\\u{ord(character):04x}" for character in name)
                return text.replace(f'"{name}"'.encode(), f'"{escaped}"'.encode(), 1)
            case 4:
                return text + random.choice([b" ", b"\n", b"\0", b"x", text])
            case 5:
                return random.choice([b"\xef\xbb\xbf", b" ", b"\t\r\n"]) + text
            case 6:
                return (
                    text[:-1]
                    + b',"x":'
                    + random.choice([b"NaN", b"1e999", b"-0", b"01", b"'a'", b'"\\ud800"'])
                    + b"}"
                )
            case 7:
                return text.decode().encode(random.choice(["utf-16", "utf-16-le", "utf-32"]))
            case 8:
                return json.dumps(document).replace("00,", "00.0,").encode()
        return self.noisy(text)

    def noisy(self, data: bytes) -> bytes:
        """A bit flipped, bytes put in, replaced or taken out."""
        random = self.random
        for _ in range(random.choice([1, 1, 1, 2, 5])):
            place = random.randrange(len(data) + 1)
            byte = bytes([random.choice(NOISE)])
            match random.randrange(4):
                case 0 if place < len(data):
                    data = data[:place] + bytes([data[place] ^ 1 << random.randrange(8)]) + data[place + 1 :]
                case 1:
                    data = data[:place] + byte + data[place:]
                case 2:
                    data = data[:place] + byte + data[place + 1 :]
                case _:
                    data = data[:place] + data[place + random.randrange(1, 4) :]
        return data

    def crossed(self) -> bytes:
        """Parts of several tokens, or in another order."""
        random = self.random
        parts = [random.choice(self.signed).split(b".")[index] for index in range(3)]
        if random.random() < 0.3:
            random.shuffle(parts)
        if random.random() < 0.2:
            parts = parts[: random.randrange(4)] + [b"AAAA"] * random.randrange(3)
        return b".".join(parts)

    def loose(self, data: bytes) -> bytes:
        """Another text for the same bytes, for a decoder that is not strict."""
        random = self.random
        parts = data.split(b".")
        index = random.randrange(len(parts))
        part = parts[index]
        match random.randrange(7):
            case 0:
                part += b"=" * (-len(part) % 4)
            case 1:
                part = part.replace(b"-", b"+").replace(b"_", b"/")
            case 2:
                part = part[:-1] + b64(bytes([random.randrange(256)] * 3))[:1].encode()
            case 3:
                part += random.choice([b"=", b"==", b"A", b"\n", b" ", b"%3D"])
            case 4:
                place = random.randrange(len(part) + 1)
                part = part[:place] + random.choice([b"\n", b" ", b"\r\n", b"=", b"\0", b"*"]) + part[place:]
            case 5:
                part = b" " + part
            case _:
                part = b""
        parts[index] = part
        return b".".join(parts)
