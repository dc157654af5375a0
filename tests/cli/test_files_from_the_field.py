# SPDX-License-Identifier: Apache-2.0
"""Files as people have them: marks in front, UTF-16, PEM keys, numbers with a sign byte."""

from __future__ import annotations

import base64
import codecs
import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from testing.manifests import issuer, service, workload
from testing.tokens import signer, token
from tests.cli.conftest import AT, Work
from watchword.cli.main import watchword
from watchword.trust.strict_yaml import Unreadable, read_documents
from watchword.trust.text_encoding import TextEncodingError, as_utf8

JWKS = json.dumps({"keys": [signer().jwk]})
RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP521R1())
SPKI = serialization.PublicFormat.SubjectPublicKeyInfo


def run(*arguments: str) -> Result:
    return CliRunner().invoke(watchword, arguments)


def pin(folder: Path, data: bytes, name: str = "keys.json") -> Result:
    (folder / name).write_bytes(data)
    return run(
        "pin", "--jwks", str(folder / name), "--issuer", "https://a.example", "--name", "a", "-o", "json"
    )


def pinned(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    keys: list[dict[str, Any]] = json.loads(result.stdout)["spec"]["keys"]["inline"]["keys"]
    return keys


def pem(key: Any) -> bytes:
    data: bytes = key.public_key().public_bytes(serialization.Encoding.PEM, SPKI)
    return data


def kube_kid(key: Any) -> str:
    der = key.public_key().public_bytes(serialization.Encoding.DER, SPKI)
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


def certificate(key: Any) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "service-accounts")])
    now = datetime.now(UTC)
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    built = built.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    return built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_a_byte_order_mark_before_a_jwks_changes_nothing(tmp_path: Path) -> None:
    assert pinned(pin(tmp_path, codecs.BOM_UTF8 + JWKS.encode())) == pinned(pin(tmp_path, JWKS.encode()))


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_a_byte_order_mark_before_manifests_changes_nothing(tmp_path: Path, suffix: str) -> None:
    for place, document in enumerate((issuer(), service(), workload())):
        text = json.dumps(document) if suffix == "json" else json.dumps(document, indent=1)
        (tmp_path / f"{place}.{suffix}").write_bytes(codecs.BOM_UTF8 + text.encode())
    done = run("compile", str(tmp_path), "-o", "json")
    assert done.exit_code == 0, done.output
    assert len(json.loads(done.stdout)["bundles"][0]["workloads"]) == 1


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_utf16_is_called_by_its_name(tmp_path: Path, encoding: str) -> None:
    name = "UTF-32" if encoding == "utf-32" else "UTF-16"
    data = JWKS.encode(encoding)
    done = pin(tmp_path, data)
    assert done.exit_code == 2
    assert f"the file is {name}" in done.stderr
    assert "iconv" in done.stderr
    found = read_documents(data)
    assert isinstance(found, Unreadable)
    assert name in found.detail


def test_bytes_that_are_no_text_are_named_with_their_line() -> None:
    with pytest.raises(TextEncodingError, match="line 3 holds the byte 0xef"):
        as_utf8(b"a: 1\nb: 2\nc: na\xefve\n")


@given(st.text(max_size=40))
def test_text_comes_out_as_it_went_in(text: str) -> None:
    data = text.encode("utf-8", "ignore")
    assert as_utf8(codecs.BOM_UTF8 + data) == data


@pytest.mark.parametrize(("key", "members"), [(RSA, {"e", "n"}), (EC, {"crv", "x", "y"})], ids=["RSA", "EC"])
@pytest.mark.parametrize("write", [pem, certificate], ids=["public key", "certificate"])
def test_a_pem_file_pins_the_key_under_the_kid_of_kube_apiserver(
    tmp_path: Path, key: Any, members: set[str], write: Any
) -> None:
    [found] = pinned(pin(tmp_path, write(key), "sa.pub"))
    assert found["kid"] == kube_kid(key)
    assert members < set(found)


def test_every_block_of_a_pem_file_is_pinned_with_text_and_line_ends_around_it(tmp_path: Path) -> None:
    data = codecs.BOM_UTF8 + b"# old\n" + pem(RSA) + b"# new\n" + pem(EC)
    found = pinned(pin(tmp_path, data.replace(b"\n", b"\r\n"), "sa.pub"))
    assert {each["kid"] for each in found} == {kube_kid(RSA), kube_kid(EC)}


@pytest.mark.parametrize("form", ["PKCS8", "TraditionalOpenSSL"])
def test_a_private_key_is_refused_and_nothing_of_it_is_printed(tmp_path: Path, form: str) -> None:
    private = RSA.private_bytes(
        serialization.Encoding.PEM, getattr(serialization.PrivateFormat, form), serialization.NoEncryption()
    )
    done = pin(tmp_path, pem(RSA) + private, "sa.key")
    assert done.exit_code == 2
    assert "holds a private key (block 2" in done.stderr
    assert "openssl pkey" in done.stderr
    assert not any(line in done.output for line in private.decode().splitlines() if len(line) > 40)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
            "not a public key that can be read",
        ),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n", "no whole PEM block"),
        (pem(ed25519.Ed25519PrivateKey.generate()), "neither RSA nor EC"),
        (pem(ec.generate_private_key(ec.SECP256K1())), "neither RSA nor EC"),
    ],
)
def test_a_pem_file_that_is_no_key_of_a_cluster_says_what_would_be(
    tmp_path: Path, data: bytes, words: str
) -> None:
    done = pin(tmp_path, data, "sa.pub")
    assert done.exit_code == 2
    assert words in done.stderr


