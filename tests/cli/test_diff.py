# SPDX-License-Identifier: Apache-2.0
"""`diff` on edits of manifests: who gains and who loses what, in words; and edits that change nothing."""

from __future__ import annotations

import json

import pytest

from testing.tokens import signer
from tests.cli.conftest import Work
from tests.cli.test_lint import FILES, ISSUER, SERVICE, WORKLOAD

PEER = "namespaces kubernetes.io/metadata.name=atlas-production"
ATLAS = "ServiceAccount atlas-production/atlas of this-cluster"
OTHER = WORKLOAD.replace("name: atlas}\nspec", "name: reports}\nspec").replace(
    "name: atlas}\n  g", "name: reports}\n  g"
)
PINNED = ISSUER.replace("{cluster: {}}", f"{{inline: {json.dumps({'keys': [signer('old').jwk]})}}}")
# The file, old text, new text, and the lines that are shown, each with its mark.
EDITS = {
    "one more account": (
        "atlas.yaml",
        "accounts: [acme]}\n    - {scopes: [p",
        "accounts: [acme, globex]}\n    - {scopes: [p",
        [f"+ {ATLAS}: account:projects:read for accounts globex"],
    ),
    "every account": (
        "atlas.yaml",
        "accounts: [acme]}",
        'accounts: ["*"]}',
        [f"+ {ATLAS}: account:projects:read for accounts *"],
    ),
    "one account less": (
        "atlas.yaml",
        "    - {scopes: [account:projects:read], accounts: [acme]}\n",
        "",
        [f"- {ATLAS}: account:projects:read for accounts acme"],
    ),
    "another project": (
        "atlas.yaml",
        "projects: [ios]",
        "projects: [ios, android]",
        [f"+ {ATLAS}: project:builds:read for projects android of acme"],
    ),
    "the account in place of a project": (
        "atlas.yaml",
        ", projects: [ios]",
        "",
        [
            f"+ {ATLAS}: project:builds:read for accounts acme",
            f"- {ATLAS}: project:builds:read for projects ios of acme",
        ],
    ),
    "a scope without an account": (
        "atlas.yaml",
        "    - {scopes: [app:read]}\n",
        "",
        [f"- {ATLAS}: app:read on paths without an account"],
    ),
    "trust suspended": (
        "atlas.yaml",
        "  from:",
        "  suspend: true\n  from:",
        [
            f"- {ATLAS}: is no longer trusted: ",
            f"- NetworkPolicy: {PEER} no longer reaches the gate",
        ],
    ),
    "trust that has ended": (
        "atlas.yaml",
        "  from:",
        "  expires: 2020-01-01T00:00:00Z\n  from:",
        [f"- {ATLAS}: is no longer trusted: "],
    ),
    "trust that will end": (
        "atlas.yaml",
        "  from:",
        "  expires: 2099-01-01T00:00:00Z\n  from:",
        [f"- {ATLAS}: the trust ends 2099-01-01T00:00:00Z, before never (spec.expires)"],
    ),
    "one more workload": (
        "atlas.yaml",
        WORKLOAD,
        f"{WORKLOAD}---\n{OTHER}",
        ["+ ServiceAccount atlas-production/reports of this-cluster: is trusted: "],
    ),
    "another ServiceAccount": (
        "atlas.yaml",
        "name: atlas}\n  grants",
        "name: other}\n  grants",
        [
            f"- {ATLAS}: is no longer trusted: ",
            "+ ServiceAccount atlas-production/other of this-cluster: is trusted: ",
        ],
    ),
    "the same account of another cluster": (
        "atlas.yaml",
        "issuerRef: {name: this-cluster}",
        "issuerRef: {name: staging}",
        [f"- {ATLAS}: is no longer", "+ ServiceAccount atlas-production/atlas of staging: is trusted: "],
    ),
    "another peer": (
        "atlas.yaml",
        "atlas-production}}\n",
        "atlas-staging}}\n",
        [
            "+ NetworkPolicy: namespaces kubernetes.io/metadata.name=atlas-staging reaches the gate",
            f"- NetworkPolicy: {PEER} no longer reaches the gate",
        ],
    ),
    "a network": (
        "atlas.yaml",
        "  from:",
        "  from:\n    - ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}",
        ["+ NetworkPolicy: 10.0.0.0/8 but 10.1.0.0/16 reaches the gate"],
    ),
    "no policy any more": (
        "service.yaml",
        "  routes:",
        '  networkPolicy: {mode: "Off"}\n  routes:',
        ["+ NetworkPolicy: it is removed: every pod reaches the gate's and the app's port (mode: Off)"],
    ),
    "a preview": (
        "service.yaml",
        "  routes:",
        "  networkPolicy: {mode: Preview}\n  routes:",
        ["+ NetworkPolicy: it is removed"],
    ),
    "another port": (
        "service.yaml",
        "port: 8443",
        "port: 9443",
        ["~ NetworkPolicy: it selects other pods or other ports"],
    ),
    "a route's scope": (
        "service.yaml",
        "scope: app:read",
        "scope: app:admin",
        [
            f"- {ATLAS}: may no longer send GET /version",
            "~ the route GET /version requires app:admin, before app:read",
        ],
    ),
    "a new route": (
        "service.yaml",
        "  routes:",
        "  routes:\n    - {path: /new, methods: [PUT], scope: app:read}",
        [
            f"+ {ATLAS}: may send PUT /new, refused before",
            "~ the route PUT /new is new, and requires app:read",
        ],
    ),
    "a route less": (
        "service.yaml",
        "    - {path: /version, methods: [GET], scope: app:read}\n",
        "",
        [f"- {ATLAS}: may no longer send GET /version", "~ the route GET /version is gone"],
    ),
    "tokens of no pod": (
        "service.yaml",
        "  routes:",
        "  token: {binding: Any}\n  routes:",
        ["+ tokens of no pod are accepted (token.binding: Any)"],
    ),
    "longer tokens": (
        "service.yaml",
        "  routes:",
        "  token: {maxLifetimeSeconds: 7200}\n  routes:",
        ["+ tokens may live for 7200 s, before 3600 s"],
    ),
    "another audience": (
        "service.yaml",
        "[tuist-server]",
        "[tuist-server, legacy]",
        ["+ tokens for the audience legacy are accepted"],
    ),
    "a rate": (
        "service.yaml",
        "  routes:",
        "  limits: {requestsPerSecond: 5, burst: 9}\n  routes:",
        ["~ each workload's rate is 5/s with bursts of 9, before unlimited"],
    ),
    "no service": (
        "service.yaml",
        SERVICE,
        "# nothing\n",
        ["- the service is gone: its gates let no one in", f"- {ATLAS}: is no longer trusted: "],
    ),
    "another iss": (
        "issuer.yaml",
        "  keys:",
        "  additionalIssuers: [https://new.example.com]\n  keys:",
        ["+ tokens with iss https://new.example.com are accepted"],
    ),
    "a rotation that follows anyone": (
        "issuer.yaml",
        "  keys:",
        "  rotation: {policy: Follow}\n  keys:",
        ["+ rotation.policy is Follow, before Continuity"],
    ),
    "a revocation": (
        "issuer.yaml",
        "  keys:",
        "  revoked: [{podUid: p-1}]\n  keys:",
        ["- revoked: podUid p-1"],
    ),
    "keys from elsewhere": (
        "issuer.yaml",
        ISSUER,
        PINNED,
        ["~ its keys are read from the object itself, before from this cluster's API server", "+ the key "],
    ),
    "an issuer less": (
        "issuer.yaml",
        ISSUER,
        "# nothing\n",
        [f"- {ATLAS}: is no longer trusted: account:projects:read", "- the cluster is gone"],
    ),
}
# Other text, and the same trust.
SAME = {
    "a comment": ("atlas.yaml", "spec:", "# trusted since March\nspec:"),
    "another order": (
        "atlas.yaml",
        WORKLOAD[WORKLOAD.index("    - {scopes: [account") : WORKLOAD.index("  from:")],
        (
            "    - {scopes: [app:read]}\n    - {scopes: [project:builds:read], accounts: [acme], projects: "
            "[ios]}\n"
            "    - {scopes: [account:projects:read], accounts: [acme]}\n"
        ),
    ),
    "a grant that another includes": (
        "atlas.yaml",
        "    - {scopes: [app:read]}\n",
        "    - {scopes: [app:read]}\n    - {scopes: [app:read]}\n",
    ),
    "a default written out": (
        "service.yaml",
        "  routes:",
        "  token: {binding: Pod, maxLifetimeSeconds: 3600}\n  routes:",
    ),
    "another name of the object": ("atlas.yaml", "name: atlas}\nspec", "name: atlas-2}\nspec"),
}


