# SPDX-License-Identifier: Apache-2.0
"""What is fuzzed: each place where bytes of a stranger are parsed, with the promise that it must keep.

Not crashing is the least of it: a target also holds that an answer is one of the allowed kinds, and that what
was accepted can be said again.
"""

from collections import Counter
from collections.abc import Callable

from watchword.identity import (
    MAX_KEYS_OF_KID,
    Identity,
    KeySet,
    Policy,
    Refusal,
    examine,
    load_jwks,
    verify,
)
from watchword.kube.watch.answer import AnswerParser, LineSplitter
from watchword.kube.watch.problems import WatchError
from watchword.trust import (
    BundleError,
    compile_resources,
    decode_bundle,
    encode_bundle,
    load,
    parse_manifests,
)
from watchword.usage import BATCHED, STRUCTURED, BodyProblem, Event, EventProblem, parse_events

Target = Callable[[bytes], None]


def token_target(policy: Policy, now: float) -> Target:
    """Tokens: an identity or a refusal, and the explanation agrees."""

    def run(data: bytes) -> None:
        decision = verify(data, policy, now)
        assert isinstance(decision, Identity | Refusal)
        assert examine(data, policy, now).decision == decision

    return run


def claims_target(sign: Callable[[bytes], bytes], policy: Policy, now: float) -> Target:
    """Payloads under a good signature: what a hostile cluster could sign."""

    def run(data: bytes) -> None:
        assert isinstance(verify(sign(data), policy, now), Identity | Refusal)

    return run


def jwks_target(data: bytes) -> None:
    """Key sets: keys and problems, and each key's own name and thumbprint."""
    found = load_jwks(data)
    assert isinstance(found, KeySet)
    assert len({(key.kid, key.thumbprint) for key in found.keys}) == len(found.keys)
    assert all(count <= MAX_KEYS_OF_KID for count in Counter(key.kid for key in found.keys).values())
    assert all(len(key.thumbprint) == 43 for key in found.keys)


def bundle_target(data: bytes) -> None:
    """Bundles: a ruleset or a problem, and the same bytes again."""
    try:
        bundle = decode_bundle(data)
        ruleset = load(bundle)
    except BundleError:
        return
    assert decode_bundle(encode_bundle(bundle)) == bundle
    ruleset.routes.match("GET", data[:100])


def manifest_target(data: bytes) -> None:
    """Manifests: resources and problems, compiled, and each bundle loads."""
    read = parse_manifests([("fuzz.yaml", data)])
    made = compile_resources(read.resources)
    assert all(str(problem) for problem in (*read.problems, *made.problems))
    for bundle in made.bundles:
        load(decode_bundle(encode_bundle(bundle)))


def event_target(now: float) -> Target:
    """Usage events in all three modes, chosen by the first byte."""

    def run(data: bytes) -> None:
        mode = data[:1]
        headers: list[tuple[bytes, bytes]] = [(b"content-type", BATCHED.encode())]
        if mode == b"{":
            headers = [(b"content-type", STRUCTURED.encode())]
        elif mode == b"#":
            lines = data[1:].split(b"\n\n", 1)
            headers = [pair for line in lines[0].split(b"\n") if len(pair := tuple(line.split(b":", 1))) == 2]
            data = lines[1] if len(lines) > 1 else b""
        answer = parse_events(data, headers, now)
        if not isinstance(answer, BodyProblem):
            assert all(isinstance(each, Event | EventProblem) for each in answer)

    return run


def answer_target(data: bytes) -> None:
    """Answers of an API server: a problem, or the same body however the bytes were cut."""
    assert _answered(data, len(data) or 1) == _answered(data, 1 + len(data) // 3)


def _answered(data: bytes, size: int) -> tuple[int, bytes, list[bytes]] | None:
    parser, splitter, body, lines = AnswerParser(), LineSplitter(max_bytes=4096), b"", list[bytes]()
    try:
        for start in range(0, len(data), size):
            parser.feed(data[start : start + size])
            for piece in parser.body():
                body += piece
                lines += splitter.feed(piece)
    except WatchError:
        return None
    return parser.status, body, lines
