# SPDX-License-Identifier: Apache-2.0
"""Nimbus' OAuth SDK at a desk: metadata, exchange, verification, introspection, revocation."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from joserfc.jwk import ECKey

from testing.running_desk import (
    ISSUER,
    TARGET,
    TARGET_AUDIENCE,
    RunningDesk,
    Source,
    client_object,
    default_objects,
    running_desk,
    service_object,
    subject_token,
)
from testing.tokens import Signer
from testing.unavailable import needed_program

NIMBUS = Path(__file__).parent / "nimbus"
OWN_KEY = Signer("own-1", "ES256")
SECRET = "correct horse battery staple"
CALLER = "workload:atlas-production:atlas-production:atlas"


def program(name: str) -> str:
    """A program's path, or no test."""
    return needed_program(name, tests="tests of real clients", required_by="WATCHWORD_REQUIRE_JDK")


def private_jwk() -> str:
    """The client's own key, as Nimbus reads one."""
    pem = OWN_KEY.private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return json.dumps(ECKey.import_key(pem).as_dict(private=True) | {"kid": OWN_KEY.kid})


@pytest.fixture(scope="module")
def desk() -> Iterator[RunningDesk]:
    """A desk with a client by its own key, and one by a secret."""
    source = Source()
    secret = {"secretRef": {"name": "by-secret", "key": "sha256"}}
    source.objects = [
        *(each for each in default_objects() if each["kind"] != "ProtectedService"),
        service_object(resourceServers=["by-key", "by-secret"]),
        client_object("by-key", authentication={"jwks": {"keys": [OWN_KEY.jwk]}}),
        client_object("by-secret", authentication=secret),
    ]
    source.secrets = {("by-secret", "sha256"): hashlib.sha256(SECRET.encode()).hexdigest()}
    with running_desk(source) as running:
        yield running


@pytest.fixture(scope="module")
def classpath(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The SDK's libraries, exactly those that are listed, and the compiled client."""
    maven, javac = program("mvn"), program("javac")
    folder = tmp_path_factory.mktemp("nimbus")
    libraries = folder / "libraries"
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={libraries}"]
    copy = [maven, "--batch-mode", "--quiet", "--file", str(NIMBUS / "pom.xml"), *goal]
    subprocess.run(copy, check=True, cwd=folder, capture_output=True, text=True, timeout=500)
    found = {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in libraries.iterdir()}
    lines = (NIMBUS / "libraries.sha256").read_text().splitlines()
    assert found == {name: digest for digest, name in map(str.split, lines)}
    options = ["-Xlint:all,-processing", "-Werror", "-cp", f"{libraries}/*", "-d", str(folder)]
    compiling = [javac, *options, str(NIMBUS / "DeskCaller.java")]
    done = subprocess.run(compiling, check=False, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return f"{folder}:{libraries}/*"


def test_it_does_all_that_a_desk_offers(desk: RunningDesk, classpath: str) -> None:
    given = [desk.url, ISSUER, subject_token(), TARGET, private_jwk(), SECRET]
    done = subprocess.run(
        [program("java"), "-cp", classpath, "DeskCaller", *given],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    said = dict(line.split(": ", 1) for line in done.stdout.splitlines())

    inactive = said.pop("afterwards")
    assert json.loads(inactive) == {"active": False}
    assert said == {
        "metadata": ISSUER,
        "endpoints": (
            f"{ISSUER}/oauth2/token {ISSUER}/oauth2/introspect {ISSUER}/oauth2/revoke "
            f"{ISSUER}/.well-known/jwks.json"
        ),
        "refused": "invalid_scope",
        "exchanged": "cache:read urn:ietf:params:oauth:token-type:access_token true null",
        "verified": f"[{TARGET_AUDIENCE}] {ISSUER} {CALLER}",
        **{
            f"introspected {way}": f"true [{TARGET_AUDIENCE}] cache:read"
            for way in ("client_secret_basic", "client_secret_post", "private_key_jwt")
        },
        "revoked": "200",
    }
