# SPDX-License-Identifier: Apache-2.0
"""`diff` and `lint` on AgentProviders: whose word a desk takes from then on, and for whom, in words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from testing.manifests import agent_provider
from testing.tokens import signer
from tests.cli.conftest import Work
from tests.cli.test_diff import shown
from tests.cli.test_diff_desks import SIDE

OLD, NEW = signer("old", "ES256"), signer("new", "ES256")
Object = dict[str, Any]


def provider(**spec: Any) -> Object:
    return agent_provider(keys=[OLD.jwk], **({"deskRef": {"name": "main"}} | spec))


def by(source: Object) -> Object:
    made = provider()
    made["spec"]["keys"] = source
    return made


# The new object, and all lines that are shown; None: it is gone.
EDITS: dict[str, tuple[Object | None, list[str]]] = {
    "a provider that is gone": (None, ["- the provider is gone"]),
    "another issuer": (
        provider(issuer="https://other.example"),
        ["~ its issuer is https://other.example, before https://agents.example.net"],
    ),
    "another name": (
        provider(displayName="Bank"),
        ["~ people see it as 'Bank', before 'Example Helper'"],
    ),
    "another desk": (provider(deskRef={"name": "b"}), ["~ it is for the desk b, before main"]),
    "an audience": (
        provider(audience="https://a.example"),
        ["~ its assertions are for https://a.example, before the desk's issuer"],
    ),
    "another key": (
        by({"inline": {"keys": [NEW.jwk]}}),
        [f"+ the key {NEW.key.thumbprint} (kid new)", f"- no longer: the key {OLD.key.thumbprint} (kid old)"],
    ),
    "discovery": (
        by({"discovery": {}}),
        ["~ its keys come by discovery, before by inline keys", "- no longer: the key"],
    ),
    "a client more": (provider(clientIDs=["helper-app", "b"]), ["+ the client b may come"]),
    "another domain": (
        provider(emailDomains=["example.org"]),
        ["+ it may name people of example.org", "- no longer: it may name people of example.com"],
    ),
    "an algorithm less": (
        provider(algorithms=["ES256"]),
        ["- no longer: the algorithm RS256 is taken"],
    ),
    "an older sign-in": (
        provider(maxAuthAgeSeconds=7200),
        ["+ the person may have signed in 7200 s ago, before 3600 s"],
    ),
    "suspended": (provider(suspended=True), ["- it is suspended"]),
}


@pytest.fixture
def sides(work: Work) -> Work:
    for side in ("old", "new"):
        for name, text in SIDE.items():
            work.write(f"{side}/{name}", text)
        work.write(f"{side}/provider.json", json.dumps(provider()))
    return work


@pytest.mark.parametrize("name", EDITS)
def test_each_edit_is_said_with_what_it_opens_and_closes(sides: Work, name: str) -> None:
    document, expected = EDITS[name]
    sides.write("new/provider.json", json.dumps(document) if document is not None else "")
    code, lines = shown(sides)
    assert (code, len(lines)) == (1, len(expected)), lines
    for wanted, line in zip(expected, sorted(lines, key=lambda each: "~+-".index(each[0])), strict=True):
        assert line.startswith(wanted), lines


def test_each_edit_undone_is_its_opposite(sides: Work) -> None:
    opposite = {"+": "-", "-": "+", "~": "~"}
    for document, _ in EDITS.values():
        sides.write("new/provider.json", json.dumps(document) if document is not None else "")
        there = shown(sides)[1]
        back = sides.run("diff", "{work}/old", "--against", "{work}/new").stdout.splitlines()
        lines = [line.strip() for line in back if line.startswith("  ")]
        assert sorted(opposite[line[0]] for line in there) == sorted(line[0] for line in lines), document


def test_lint_names_the_field_of_a_bad_provider(work: Work) -> None:
    for spec, field in (
        ({"clientIDs": []}, "spec.clientIDs"),
        ({"emailDomains": ["*.example.com"]}, "spec.emailDomains[0]"),
        ({"trusted": True}, "spec.trusted"),
    ):
        work.write("good/provider.json", json.dumps(provider(**spec)))
        done = work.run("lint", "{work}/good")
        assert done.exit_code == 1
        assert field in done.stdout + done.stderr
    work.write("good/provider.json", json.dumps(provider()))
    assert work.run("lint", "{work}/good").exit_code == 0
