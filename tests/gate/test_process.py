# SPDX-License-Identifier: Apache-2.0
"""The gate as a process: bundles that change under it, certificates that are renewed, and a clean end."""

import datetime
import os
import signal
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.gateprocess import issuer, running_gate, service, workload, write_bundle
from tests.identity.tokens import signer, token

ISSUER = issuer("production", {"keys": [signer().jwk]})
ATLAS = workload("atlas", "production", ("atlas-production", "atlas"))


def fresh() -> bytes:
    now = int(time.time())
    return token(iat=now, nbf=now, exp=now + 600)


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 15
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_a_bundle_that_appears_later_is_picked_up(tmp_path: Path) -> None:
    path = tmp_path / "bundle.json"
    dsn = ("--usage-dsn", f"sqlite:///{tmp_path}/usage.db")
    with running_gate(path, *dsn, is_ready_required=False) as gate:
        assert gate.ask(fresh()).reason == "not_ready"
        assert "cannot be read" in gate.ready().json()["why"]
        write_bundle(path, ISSUER, service(), ATLAS)
        assert eventually(lambda: gate.ready().status_code == 200)
        assert gate.ask(fresh()).status == 200


def test_a_bundle_is_followed_and_a_broken_or_older_one_is_not(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "bundle.json", ISSUER, service(), ATLAS, generation=5)
    with running_gate(path, "--usage-dsn", f"sqlite:///{tmp_path}/usage.db") as gate:
        assert gate.ask(fresh()).status == 200
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        assert eventually(lambda: "warning" in gate.ready().json())
        assert gate.ask(fresh()).status == 200
        write_bundle(path, ISSUER, service(), generation=4)
        assert eventually(lambda: "does not follow" in gate.ready().json().get("warning", ""))
        assert gate.ask(fresh()).status == 200
        write_bundle(path, ISSUER, service(), generation=6)
        assert eventually(lambda: gate.ask(fresh()).reason == "unknown_workload")
        path.unlink()
        assert eventually(lambda: "cannot be read" in gate.ready().json().get("warning", ""))
        assert gate.ready().status_code == 200


def test_a_request_in_flight_survives_the_end(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "bundle.json", ISSUER, service(), ATLAS)
    with running_gate(path, "--usage-dsn", f"sqlite:///{tmp_path}/usage.db") as gate:
        host, port = gate.address.split(":")
        body = b"[]"
        head = (
            b"POST /api/internal/usage/events HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer %s\r\n"
            b"content-type: application/cloudevents-batch+json\r\ncontent-length: %d\r\n\r\n"
        )
        granted = workload(
            "atlas",
            "production",
            ("atlas-production", "atlas"),
            grants=[{"scopes": ["account:usage:write"], "accounts": ["*"]}],
        )
        write_bundle(path, ISSUER, service(), granted, generation=2)
        assert eventually(lambda: gate.ready().json()["generation"] == 2)
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head % (fresh(), len(body)))
            time.sleep(0.2)
            os.kill(gate.pid, signal.SIGTERM)
            time.sleep(0.3)
            connection.sendall(body)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    paths = folder / "tls.crt", folder / "tls.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    paths[1].write_bytes(key.private_bytes(*form))
    return paths


def served_name(address: str) -> str:
    host, port = address.split(":")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((host, int(port))) as plain, context.wrap_socket(plain) as secure:
        encoded = secure.getpeercert(binary_form=True)
    assert encoded is not None
    name = x509.load_der_x509_certificate(encoded).subject.rfc4514_string()
    return name.removeprefix("CN=")


def test_a_renewed_certificate_is_served_and_a_broken_one_is_not(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "bundle.json", ISSUER, service(), ATLAS)
    chain, key = certificate(tmp_path, "first")
    flags = ("--tls-cert", str(chain), "--tls-key", str(key), "--usage-dsn", f"sqlite:///{tmp_path}/usage.db")
    with running_gate(path, *flags) as gate:
        assert served_name(gate.address) == "first"
        certificate(tmp_path, "second")
        assert eventually(lambda: served_name(gate.address) == "second")
        chain.write_text("not a certificate")
        assert eventually(lambda: "certificate refused" in gate.log.read_text())
        assert served_name(gate.address) == "second"


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /authz HTTP/1.1\r\nhost: g\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /authz HTTP/1.1\r\nhost: g\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nabcd",
        b"GET /authz HTTP/1.1\r\nbad header\r\n\r\n",
        b"NONSENSE\r\n\r\n",
    ],
)
def test_a_request_that_two_parsers_could_frame_differently_ends_the_connection(
    tmp_path: Path, raw: bytes
) -> None:
    path = write_bundle(tmp_path / "bundle.json", ISSUER, service(), ATLAS)
    with running_gate(path, "--usage-dsn", f"sqlite:///{tmp_path}/usage.db") as gate:
        host, port = gate.address.split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(raw)
            answer = b""
            while part := connection.recv(65536):
                answer += part
        assert answer.startswith(b"HTTP/1.1 400")