@pytest.fixture
def sides(work: Work) -> Work:
    for side in ("old", "new"):
        for name, text in FILES.items():
            work.write(f"{side}/{name}", text)
    return work


def shown(work: Work) -> tuple[int, list[str]]:
    done = work.run("diff", "{work}/new", "--against", "{work}/old")
    return done.exit_code, [line.strip() for line in done.stdout.splitlines() if line.startswith("  ")]


@pytest.mark.parametrize("name", EDITS)
def test_each_edit_is_said_as_who_gains_and_who_loses_what(sides: Work, name: str) -> None:
    file, old, new, expected = EDITS[name]
    assert old in FILES[file]
    sides.write(f"new/{file}", FILES[file].replace(old, new, 1))
    code, lines = shown(sides)
    assert code == 1
    for wanted in expected:
        assert [line for line in lines if line.startswith(wanted)], lines
    # Nothing else is said of who may call.
    said = [line for line in lines if "ServiceAccount" in line]
    assert len(said) == sum("ServiceAccount" in each for each in expected), lines


@pytest.mark.parametrize("name", SAME)
def test_text_that_means_the_same_is_no_change(sides: Work, name: str) -> None:
    file, old, new = SAME[name]
    assert old in FILES[file]
    sides.write(f"new/{file}", FILES[file].replace(old, new, 1))
    assert shown(sides) == (0, [])


