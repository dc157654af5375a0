# SPDX-License-Identifier: Apache-2.0
"""The tokens that every contestant gets: as a cluster issues them, about 1 KB, RS256 by one RSA-2048 key.

Four kinds of load. Warm: one token, again and again. Mixed: 10,000 callers at random, and each tenth request
brings a caller's new token. Cold: every token new. Hostile: every token new, with the signature of another.
"""

import random
import struct
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from testing.gate_process import issuer, service, workload
from testing.tokens import AUDIENCE, URL, Signer, compact
from watchword.trust import compile_resources, encode_bundle, parse_manifests

CALLERS = 10_000
KINDS = ("warm", "mixed", "cold", "hostile")
# How many requests one turn of each kind has.
REQUESTS = {"warm": 40_000, "mixed": 20_000, "cold": 5_000, "hostile": 5_000}
LIFETIME_SECONDS = 6 * 3600
# kube-apiserver's own kid: base64url of a SHA-256.
_KID = "VvUqaJwyBVR5vRQ4wYcWqNbDXk8nBBZYq7GbiBFMvPk"


class World:
    """One cluster, its key, its callers, and the service that trusts them all."""

    def __init__(self) -> None:
        self.signer = Signer(_KID)
        self._random = random.Random(7)
        self._issued_at = int(time.time()) - 60
        self.callers = [self._token(number) for number in range(CALLERS)]

    @property
    def jwks(self) -> dict[str, Any]:
        """The key as its API server serves it."""
        return {"keys": [self.signer.jwk]}

    def bundle(self) -> bytes:
        """The gate's bundle, with a workload for each caller."""
        trusted = [workload(f"caller-{number}", "production", _account(number)) for number in range(CALLERS)]
        rules = service(token={"maxLifetimeSeconds": 86_400}, routes=[])
        objects = [issuer("production", self.jwks), rules, *trusted]
        parsed = parse_manifests((f"{place}.json", compact(each)) for place, each in enumerate(objects))
        compiled = compile_resources(parsed.resources)
        assert not (*parsed.problems, *compiled.problems), [*parsed.problems, *compiled.problems][:3]
        return encode_bundle(compiled.bundles[0])

    def fresh(self, count: int) -> list[bytes]:
        """Tokens that no one has seen."""
        return [self._token(self._random.randrange(CALLERS)) for _ in range(count)]

    def mixed(self, count: int) -> list[bytes]:
        """A stream of requests in which each tenth token is new, and its caller's from then on."""
        stream = []
        for number in range(count):
            caller = self._random.randrange(CALLERS)
            if number % 10 == 0:
                self.callers[caller] = self._token(caller)
            stream.append(self.callers[caller])
        return stream

    def _token(self, number: int) -> bytes:
        namespace, name = _account(number)
        claims = {
            "aud": [AUDIENCE],
            "exp": self._issued_at + LIFETIME_SECONDS,
            "iat": self._issued_at,
            "iss": URL,
            "jti": self._uuid(),
            "kubernetes.io": {
                "namespace": namespace,
                "node": {"name": "ip-10-0-12-34.eu-central-1.compute.internal", "uid": self._uuid()},
                "pod": {"name": f"{name}-7d9c5b6f4d-x2x7p", "uid": self._uuid()},
                "serviceaccount": {"name": name, "uid": self._uuid()},
            },
            "nbf": self._issued_at,
            "sub": f"system:serviceaccount:{namespace}:{name}",
        }
        return self.signer.sign(compact({"alg": "RS256", "kid": _KID}), compact(claims))

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))


def spoiled(tokens: Sequence[bytes]) -> list[bytes]:
    """Each with the signature of the next one: well-formed, and wrong here."""
    followers = [*tokens[1:], tokens[0]]
    return [
        mine.rpartition(b".")[0] + b"." + other.rpartition(b".")[2]
        for mine, other in zip(tokens, followers, strict=True)
    ]


def write_requests(folder: Path, tokens: Sequence[bytes], path: str) -> tuple[Path, Path]:
    """The two files that the load program reads: each request once, and the order in which they go out."""
    places: dict[bytes, int] = {}
    order = [places.setdefault(token, len(places)) for token in tokens]
    requests, sequence = folder / "requests.bin", folder / "order.bin"
    with requests.open("wb") as file:
        for token in places:
            head = b"GET %s HTTP/1.1\r\nHost: service.example\r\nUser-Agent: load\r\nAccept: */*\r\n"
            whole = head % path.encode() + b"Authorization: Bearer " + token + b"\r\n\r\n"
            file.write(struct.pack("<I", len(whole)) + whole)
    sequence.write_bytes(struct.pack(f"<{len(order)}I", *order))
    return requests, sequence


def _account(number: int) -> tuple[str, str]:
    return f"team-{number % 100}", f"caller-{number}"
