# SPDX-License-Identifier: Apache-2.0
"""`compile` on manifests with slips: file and line, candidates for names, scopes, and keys that are given."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives import serialization

from testing.tokens import signer, token
from tests.cli.conftest import AT, Work
from tests.cli.test_lint import FILES, ISSUER, SERVICE, WORKLOAD

KEYS = ("--jwks", "this-cluster={work}/jwks.json")


@pytest.fixture
def folder(work: Work) -> Work:
    for name, text in FILES.items():
        work.write(f"c/{name}", text)
    return work


def test_an_issuer_of_this_cluster_compiles_with_the_keys_that_are_given(folder: Work) -> None:
    without = folder.run("compile", "{work}/c")
    assert (without.exit_code, "issuer.yaml:6: ClusterTrustedIssuer this-cluster" in without.stderr) == (
        1,
        True,
    )
    assert "--jwks this-cluster=FILE" in without.stderr
    done = folder.run("compile", "{work}/c", *KEYS, "-o", "bundle")
    assert done.exit_code == 0, done.stderr
    assert [key["kid"] for key in json.loads(done.stdout)["issuers"][0]["keys"]] == ["key-1"]


def test_a_token_is_judged_with_the_keys_that_are_given(folder: Work) -> None:
    folder.write("t", token())
    done = folder.run("verify", "{work}/t", "--manifests", "{work}/c", *KEYS, "--at", AT)
    assert (done.exit_code, "Accepted as tuist/atlas" in done.stdout) == (0, True), done.output


def test_a_config_map_or_a_pem_file_will_do(folder: Work) -> None:
    key = (
        signer()
        .private.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    folder.write("sa.pub", key)
    assert folder.run("compile", "{work}/c", "--jwks", "this-cluster={work}/sa.pub").exit_code == 0
    folder.write("c/issuer.yaml", ISSUER.replace("{cluster: {}}", "{configMap: {namespace: w, name: keys}}"))
    assert "--jwks this-cluster=FILE" in folder.run("compile", "{work}/c").stderr
    assert folder.run("compile", "{work}/c", *KEYS).exit_code == 0


def test_an_entry_in_binary_data_is_said_to_be_there(folder: Work) -> None:
    keys = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "w", "name": "keys"}}
    folder.write("c/issuer.yaml", ISSUER.replace("{cluster: {}}", "{configMap: {namespace: w, name: keys}}"))
    folder.write("c/keys.json", json.dumps(keys | {"binaryData": {"jwks.json": "e30="}}))
    said = folder.run("compile", "{work}/c").stderr
    assert "is in binaryData, and is read from data" in said
    assert "create it" not in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--jwks", "this-clutser={work}/jwks.json"), "Name one of: this-cluster"),
        (("--jwks", "{work}/jwks.json"), "is not NAME=FILE"),
        ((*KEYS, *KEYS), "twice"),
        (("--jwks", "this-cluster={work}/absent"), "cannot be read"),
    ],
)
def test_keys_that_are_for_nothing_are_refused(folder: Work, arguments: tuple[str, ...], said: str) -> None:
    done = folder.run("compile", "{work}/c", *arguments)
    assert (done.exit_code, said in " ".join(done.stderr.split())) == (2, True), done.stderr


def test_a_name_that_is_not_there_gets_candidates_and_its_line(folder: Work) -> None:
    folder.write("c/atlas.yaml", WORKLOAD.replace("name: this-cluster", "name: this-clutser"))
    said = folder.run("compile", "{work}/c", *KEYS).stderr
    assert "atlas.yaml:6: TrustedWorkload tuist/atlas: spec.issuerRef.name" in said
    assert "did you mean this-cluster?" in said
    folder.write("c/atlas.yaml", WORKLOAD.replace("name: this-cluster", "name: zebra"))
    assert "there is this-cluster" in folder.run("compile", "{work}/c", *KEYS).stderr


def test_a_mistyped_scope_is_warned_of_and_stops_nothing(folder: Work) -> None:
    folder.write("c/atlas.yaml", WORKLOAD.replace("[account:projects:read]", "[account:project:read]"))
    done = folder.run("compile", "{work}/c", *KEYS)
    assert done.exit_code == 0
    assert "did you mean account:projects:read?" in done.stderr


def test_the_line_is_found_behind_other_documents_and_comments(folder: Work) -> None:
    broken = SERVICE.replace("audiences:", "audience:")
    folder.write("c/service.yaml", f"{ISSUER.replace('this-cluster', 'other')}---\n# a comment\n{broken}")
    assert "service.yaml:13: ProtectedService tuist/tuist-server: spec.audience" in folder.run(
        "lint", "{work}/c"
    ).stdout.replace("error: ", "")
