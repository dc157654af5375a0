# SPDX-License-Identifier: Apache-2.0
"""A certificate of the webhook's own making, for clusters without cert-manager: pure.

The API server trusts exactly what `caBundle` holds, so a certificate that signs itself is as good as an
authority's here, and there is no authority's key to be stolen.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME: Final = timedelta(days=90)
# A third of its life before its end: weeks to notice that renewing does not work.
RENEW_BEFORE: Final = LIFETIME / 3
# Clocks of nodes differ.
_BACKDATED: Final = timedelta(hours=1)


class Pair(msgspec.Struct, frozen=True):
    """A certificate with its key.

    Attributes:
        certificate: PEM.
        key: PEM, PKCS #8. Never shown: the repr leaves it out.
    """

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Pair(certificate=..., key=...)"


def make_pair(names: tuple[str, ...], now: datetime) -> Pair:
    """A new self-signed certificate for these DNS names, good for 90 days."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "watchword-webhook")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                crl_sign=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def flaw_of(pair: Pair, names: tuple[str, ...], now: datetime) -> str | None:
    """Why a pair should be made again, or None: unreadable, not a pair, of other names, or near its end."""
    try:
        certificate = x509.load_pem_x509_certificate(pair.certificate)
        key = serialization.load_pem_private_key(pair.key, password=None)
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (ValueError, TypeError, x509.ExtensionNotFound):
        return "it cannot be read"
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if certificate.public_key().public_bytes(*form) != key.public_key().public_bytes(*form):
        return "certificate and key are not a pair"
    if set(found.value.get_values_for_type(x509.DNSName)) != set(names):
        return "it is for other names"
    if now >= certificate.not_valid_after_utc - RENEW_BEFORE:
        return "it is near its end"
    if now < certificate.not_valid_before_utc:
        return "it is of the future"
    return None


def still_trusted(bundle: bytes, now: datetime) -> list[bytes]:
    """The certificates of a `caBundle` that are not past, as PEM; nothing of what cannot be read."""
    try:
        found = x509.load_pem_x509_certificates(bundle)
    except ValueError:
        return []
    return [each.public_bytes(serialization.Encoding.PEM) for each in found if each.not_valid_after_utc > now]


def utc_now() -> datetime:
    """The present time, with its zone."""
    return datetime.now(UTC)
