# SPDX-License-Identifier: Apache-2.0
"""`diff` on edits of routes, desks and clients of desks: what each opens and closes, in words."""

from __future__ import annotations

import json

import pytest

from testing.tokens import signer
from tests.cli.conftest import Work
from tests.cli.test_diff import ATLAS, OTHER, shown
from tests.cli.test_lint import FILES, SERVICE, WORKLOAD

VERSION = "{path: /version, methods: [GET], scope: app:read"
PURPOSE = "requires app:read and a desk token for the purpose cache-read"
NO_VERSION = f"- {ATLAS}: may no longer send GET /version"
QUERY = "requires app:read for the account from the query's owner"
DESK = """\
apiVersion: watchword.dev/v1alpha1
kind: TokenDesk
metadata: {namespace: watchword-desk, name: main}
spec:
  issuer: https://desk.example.com
  allowedNamespaces: {matchLabels: {kubernetes.io/metadata.name: tuist}}
"""
CLIENT = """\
apiVersion: watchword.dev/v1alpha1
kind: DeskClient
metadata: {namespace: watchword-desk, name: proxy}
spec:
  deskRef: {name: main}
  type: ResourceServer
  authentication:
    serviceAccount: {issuerRef: {name: this-cluster}, namespace: proxies, name: proxy}
  serviceRefs: [{namespace: tuist, name: tuist-server}]
"""
RELYING = SERVICE.replace("  routes:", "  tokenDeskRef: {name: main}\n  resourceServers: [proxy]\n  routes:")
SIDE = FILES | {"service.yaml": RELYING, "desk.yaml": DESK, "client.yaml": CLIENT}
THUMBPRINT = "a" * 43
BY_KEYS = f"  authentication: {{jwks: {json.dumps({'keys': [signer('old').jwk]})}}}\n"
BY_ACCOUNT = CLIENT[CLIENT.index("  authentication") : CLIENT.index("  serviceRefs")]
ADMIN = "  type: AdminServiceAccount\n  adminServiceAccount: true\n  grantedBy: root\n"
# The file, the old text, the new text, and all lines that are shown.
EDITS: dict[str, tuple[str, str, str, list[str]]] = {
    "a route that becomes public": (
        "service.yaml",
        VERSION,
        "{path: /version, methods: [GET], public: true",
        ["+ the route GET /version is public: no token is needed; before, it requires app:read"],
    ),
    "a new public route": (
        "service.yaml",
        "  routes:",
        "  routes:\n    - {path: /status, methods: [GET], public: true}",
        ["+ the route GET /status is new, and is public: no token is needed"],
    ),
    "a new route for a purpose": (
        "service.yaml",
        "  routes:",
        "  routes:\n    - {path: /status, methods: [GET], scope: app:read, purpose: cache-read}",
        [f"~ the route GET /status is new, and {PURPOSE}"],
    ),
    "a purpose of a route": (
        "service.yaml",
        VERSION,
        f"{VERSION}, purpose: cache-read",
        [NO_VERSION, f"~ the route GET /version {PURPOSE}; before, it requires app:read"],
    ),
    "an account from the query": (
        "service.yaml",
        VERSION,
        f"{VERSION}, query: {{owner: account}}",
        [NO_VERSION, f"- the route GET /version {QUERY}; before, it requires app:read"],
    ),
    "an account that may be missing, and a project": (
        "service.yaml",
        VERSION,
        f"{VERSION}, query: {{owner: account, app: project?}}",
        [
            NO_VERSION,
            (
                "~ the route GET /version requires app:read for the project from the query's app where it is "
                "given, account from the query's owner; before, it requires app:read"
            ),
        ],
    ),
    "a purpose of a workload": (
        "atlas.yaml",
        "  grants:",
        "  purposes: [cache-read]\n  grants:",
        [f"+ {ATLAS}: desk tokens for the purpose cache-read"],
    ),
    "no desk any more": (
        "service.yaml",
        "  tokenDeskRef: {name: main}\n  resourceServers: [proxy]\n",
        "",
        [
            "- tokens of the TokenDesk watchword-desk/main are no longer accepted",
            "- the DeskClient proxy may no longer ask the desk about its tokens",
        ],
    ),
    "a resource server less": (
        "service.yaml",
        "  resourceServers: [proxy]\n",
        "",
        ["- the DeskClient proxy may no longer ask the desk about its tokens"],
    ),
    "a resource server that does not name the service": (
        "service.yaml",
        "[proxy]",
        "[proxy, other]",
        ["~ resourceServers names other, which counts once that client names it too"],
    ),
    "a client that names the service no more": (
        "client.yaml",
        "  serviceRefs: [{namespace: tuist, name: tuist-server}]\n",
        "",
        [
            "- the DeskClient proxy may no longer ask the desk about its tokens",
            "~ it no longer names the service tuist/tuist-server",
        ],
    ),
    "another service of a client": (
        "client.yaml",
        "tuist-server}]",
        "tuist-server}, {namespace: tuist, name: other}]",
        ["~ it names the service tuist/other"],
    ),
    "another ServiceAccount of a client": (
        "client.yaml",
        "name: proxy}\n  serviceRefs",
        "name: proxy-2}\n  serviceRefs",
        [
            (
                "~ it proves who it is by the ServiceAccount proxies/proxy-2 of this-cluster, before by the "
                "ServiceAccount proxies/proxy of this-cluster"
            )
        ],
    ),
    "keys of a client": (
        "client.yaml",
        BY_ACCOUNT,
        BY_KEYS,
        [
            "+ the key ",
            (
                "~ it proves who it is by keys of its own, before by the ServiceAccount proxies/proxy of "
                "this-cluster"
            ),
        ],
    ),
    "the digest of a secret": (
        "client.yaml",
        BY_ACCOUNT,
        "  authentication: {secretRef: {name: proxy}}\n",
        ["~ it proves who it is by the secret whose digest is in the Secret proxy (sha256), before by "],
    ),
    "an admin": (
        "client.yaml",
        CLIENT[CLIENT.index("  type") :],
        ADMIN + BY_ACCOUNT,
        [
            "- the DeskClient proxy may no longer ask the desk about its tokens",
            "~ its type is AdminServiceAccount, before ResourceServer",
            "~ it no longer names the service tuist/tuist-server",
            "+ it may use the admin API",
        ],
    ),
    "a client less": (
        "client.yaml",
        CLIENT,
        "# nothing\n",
        [
            "- the DeskClient proxy may no longer ask the desk about its tokens",
            "- the client is gone",
        ],
    ),
    "another issuer of a desk": (
        "desk.yaml",
        "desk.example.com",
        "tokens.example.com",
        [
            "+ tokens with iss https://tokens.example.com are accepted",
            "- tokens with iss https://desk.example.com are no longer accepted",
        ],
    ),
    "longer tokens of a desk": (
        "desk.yaml",
        "  allowed",
        "  tokens: {lifetimeSeconds: 700, maxLifetimeSeconds: 800}\n  allowed",
        [
            "+ tokens live for 700 s, before 600 s",
            "- callers may ask for tokens that live for 800 s, before 900 s",
        ],
    ),
    "a key that is taken back": (
        "desk.yaml",
        "  allowed",
        f"  signing: {{revoked: [{THUMBPRINT}], rotateSeconds: 3600}}\n  allowed",
        ["~ a key signs for 3600 s, before 2592000 s", f"- revoked: the key {THUMBPRINT}"],
    ),
    "a desk of another namespace": (
        "desk.yaml",
        "name: tuist}}",
        "name: other}}",
        [
            "- tokens of the TokenDesk watchword-desk/main are no longer accepted",
            "- the DeskClient proxy may no longer ask the desk about its tokens",
            "~ other namespaces may rely on it (allowedNamespaces)",
        ],
    ),
    "another header": (
        "service.yaml",
        "  routes:",
        "  token: {header: X-Watchword-Token}\n  routes:",
        ["~ tokens are read from the header X-Watchword-Token, before from Authorization"],
    ),
    "clocks that differ": (
        "service.yaml",
        "  routes:",
        "  token: {clockSkewSeconds: 90}\n  routes:",
        ["+ clocks may differ by 90 s, before 60 s"],
    ),
    "usage at another path": (
        "service.yaml",
        "  routes:",
        "  usage: {basePath: /usage/v1}\n  routes:",
        ["~ the gate's usage endpoints are at /usage/v1, before /api/internal"],
    ),
}


