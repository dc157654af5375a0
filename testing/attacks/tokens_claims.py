# SPDX-License-Identifier: Apache-2.0
"""T5 to T7 and P1: well-signed tokens for someone else, for another time, or of someone else."""

from functools import partial
from typing import Any

from testing.attacks.case import Case, cases
from testing.attacks.world import AUDIENCE, HOUR, NOW, SUBJECT, URL, claims, compact, subject, token
from testing.tokens import kubernetes

AUDIENCES = [
    *cases(
        "T5",
        "wrong_audience",
        [
            (f"aud {name}", partial(token, aud=value))
            for name, value in {
                "missing": ...,
                "an empty list": [],
                "an empty string": "",
                "a list of an empty string": [""],
                "a prefix": AUDIENCE[:-1],
                "a longer name": AUDIENCE + "s",
                "in upper case": AUDIENCE.upper(),
                "with one capital": "Tuist-server",
                "with a space": AUDIENCE + " ",
                "with a line break": AUDIENCE + "\n",
                "with a NUL": AUDIENCE + "\0",
                "the API server's": [URL],
                "of a neighbour": ["tuist-server-staging"],
                "a wildcard": "*",
                "a comma-joined list": f"other,{AUDIENCE}",
                "a JSON list in a string": f'["{AUDIENCE}"]',
                "a URL of the service": f"https://{AUDIENCE}",
                "a pattern": "tuist.server",
                "with another dash": "tuist‐server",
            }.items()
        ],
    ),
    *cases(
        "T5",
        "malformed_claims",
        [
            (f"aud {name}", partial(token, aud=value))
            for name, value in {
                "a number": 7,
                "true": True,
                "null": None,
                "an object": {AUDIENCE: True},
                "a nested list": [[AUDIENCE]],
                "good beside a number": [AUDIENCE, 7],
                "good beside null": [AUDIENCE, None],
            }.items()
        ],
    ),
]


def raw(name: str, literal: bytes, **others: Any) -> bytes:
    """A claim written as no JSON library would write it."""
    marker = "\u0001here"
    body = compact(claims(**({name: marker} | others)))
    return token(body=body.replace(b'"\\u0001here"', literal))


TIMES = [
    *cases(
        "T6",
        "missing_time",
        [
            ("no exp", partial(token, exp=...)),
            ("no iat", partial(token, iat=...)),
            ("neither iat nor exp", partial(token, iat=..., exp=...)),
            ("no times at all", partial(token, iat=..., exp=..., nbf=...)),
            ("EXP for exp", partial(token, exp=..., EXP=NOW + 600)),
        ],
    ),
    *cases(
        "T6",
        "malformed_claims",
        [
            (f"{claim} {name}", partial(token, **{claim: value}))
            for claim in ("exp", "iat", "nbf")
            for name, value in {
                "a string": str(int(NOW) + 600),
                "a list": [int(NOW) + 600],
                "null": None,
                "true": True,
                "an object": {},
                "a date": "2030-01-01T00:00:00Z",
                "beyond 63 bits": 2**63,
                "a very negative number": -(2**64),
            }.items()
        ],
    ),
    *cases(
        "T6",
        "malformed_claims",
        [
            (f"{claim} {literal.decode()[:9]}", partial(raw, claim, literal))
            for claim in ("exp", "iat", "nbf")
            for literal in (
                b"NaN",
                b"Infinity",
                b"-Infinity",
                b"1e400",
                b"-1e400",
                b"1e19",
                b"0x7fffffff",
                b"01800000000",
            )
        ],
    ),
    *cases(
        "T6",
        "expired",
        [
            ("exp an hour ago", partial(token, iat=NOW - 2 * HOUR, exp=NOW - HOUR)),
            ("exp two minutes ago", partial(token, iat=NOW - HOUR / 2, exp=NOW - 120)),
            ("exp 0", partial(token, exp=0)),
            ("exp negative", partial(token, exp=-1)),
            ("exp minus zero", partial(raw, "exp", b"-0")),
            ("exp a tiny fraction", partial(raw, "exp", b"1e-300")),
            ("exp before iat", partial(token, iat=NOW - 200, exp=NOW - 300)),
        ],
    ),
    *cases(
        "T6",
        "issued_in_future",
        [
            ("iat in an hour", partial(token, iat=NOW + HOUR, nbf=..., exp=NOW + 2 * HOUR)),
            ("iat later than exp", partial(token, iat=NOW + HOUR, exp=NOW + 600)),
            ("iat in milliseconds", partial(token, iat=NOW * 1000)),
            ("iat at the end of time", partial(token, iat=2**62, exp=2**62 + 600)),
        ],
    ),
    *cases(
        "T6",
        "not_yet_valid",
        [
            ("nbf in an hour", partial(token, nbf=NOW + HOUR)),
            ("nbf later than exp", partial(token, nbf=NOW + 2 * HOUR)),
            ("nbf at the end of time", partial(token, nbf=2**62)),
        ],
    ),
    *cases(
        "T6",
        "lifetime_too_long",
        [
            ("a year", partial(token, exp=NOW + 365 * 24 * HOUR)),
            ("exp in milliseconds", partial(token, exp=(NOW + 600) * 1000)),
            ("exp at the end of time", partial(token, exp=2**62)),
            ("iat at the epoch", partial(token, iat=0)),
            ("iat negative", partial(token, iat=-(2**62))),
            ("one second over", partial(token, iat=NOW - 300, exp=NOW - 300 + HOUR + 1)),
        ],
    ),
]