@pytest.mark.parametrize(
    ("old", "new", "mark"),
    [
        ("2098-01-01T00:00:00Z", "2099-01-01T00:00:00Z", "+"),
        ("2099-01-01T00:00:00Z", "2098-01-01T00:00:00Z", "-"),
        ("2098-01-01T00:00:00Z", None, "+"),
        (None, "2098-01-01T00:00:00Z", "-"),
        ("2098-01-01T00:00:00Z", "2098-01-01T01:00:00+01:00", ""),
    ],
)
def test_trust_that_ends_later_is_wider(sides: Work, old: str | None, new: str | None, mark: str) -> None:
    for side, end in (("old", old), ("new", new)):
        text = WORKLOAD if end is None else WORKLOAD.replace("  from:", f"  expires: {end}\n  from:")
        sides.write(f"{side}/atlas.yaml", text)
    _, lines = shown(sides)
    assert [line[0] for line in lines] == list(mark), lines


def test_an_issuer_that_neither_side_has_is_the_clusters(sides: Work) -> None:
    for side in ("old", "new"):
        (sides.path / side / "issuer.yaml").unlink()
    assert shown(sides) == (0, [])


def test_an_edit_and_its_undoing_are_each_others_opposite(sides: Work) -> None:
    opposite = {"+": "-", "-": "+", "~": "~"}
    for file, old, new, _ in EDITS.values():
        sides.write(f"new/{file}", FILES[file].replace(old, new, 1))
        there = shown(sides)[1]
        back = sides.run("diff", "{work}/old", "--against", "{work}/new").stdout.splitlines()
        lines = [line.strip() for line in back if line.startswith("  ")]
        assert sorted(opposite[line[0]] for line in there) == sorted(line[0] for line in lines), (old, new)
        sides.write(f"new/{file}", FILES[file])


def test_json_says_the_same(sides: Work) -> None:
    sides.write("new/atlas.yaml", WORKLOAD.replace("accounts: [acme]}", 'accounts: ["*"]}', 1))
    done = sides.run("diff", "{work}/new", "--against", "{work}/old", "-o", "json")
    assert json.loads(done.stdout) == {
        "changes": [
            {
                "kind": "gains",
                "where": "tuist/tuist-server",
                "who": ATLAS,
                "what": "account:projects:read for accounts *",
            }
        ]
    }


def test_manifests_with_problems_are_not_compared(sides: Work) -> None:
    sides.write("new/service.yaml", SERVICE.replace("audiences:", "audience:"))
    done = sides.run("diff", "{work}/new", "--against", "{work}/old")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "service.yaml:5" in done.stderr
    assert "have 1 problem" in done.stderr
