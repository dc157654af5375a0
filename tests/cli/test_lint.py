# SPDX-License-Identifier: Apache-2.0
"""`lint` on edits of manifests that are good, each with the line and the words that it must get."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Work

ROOT = Path(__file__).parents[2]
SERVICE = """\
apiVersion: watchword.dev/v1alpha1
kind: ProtectedService
metadata: {namespace: tuist, name: tuist-server}
spec:
  audiences: [tuist-server]
  selector: {matchLabels: {app: tuist-server}}
  port: 8443
  upstreamPort: 8080
  routes:
    - {path: "/api/accounts/{account}/projects", methods: [GET], scope: account:projects:read}
    - {path: "/api/projects/{account}/{project}/builds", methods: [GET], scope: project:builds:read}
    - {path: /version, methods: [GET], scope: app:read}
"""
WORKLOAD = """\
apiVersion: watchword.dev/v1alpha1
kind: TrustedWorkload
metadata: {namespace: tuist, name: atlas}
spec:
  serviceRef: {name: tuist-server}
  issuerRef: {name: this-cluster}
  serviceAccount: {namespace: atlas-production, name: atlas}
  grants:
    - {scopes: [account:projects:read], accounts: [acme]}
    - {scopes: [project:builds:read], accounts: [acme], projects: [ios]}
    - {scopes: [app:read]}
  from:
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: atlas-production}}
"""
ISSUER = """\
apiVersion: watchword.dev/v1alpha1
kind: ClusterTrustedIssuer
metadata: {name: this-cluster}
spec:
  issuer: https://kubernetes.default.svc.cluster.local
  keys: {cluster: {}}