ISSUERS = [
    *cases(
        "T7",
        "wrong_issuer",
        [
            (f"iss {name}", partial(token, iss=value))
            for name, value in {
                "missing": ...,
                "empty": "",
                "a prefix": URL[:-1],
                "a suffix": URL[8:],
                "longer": URL + ".mallory.example",
                "with a slash": URL + "/",
                "with a port": URL + ":443",
                "in upper case": URL.upper(),
                "http": "http" + URL[5:],
                "with one capital": URL.replace("default", "Default"),
                "with user information": "https://x@" + URL[8:],
                "with a query": URL + "?",
                "with a fragment": URL + "#",
                "with a final dot": URL + ".",
                "with white space": URL + " ",
                "a character of it": "h",
                "with a NUL": URL + "\0",
                "another pinned issuer's": "https://narrow.example",
                "the object's name": "atlas-production",
                "the audience": AUDIENCE,
                "percent-encoded": URL.replace(".", "%2E"),
            }.items()
        ],
    ),
    *cases(
        "T7",
        "malformed_claims",
        [
            (f"iss {name}", partial(token, iss=value))
            for name, value in {
                "a list": [URL],
                "a list with others": [URL, "x"],
                "null": None,
                "an object": {URL: 1},
                "a number": 1,
                "true": True,
            }.items()
        ],
    ),
]


def speaks_for(text: str) -> bytes:
    """Only `sub` is changed."""
    return token(sub=text)


