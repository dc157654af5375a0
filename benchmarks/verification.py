# SPDX-License-Identifier: Apache-2.0
"""What a whole decision costs next to the one thing that no one can leave out: verifying the signature.

Each round times the bare verification of `cryptography`, ours and PyJWT's `decode` one after the other, on
the same token; the ratio of a round is free of what else the machine was doing.
"""

import statistics
import time
from collections.abc import Callable

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from benchmarks.table import markdown
from testing.tokens import AUDIENCE, NOW, URL, Signer, policy, token
from watchword.identity import Identity, verify

ROUNDS, CALLS = 81, 200


def run() -> str:
    """RS256 and ES256: microseconds, and the ratio to bare verification."""
    rows = []
    for algorithm in ("RS256", "ES256"):
        signer = Signer("bench", algorithm)
        given, rules = token(signer), policy(signer)
        assert isinstance(verify(given, rules, NOW), Identity)
        contestants = {
            "bare": _bare(signer, given),
            "watchword": lambda given=given, rules=rules: verify(given, rules, NOW),
            "PyJWT": lambda given=given, signer=signer: _pyjwt(signer, given),
        }
        rounds = [{name: _time(call) for name, call in contestants.items()} for _ in range(ROUNDS)]
        for name in contestants:
            microseconds = statistics.median(each[name] for each in rounds)
            ratio = statistics.median(each[name] / each["bare"] for each in rounds)
            rows.append((algorithm, name, f"{microseconds:.1f}", f"{ratio:.2f}"))
    return markdown(("algorithm", "what", "µs a token (median)", "ratio to bare verification"), rows)


def _bare(signer: Signer, given: bytes) -> Callable[[], object]:
    signed, _, signature_part = given.rpartition(b".")
    signature = jwt.utils.base64url_decode(signature_part)
    public = signer.private.public_key()
    if signer.algorithm == "RS256":
        scheme, digest = padding.PKCS1v15(), hashes.SHA256()
        return lambda: public.verify(signature, signed, scheme, digest)
    der = encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))
    ecdsa = ec.ECDSA(hashes.SHA256())
    return lambda: public.verify(der, signed, ecdsa)


def _pyjwt(signer: Signer, given: bytes) -> object:
    options = {"verify_exp": False, "verify_iat": False, "verify_nbf": False, "require": ["exp", "iat"]}
    key = signer.private.public_key()
    return jwt.decode(
        given, key, algorithms=[signer.algorithm], audience=AUDIENCE, issuer=URL, options=options
    )


def _time(call: Callable[[], object]) -> float:
    # CPU time of this thread: it does not count the time in which someone else had the core.
    start = time.thread_time()
    for _ in range(CALLS):
        call()
    return (time.thread_time() - start) / CALLS * 1e6