def test_a_modulus_with_a_sign_byte_is_taken_and_said(tmp_path: Path) -> None:
    number = RSA.public_key().public_numbers().n
    written = base64.urlsafe_b64encode(number.to_bytes(257)).rstrip(b"=").decode()
    jwk = {"kty": "RSA", "kid": "signed", "n": written, "e": "AQAB"}
    done = pin(tmp_path, json.dumps({"keys": [jwk]}).encode())
    assert "Note: key 'signed': n begins with a zero byte" in done.stderr
    [found] = pinned(done)
    assert base64.urlsafe_b64decode(found["n"] + "==") == number.to_bytes(256)


@pytest.mark.parametrize("flaw", [{"d": "AQAB"}, {"use": "enc"}, {"n": "AAAA"}])
def test_a_key_that_is_refused_is_not_said_to_be_taken(tmp_path: Path, flaw: dict[str, str]) -> None:
    """Its kid can be that of a good one, too: what is said of one must not be read as of the other."""
    n = b"\0" + RSA.public_key().public_numbers().n.to_bytes(256)
    signed = {
        "kty": "RSA",
        "kid": "test-key",
        "e": "AQAB",
        "n": base64.urlsafe_b64encode(n).decode().rstrip("="),
    }
    done = pin(tmp_path, json.dumps({"keys": [signer().jwk | {"kid": "test-key"}, signed | flaw]}).encode())
    assert len(pinned(done)) == 1
    assert "Warning: key 1" in done.stderr
    assert "taken" not in done.stderr


# Every other file that a command reads, each with a byte order mark in front and as UTF-16.


def asked(work: Work, name: str) -> tuple[list[str], bytes]:
    """A command that reads the file `odd`, and what is in it."""
    event = {
        "specversion": "1.0",
        "id": "1",
        "source": "/s",
        "type": "t",
        "subject": "acme",
        "data": {"a": 1},
    }
    dsn = ["--usage-dsn", "sqlite:///{work}/u.db"]
    return {
        "token": (["verify", "{work}/odd", "--bundle", "{work}/bundle.json", "--at", AT], token()),
        "bundle": (
            ["verify", "{work}/token", "--bundle", "{work}/odd", "--at", AT],
            (work.path / "bundle.json").read_bytes(),
        ),
        "key set": (
            ["lint", "{work}/good", "--jwks", "development={work}/odd"],
            (work.path / "jwks.json").read_bytes(),
        ),
        "pod": (
            ["inject", "{work}/odd", "--services", "{work}/good"],
            b'{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": []}}',
        ),
        "events": (["usage", "import", "{work}/odd", "--format", "ndjson", *dsn], json.dumps(event).encode()),
        "table": (
            ["usage", "import", "{work}/odd", "--format", "csv", *dsn],
            b"id,source,type,subject,time,data\n1,/s,t,acme,2026-11-01T00:00:00Z,{}\n",
        ),
        "authorities": (
            ["pin", "https://127.0.0.1:1", "--ca-bundle", "{work}/odd"],
            certificate(RSA),
        ),
    }[name]


READ = ["token", "bundle", "key set", "pod", "events", "table", "authorities"]


@pytest.mark.parametrize("name", READ)
def test_a_byte_order_mark_in_front_changes_nothing_for_any_file(work: Work, name: str) -> None:
    command, data = asked(work, name)
    work.write("odd", data)
    plain = work.run(*command)
    work.write("odd", codecs.BOM_UTF8 + data)
    (work.path / "u.db").unlink(missing_ok=True)
    for note in work.path.glob("odd.*"):
        note.unlink()
    marked = work.run(*command)
    assert (marked.exit_code, marked.stdout) == (plain.exit_code, plain.stdout), marked.stderr
    assert plain.exit_code == (2 if name == "authorities" else 0), plain.output
    assert "cannot be fetched" in plain.stderr or name != "authorities"


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_utf16_is_called_by_its_name_for_any_file(work: Work, name: str, encoding: str) -> None:
    command, data = asked(work, name)
    work.write("odd", data.decode().encode(encoding))
    done = work.run(*command)
    assert (done.exit_code, "UTF-16" in done.stderr) == (2, True), done.output
    assert "utf8" in done.stderr


@pytest.mark.parametrize("first", ["", "sep=;\n"])
@pytest.mark.parametrize(("separator", "end"), [(";", "\r\n"), ("\t", "\n"), (",", "\r\n")])
def test_a_table_as_excel_writes_it_is_read(work: Work, first: str, separator: str, end: str) -> None:
    if first and separator != ";":
        pytest.skip("Excel names the separator that it uses")
    cells = [["id", "source", "type", "subject", "time", "data"]]
    cells += [[f"{n}", "/s", "t", "acme", "2026-11-01T00:00:00Z", '"{""a"": 1}"'] for n in (1, 2)]
    rows = end.join(separator.join(row) for row in cells)
    work.write("table.csv", codecs.BOM_UTF8 + (first + rows + end).encode())
    done = work.run("usage", "import", "{work}/table.csv", "--usage-dsn", "sqlite:///{work}/u.db")
    assert (done.exit_code, "2" in done.output) == (0, True), done.output