NAMES = [
    *cases(
        "P1",
        "unknown_workload",
        [
            ("the same subject of another cluster", partial(token, "staging")),
            *(
                (f"{namespace}:{name}", partial(token, **subject(namespace, name)))
                for namespace, name in (
                    ("kube-system", "cert-managerxio"),
                    ("kube-system", "cert-manager-io"),
                    ("kube-system", "cert-manager.ioo"),
                    ("kube-system", "cert-manager.i"),
                    ("kube-system", "cert-manager"),
                    ("atlas-production", "atlas2"),
                    ("atlas-production", "atla"),
                    ("atlas-productio", "atlas"),
                    ("atlas-production2", "atlas"),
                    ("atlas", "atlas"),
                    ("default", "default"),
                    ("kube-system", "atlas"),
                )
            ),
        ],
    ),
    *cases(
        "P1",
        "not_a_service_account",
        [
            (f"sub {text!r}", partial(speaks_for, text))
            for text in (
                "",
                "*",
                "system:serviceaccount:*:atlas",
                "system:serviceaccount:atlas-production:*",
                "system:serviceaccount:atlas-production:",
                "system:serviceaccount::atlas",
                "system:serviceaccount:atlas",
                SUBJECT + ":",
                SUBJECT + ":x",
                "x:" + SUBJECT,
                SUBJECT + "\n",
                SUBJECT + "\0",
                SUBJECT + " ",
                " " + SUBJECT,
                SUBJECT.upper(),
                SUBJECT.replace("system", "System"),
                SUBJECT.replace("atlas-", "Atlas-"),
                SUBJECT.replace("-", "‐"),
                SUBJECT + "," + SUBJECT,
                "system:serviceaccounts:atlas-production:atlas",
                "system:node:node-1",
                "system:admin",
                "system:masters",
                "system:serviceaccount:a.b:c",
                "system:serviceaccount:atlas-production:.*",
                "system:serviceaccount:atlas-production:atlas|x",
                "system:serviceaccount:" + "n" * 64 + ":x",
                "system:serviceaccount:n:" + "x" * 254,
            )
        ],
    ),
    *cases("P1", "not_a_service_account", [("no sub", partial(token, sub=...))]),
    *cases(
        "P1",
        "malformed_claims",
        [
            ("sub a list", partial(token, sub=[SUBJECT])),
            ("sub null", partial(token, sub=None)),
            ("sub an object", partial(token, sub={"namespace": "atlas-production", "name": "atlas"})),
        ],
    ),
    *cases(
        "P1",
        "inconsistent_claims",
        [
            (
                "sub trusted, kubernetes.io another namespace",
                partial(token, **{"kubernetes.io": kubernetes(namespace="x")}),
            ),
            (
                "sub trusted, kubernetes.io another name",
                partial(
                    token, **{"kubernetes.io": kubernetes(serviceaccount={"name": "mallory", "uid": "sa-1"})}
                ),
            ),
            (
                "kubernetes.io trusted, sub another",
                partial(speaks_for, "system:serviceaccount:mallory:mallory"),
            ),
            ("no kubernetes.io", partial(token, **{"kubernetes.io": ...})),
            (
                "kubernetes.io flattened",
                partial(
                    token,
                    **{
                        "kubernetes.io": ...,
                        "kubernetes.io/serviceaccount/namespace": "atlas-production",
                        "kubernetes.io/serviceaccount/service-account.name": "atlas",
                    },
                ),
            ),
            ("no UID", partial(token, **{"kubernetes.io": kubernetes(serviceaccount={"name": "atlas"})})),
            (
                "an empty UID",
                partial(token, **{"kubernetes.io": kubernetes(serviceaccount={"name": "atlas", "uid": ""})}),
            ),
        ],
    ),
    *cases(
        "P1",
        "not_bound",
        [
            ("no pod", partial(token, **{"kubernetes.io": kubernetes(pod=...)})),
            (
                "bound to a secret",
                partial(token, **{"kubernetes.io": kubernetes(pod=..., secret={"name": "s", "uid": "u"})}),
            ),
            (
                "bound to a node",
                partial(token, **{"kubernetes.io": kubernetes(pod=..., node={"name": "n", "uid": "u"})}),
            ),
            ("a pod without a UID", partial(token, **{"kubernetes.io": kubernetes(pod={"name": "atlas-0"})})),
            ("an empty pod", partial(token, **{"kubernetes.io": kubernetes(pod={})})),
        ],
    ),
    *cases(
        "P1",
        "suspended",
        [
            ("a suspended workload", partial(token, **subject("atlas-production", "suspended"))),
        ],
    ),
    *cases(
        "P1",
        "trust_expired",
        [
            ("a workload whose trust is over", partial(token, **subject("atlas-production", "expired"))),
        ],
    ),
]

TOKENS: list[Case[bytes]] = [*AUDIENCES, *TIMES, *ISSUERS, *NAMES]
