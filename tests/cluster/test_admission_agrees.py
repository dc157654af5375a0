# SPDX-License-Identifier: Apache-2.0
"""The API server and the parser of manifests say yes and no to the same objects, but for what is explained.

A yes of the API server alone is an object that the operator leaves out later, with a condition; a no of the
API server alone is a folder that works with `watchword dev` and not in the cluster. Both are known by name.
`WATCHWORD_ADMISSION_EXAMPLES=20000` looks at that many objects, others each time.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings

from testing.controlplane import ApiError, Cluster
from tests.cluster.admission import create
from tests.trust.admission import Object
from tests.trust.mutations import objects
from watchword.trust import Problem, parse_manifests

EXAMPLES = os.environ.get("WATCHWORD_ADMISSION_EXAMPLES")


class Difference(NamedTuple):
    """Why the two may differ: what the server said (None: yes) beside the parser's problems (empty: yes)."""

    why: str
    holds: Callable[[Object, str | None, tuple[Problem, ...]], bool]


def _says(pattern: str) -> Callable[[Object, str | None, tuple[Problem, ...]], bool]:
    return lambda _, refusal, __: refusal is not None and re.search(pattern, refusal) is not None


def _finds(pattern: str) -> Callable[[Object, str | None, tuple[Problem, ...]], bool]:
    return lambda _, refusal, problems: (
        refusal is None and all(re.search(pattern, str(problem)) for problem in problems)
    )


def _holds_null(document: Object, *_: Any) -> bool:
    return "null" in json.dumps(document["spec"]).replace('"null"', "")


EXPLAINED = (
    Difference("null is a missing member to one of them, by whether it has a default", _holds_null),
    Difference(
        "a JWKS is judged key by key in a manifest, and as a whole only where the key would be stored",
        _says(r"spec\.(?:keys\.inline|authentication\.jwks)"),
    ),
    Difference("routes are compared with each other after admission only", _finds("is routed twice")),
    Difference(
        "captures besides account and project are compared after admission only", _finds("named twice")
    ),
    Difference("encoded bytes that are no UTF-8 are found after admission only", _finds("not UTF-8")),
    Difference(
        "code points that Unicode has not assigned are found after admission only", _finds("printable")
    ),
)


def _refusal(cluster: Cluster, document: Object) -> str | None:
    try:
        create(cluster, document)
    except ApiError as refused:
        return refused.message
    return None


def test_the_api_server_and_the_parser_agree(crds: Cluster) -> None:
    seen = {"both yes": 0, "both no": 0}

    @settings(
        max_examples=int(EXAMPLES or 800),
        derandomize=EXAMPLES is None,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(objects())
    def agree(document: Object) -> None:
        refusal = _refusal(crds, document)
        problems = parse_manifests([("a.json", json.dumps(document).encode())]).problems
        if (refusal is None) == (not problems):
            seen["both no" if problems else "both yes"] += 1
            return
        reasons = [each.why for each in EXPLAINED if each.holds(document, refusal, problems)]
        assert reasons, f"server: {refusal or 'yes'}\nparser: {[str(each) for each in problems] or 'yes'}"

    agree()
    # A corpus that is refused throughout, or taken throughout, would agree with anything.
    assert min(seen.values()) > 20, seen
