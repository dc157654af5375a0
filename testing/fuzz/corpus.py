# SPDX-License-Identifier: Apache-2.0
"""Where fuzzing starts: good inputs and hostile ones from the builders of the other tests.

A fuzzer that starts from nothing spends its minute on learning what a brace is.
"""

import json

from testing.attacks import events, manifests
from testing.attacks.keys import KEY_SETS, jwks
from testing.attacks.tokens_all import TOKENS
from testing.attacks.trust import FILES
from testing.attacks.world import claims, compact, key, token
from testing.fuzz import http2
from testing.usage_samples import envelope
from watchword.trust import compile_resources, encode_bundle, pack_bundle, parse_manifests

MAX_SEED_BYTES = 16 * 1024


def seeds(target: str) -> list[bytes]:
    """The corpus of a target."""
    return [seed for seed in _ALL[target]() if len(seed) <= MAX_SEED_BYTES]


def _tokens() -> list[bytes]:
    return [*(token(kid) for kid in ("rsa", "es256", "es384", "es512")), *(case.build() for case in TOKENS)]


def _claims() -> list[bytes]:
    return [
        compact(claims()),
        json.dumps(claims(), indent=1).encode(),
        compact(claims(aud="tuist-server", nbf=1.5)),
    ]


def _jwks() -> list[bytes]:
    good = [key(kid).jwk for kid in ("rsa", "es256", "es384", "es512")]
    return [jwks(*good), jwks(good[1]), *(case.build() for case in KEY_SETS)]


def _bundles() -> list[bytes]:
    made = compile_resources(parse_manifests([("world", manifests.text(*manifests.world()))]).resources)
    plain = [encode_bundle(bundle) for bundle in made.bundles]
    return [*plain, *(pack_bundle(each) for each in plain)]


def _manifests() -> list[bytes]:
    return [manifests.text(*manifests.world()), *(case.build() for case in FILES)]


def _events() -> list[bytes]:
    single = [json.dumps(case.build()).encode() for case in events.EVENTS] + [json.dumps(envelope()).encode()]
    attributes = b"ce-specversion:1.0\nce-id:1\nce-source:/ci\nce-type:a\nce-subject:b"
    binary = b"#content-type:application/json\n" + attributes + b"\n\n{}"
    return [*single, json.dumps([envelope(), envelope(id="2")]).encode(), b"[]", binary]


def _answers() -> list[bytes]:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n"
    line = b'{"type": "ADDED", "object": {"metadata": {"name": "a", "resourceVersion": "1"}}}\n'
    chunks = b"%x\r\n%s\r\n" % (len(line), line) * 3
    return [
        head + chunks + b"0\r\n\r\n",
        head + b"3;ext=1\r\nabc\r\n0\r\nTrailer: x\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + head + chunks,
        b"HTTP/1.1 410 Gone\r\nContent-Length: 14\r\n\r\n" + b'{"code": 410}\n',
        b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
    ]


_ALL = {
    "token": _tokens,
    "claims": _claims,
    "jwks": _jwks,
    "bundle": _bundles,
    "manifest": _manifests,
    "event": _events,
    "answer": _answers,
    "http2": http2.seeds,
}
