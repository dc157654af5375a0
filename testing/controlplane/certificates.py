# SPDX-License-Identifier: Apache-2.0
"""A certificate authority for one test cluster, and its API server's certificate: TLS is verified for real.

Tests that switch verification off teach the code under test to live without it.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFETIME = datetime.timedelta(days=7)
_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)


@dataclass(frozen=True, slots=True)
class ServingFiles:
    """Paths of PEM files: the authority's certificate, the server's certificate, the server's private key."""

    authority: Path
    certificate: Path
    private_key: Path


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority whose certificate is in the file `path`; its key never leaves the process."""

    path: Path
    _name: x509.Name
    _key: ec.EllipticCurvePrivateKey = field(repr=False)

    def write(
        self, stem: str, common_name: str, *, groups: Sequence[str] = (), names: Sequence[str] = ()
    ) -> ServingFiles:
        """Make a certificate beside the authority's, `stem`.crt and `stem`.key, valid for a week.

        For a client: Kubernetes takes `common_name` as the user and `groups` as its groups. With `names`
        (DNS names and addresses) for a server too.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if names else [])]
        builder = (
            _builder(_subject(common_name, groups), self._name, key.public_key(), self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(certificate_signing=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        )
        if names:
            alternatives = [_general_name(name) for name in names]
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        files = ServingFiles(
            self.path, self.path.with_name(f"{stem}.crt"), self.path.with_name(f"{stem}.key")
        )
        files.certificate.write_bytes(
            builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        )
        write_private_file(files.private_key, private_key_pem(key))
        return files


def new_authority(folder: Path) -> Authority:
    """Make an authority, valid for a week, with its certificate in `folder`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _subject("watchword test authority")
    certificate = (
        _builder(name, name, key.public_key(), key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(certificate_signing=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "serving-ca.crt"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return Authority(path, name, key)


def write_serving_files(authority: Authority, addresses: Sequence[str] = ()) -> ServingFiles:
    """Make an API server's certificate for 127.0.0.1, the in-cluster names and further `addresses`."""
    return authority.write("serving", "kube-apiserver", names=[*_NAMES, "127.0.0.1", *addresses])


def write_private_file(path: Path, content: bytes) -> None:
    """Write a secret so that it is never, not even for a moment, readable by others."""
    path.touch(mode=0o600)
    path.write_bytes(content)


def private_key_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    """The key as unencrypted PKCS #8 in PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _subject(common_name: str, groups: Sequence[str] = ()) -> x509.Name:
    organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    subject_key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    # Both key identifiers: Python 3.13 refuses a chain without them (ssl.VERIFY_X509_STRICT).
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(subject_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(subject_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _key_usage(*, certificate_signing: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificate_signing,
        key_cert_sign=certificate_signing,
        crl_sign=certificate_signing,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