@pytest.fixture
def sides(work: Work) -> Work:
    for side in ("old", "new"):
        for name, text in SIDE.items():
            work.write(f"{side}/{name}", text)
    return work


@pytest.mark.parametrize("name", EDITS)
def test_each_edit_is_said_with_what_it_opens_and_closes(sides: Work, name: str) -> None:
    file, old, new, expected = EDITS[name]
    assert old in SIDE[file]
    sides.write(f"new/{file}", SIDE[file].replace(old, new, 1))
    code, lines = shown(sides)
    assert (code, len(lines)) == (1, len(expected)), lines
    for wanted, line in zip(expected, lines, strict=True):
        assert line.startswith(wanted), lines


def test_each_edit_undone_is_its_opposite(sides: Work) -> None:
    opposite = {"+": "-", "-": "+", "~": "~"}
    for file, old, new, _ in EDITS.values():
        sides.write(f"new/{file}", SIDE[file].replace(old, new, 1))
        there = shown(sides)[1]
        back = sides.run("diff", "{work}/old", "--against", "{work}/new").stdout.splitlines()
        lines = [line.strip() for line in back if line.startswith("  ")]
        assert sorted(opposite[line[0]] for line in there) == sorted(line[0] for line in lines), (old, new)
        sides.write(f"new/{file}", SIDE[file])


def test_an_object_that_is_left_out_is_said_with_why(sides: Work) -> None:
    orphan = OTHER.replace("serviceRef: {name: tuist-server}", "serviceRef: {name: tuist-sever}")
    sides.write("new/atlas.yaml", f"{WORKLOAD}---\n{orphan}")
    done = sides.run("diff", "{work}/new", "--against", "{work}/old")
    assert (done.exit_code, done.stdout) == (0, "Nothing changes in who is trusted with what.\n"), done.stderr
    said = " ".join(done.stderr.split())
    assert "TrustedWorkload tuist/reports: spec.serviceRef.name: there is no usable ProtectedService" in said
    assert said.count("Warning:") == 1


def test_a_desk_that_does_not_allow_the_namespace_is_said_with_why(sides: Work) -> None:
    sides.write("new/desk.yaml", DESK.replace("name: tuist}}", "name: other}}"))
    done = sides.run("diff", "{work}/new", "--against", "{work}/old")
    said = " ".join(done.stderr.split())
    assert "the desk main does not allow the namespace tuist to rely on it" in said