"""
FILES = {"service.yaml": SERVICE, "atlas.yaml": WORKLOAD, "issuer.yaml": ISSUER}

# What is edited, the old text, the new one; then the level, the place and words of what is found.
EDITS = {
    "a mistyped scope": (
        "atlas.yaml",
        "[account:projects:read]",
        "[account:project:read]",
        "warning",
        "atlas.yaml:9",
        (
            "no route of tuist-server requires account:project:read (unknown-scope). "
            "Remedy: did you mean account:projects:read?"
        ),
    ),
    "a mistyped scope of the gate's own": (
        "atlas.yaml",
        "[app:read]",
        "[account:usage:raed]",
        "warning",
        "atlas.yaml:11",
        "did you mean account:usage:read?",
    ),
    "a scope like no other": (
        "atlas.yaml",
        "[app:read]",
        "[app:read, zebra:feed]",
        "note",
        "atlas.yaml:11",
        "no route of tuist-server requires zebra:feed",
    ),
    "no accounts for a scope that the query's account is asked for": (
        "service.yaml",
        "methods: [GET], scope: app:read}",
        "methods: [GET], scope: app:read, query: {owner: account}}",
        "warning",
        "atlas.yaml:11",
        "every path that requires app:read names an account",
    ),
    "a route below the gate's own path": (
        "service.yaml",
        "{path: /version,",
        "{path: /authz/version,",
        "warning",
        "service.yaml:12",
        "the gate answers /authz/version itself",
    ),
    "a public route at the gate's usage": (
        "service.yaml",
        "  routes:",
        '  routes:\n    - {path: "/api/internal/accounts/{account}/usage", methods: [GET], public: true}',
        "warning",
        "service.yaml:10",
        "the gate answers /api/internal/accounts/{account}/usage itself",
    ),
    "a mistyped field": (
        "service.yaml",
        "audiences:",
        "audience:",
        "error",
        "service.yaml:5",
        "spec.audience: the field is unknown",
    ),
    "a field that is missing": (
        "service.yaml",
        "  port: 8443\n",
        "",
        "error",
        "service.yaml:4",
        "spec.port: the field is required and missing",
    ),
    "a mistyped issuer": (
        "atlas.yaml",
        "issuerRef: {name: this-cluster}",
        "issuerRef: {name: this-clutser}",
        "note",
        "",
        "ClusterTrustedIssuer this-clutser: it is named here and not in these manifests",
    ),
    "a mistyped service": (
        "atlas.yaml",
        "serviceRef: {name: tuist-server}",
        "serviceRef: {name: tuist-sever}",
        "error",
        "atlas.yaml:5",
        "did you mean tuist-server?",
    ),
    "a service of another namespace": (
        "atlas.yaml",
        "namespace: tuist,",
        "namespace: elsewhere,",
        "error",
        "atlas.yaml:5",
        "there is no ProtectedService in elsewhere",
    ),
    "a pattern for a name": (
        "atlas.yaml",
        "name: atlas}\n  grants",
        "name: 'atlas-*'}\n  grants",
        "error",
        "atlas.yaml:7",
        "patterns are not supported",
    ),
    "a star among names": (
        "atlas.yaml",
        "accounts: [acme]}",
        'accounts: ["*", acme]}',
        "error",
        "atlas.yaml:9",
        'use "*" alone',
    ),
    "projects without accounts": (
        "atlas.yaml",
        "accounts: [acme], projects: [ios]",
        "projects: [ios]",
        "warning",
        "atlas.yaml:10",
        "a project is one of an account",
    ),
    "projects for an account-wide scope": (
        "atlas.yaml",
        "accounts: [acme]}\n    - {scopes: [p",
        "accounts: [acme], projects: [ios]}\n    - {scopes: [p",
        "warning",
        "atlas.yaml:9",
        "no path that names a project requires account:projects:read",
    ),
    "no projects for a scope of projects": (
        "atlas.yaml",
        ", projects: [ios]",
        "",
        "warning",
        "atlas.yaml:10",
        "every path that requires project:builds:read names a project",
    ),
    "no accounts for a scope of accounts": (
        "atlas.yaml",
        "read], accounts: [acme]}\n    - {scopes: [p",
        "read]}\n    - {scopes: [p",
        "warning",
        "atlas.yaml:9",
        "every path that requires account:projects:read names an account",
    ),
    "no peer under Enforce": (
        "atlas.yaml",
        WORKLOAD[WORKLOAD.index("  from:") :],
        "",
        "warning",
        "atlas.yaml:4",
        "its calls do not arrive",
    ),
    "trust that has ended": (
        "atlas.yaml",
        "  from:",
        "  expires: 2020-01-01T00:00:00Z\n  from:",
        "warning",
        "atlas.yaml:12",
        "its trust has ended",
    ),
    "a time that is none": (
        "atlas.yaml",
        "  from:",
        "  expires: next week\n  from:",
        "error",
        "atlas.yaml:12",
        "spec.expires: not a time",
    ),
    "trust that is suspended": (
        "atlas.yaml",
        "  from:",
        "  suspend: true\n  from:",
        "note",
        "atlas.yaml:12",
        "its calls are refused",
    ),
    "a route behind a wider one": (
        "service.yaml",
        "    - {path: /version",
        '    - {path: "/{any}", methods: [GET], scope: app:read}\n    - {path: /version',
        "warning",
        "service.yaml:13",
        "the route /{any} before it takes all of its requests",
    ),
    "a route that no one may use": (
        "service.yaml",
        "scope: app:read",
        "scope: app:admin",
        "note",
        "service.yaml:12",
        "no workload here is granted app:admin",
    ),
    "a route with a dot segment": (
        "service.yaml",
        "path: /version",
        "path: /a/../version",
        "error",
        "service.yaml:12",
        "dot segment",
    ),
    "a reserved audience": (
        "service.yaml",
        "[tuist-server]",
        "[tuist-server, vault]",
        "error",
        "service.yaml:5",
        "AudienceReserved",
    ),
    "tokens of no pod": (
        "service.yaml",
        "  port: 8443",
        "  token: {binding: Any}\n  port: 8443",
        "note",
        "service.yaml:7",
        "binding-any",
    ),
    "a rotation that follows anyone": (
        "issuer.yaml",
        "  keys:",
        "  rotation: {policy: Follow}\n  keys:",
        "warning",
        "issuer.yaml:6",
        "policy-follow",
    ),
    "keys that are read in the cluster": (
        "issuer.yaml",
        "",
        "",
        "note",
        "issuer.yaml:6",
        "its keys are read in the cluster and not here",
    ),
    "the same subject twice": (
        "atlas.yaml",
        WORKLOAD,
        WORKLOAD + "---\n" + WORKLOAD.replace("name: atlas}\nspec", "name: again}\nspec"),
        "error",
        "atlas.yaml:21",
        "SubjectConflict",
    ),
    "the same object twice": (
        "atlas.yaml",
        WORKLOAD,
        WORKLOAD + "---\n" + WORKLOAD,
        "error",
        "atlas.yaml:3",
        "DuplicateObject",
    ),
    "a key twice": (
        "atlas.yaml",
        "  grants:",
        "  suspend: false\n  suspend: true\n  grants:",
        "error",
        "atlas.yaml",
        "not YAML or JSON",
    ),
    "an anchor": (
        "atlas.yaml",
        "spec:",
        "spec: &spec",
        "error",
        "atlas.yaml",
        "anchors and aliases are not accepted",
    ),
    "a service that no one calls": (
        "atlas.yaml",
        WORKLOAD,
        "# nothing\n",
        "note",
        "service.yaml:1",
        "no one is let in",
    ),
}


@pytest.fixture
def folder(work: Work) -> Work:
    for name, text in FILES.items():
        work.write(f"lint/{name}", text)
    return work


def test_what_is_good_has_no_error_and_no_warning(folder: Work) -> None:
    done = folder.run("lint", "{work}/lint", "--strict")
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "1 note")


def test_a_public_route_is_granted_to_no_one_and_needs_no_word(folder: Work) -> None:
    public = "  routes:\n    - {path: /health, methods: [GET], public: true}"
    folder.write("lint/service.yaml", SERVICE.replace("  routes:", public))
    done = folder.run("lint", "{work}/lint", "--strict")
    assert (done.exit_code, done.stdout.splitlines()[-1], "None" in done.stdout) == (0, "1 note", False)


def test_a_route_next_to_the_gates_own_paths_gets_no_warning(folder: Work) -> None:
    for path in ("/authzed", "/api/internal/other", "/api/internal/accounts/{account}", "/{tenant}/authz"):
        route = f'  routes:\n    - {{path: "{path}", methods: [GET], scope: app:read}}'
        folder.write("lint/service.yaml", SERVICE.replace("  routes:", route))
        assert folder.run("lint", "{work}/lint", "--strict").exit_code == 0, path


@pytest.mark.parametrize("name", EDITS)
def test_each_edit_gets_its_line_and_its_words(folder: Work, name: str) -> None:
    file, old, new, level, place, words = EDITS[name]
    assert old in FILES[file]
    folder.write(f"lint/{file}", FILES[file].replace(old, new, 1))
    done = folder.run("lint", "{work}/lint", "-o", "json")
    found = json.loads(done.stdout)["findings"]
    assert done.exit_code == (1 if level == "error" else 0)
    lines = [line for line in folder.run("lint", "{work}/lint").stdout.splitlines() if words in line]
    start = f"{place}: {level}: " if place else f"{level}: "
    assert [line for line in lines if line.startswith(start)], folder.run("lint", "{work}/lint").stdout
    assert level in {each["level"] for each in found}
    strict = folder.run("lint", "{work}/lint", "--strict").exit_code
    assert strict == (0 if {each["level"] for each in found} <= {"note"} else 1)


@pytest.mark.parametrize("example", ["quickstart", "two-clusters"])
def test_the_shipped_examples_pass(work: Work, example: str) -> None:
    done = work.run("lint", str(ROOT / "manifests" / example), "--strict")
    assert done.exit_code == 0, done.stdout


def test_annotations_and_reports_are_in_the_form_of_their_readers(folder: Work) -> None:
    folder.write("lint/atlas.yaml", WORKLOAD.replace("[account:projects:read]", "[account:project:read]"))
    lines = folder.run("lint", "{work}/lint", "-o", "github").stdout.splitlines()
    place = f"file={folder.path}/lint/atlas.yaml,line=9::TrustedWorkload tuist/atlas"
    assert [line for line in lines if line.startswith(f"::warning {place}")]
    report = json.loads(folder.run("lint", "{work}/lint", "-o", "gitlab").stdout)
    assert {"description", "check_name", "fingerprint", "severity", "location"} == set(report[0])
    assert len({each["fingerprint"] for each in report}) == len(report)
    [slip] = [each for each in report if each["check_name"] == "unknown-scope"]
    assert slip["location"] == {"path": f"{folder.path}/lint/atlas.yaml", "lines": {"begin": 9}}


def test_a_name_with_a_line_break_stays_one_annotation(folder: Work) -> None:
    folder.write(
        "lint/odd.json",
        json.dumps(
            {
                "apiVersion": "watchword.dev/v1alpha1",
                "kind": "TrustedWorkload",
                "metadata": {"namespace": "tuist", "name": "a\n::error::forged"},
                "spec": {},
            }
        ),
    )
    for output in ("text", "github"):
        lines = folder.run("lint", "{work}/lint", "-o", output).stdout.splitlines()
        assert not [line for line in lines if line.startswith("::error::forged")]
