# SPDX-License-Identifier: Apache-2.0
"""Certificates for 127.0.0.1, made on the spot."""

import datetime
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def certificate(name: str, password: bytes | None = None) -> tuple[bytes, bytes]:
    """A self-signed certificate with that common name, and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encryption: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    )
    pem = serialization.Encoding.PEM
    return made.public_bytes(pem), key.private_bytes(pem, serialization.PrivateFormat.PKCS8, encryption)


def write_pair(folder: Path, pair: tuple[bytes, bytes]) -> tuple[Path, Path]:
    """Write tls.crt and tls.key into a folder."""
    paths = folder / "tls.crt", folder / "tls.key"
    for path, content in zip(paths, pair, strict=True):
        path.write_bytes(content)
    return paths
