# SPDX-License-Identifier: Apache-2.0
"""TLS whose certificate changes under a running gate.

cert-manager and its like renew files in place. New connections get the new certificate; a pair that does not
fit is refused loudly and the old one stays, since half a renewal is what a swap looks like from the outside.
"""

import asyncio
import ssl
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509

from watchword.process.files import state_of
from watchword.process.listening import CannotStartError
from watchword.process.logs import LOGGER


def server_context(alpn: Sequence[str] = ("http/1.1",)) -> ssl.SSLContext:
    """A server's context as all of ours have it, with no certificate yet.

    Args:
        alpn: the protocols that it speaks, the preferred one first (RFC 7301).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(alpn)
    return context


def demand_client_certificates(context: ssl.SSLContext, ca_file: str) -> None:
    """Have a server's context shake hands only with clients whose certificate one of these CAs signed.

    Raises:
        OSError: the file cannot be read, or is not PEM (ssl.SSLError).
    """
    context.load_verify_locations(ca_file)
    context.verify_mode = ssl.CERT_REQUIRED


def validity_of(chain: bytes) -> tuple[float, float] | None:
    """From when until when PEM certificates are valid, in seconds since the epoch; None: unreadable.

    The chain is as good as the certificate in it that ends first.
    """
    try:
        found = x509.load_pem_x509_certificates(chain)
    except ValueError:
        return None
    first = min(found, key=lambda each: each.not_valid_after_utc)
    return first.not_valid_before_utc.timestamp(), first.not_valid_after_utc.timestamp()


class ReloadingCertificate:
    """A server context that follows two files.

    Attributes:
        context: the context.
        validity: of the certificate in use, see `validity_of`.
    """

    def __init__(
        self, certificate: str, key: str, poll_seconds: float, alpn: Sequence[str] = ("http/1.1",)
    ) -> None:
        """Load the pair, for a server that speaks the protocols of `alpn`.

        Raises:
            OSError: a file cannot be read, or certificate and key do not fit (ssl.SSLError).
        """
        self._certificate, self._key, self._poll_seconds = certificate, key, poll_seconds
        self.context = server_context(alpn)
        self._seen = self._state()
        self._is_settled = True
        self._load(self.context)
        self.validity: tuple[float, float] | None = None
        self._note_validity()

    async def run(self) -> None:
        """Reload after each change, until cancelled."""
        while True:
            await asyncio.sleep(self._poll_seconds)
            state = self._state()
            if state == self._seen and self._is_settled:
                continue
            is_news, self._seen = state != self._seen, state
            try:
                # A context of its own proves the pair first: loading a bad one would spoil the live context.
                self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
                self._load(self.context)
                self._note_validity()
            except OSError as error:
                # Tried again until it works: a second write within one tick of the clock shows in no state.
                self._is_settled = False
                detail = str(error.strerror or type(error).__name__)
                if is_news:
                    LOGGER.error("certificate refused; the one in use stays", extra={"detail": detail})
            else:
                self._is_settled = True
                LOGGER.info("certificate reloaded")

    def _note_validity(self) -> None:
        self.validity = validity_of(Path(self._certificate).read_bytes())

    def _load(self, context: ssl.SSLContext) -> None:
        # Without a password, OpenSSL would ask for one on the terminal and wait.
        context.load_cert_chain(self._certificate, self._key, password="")

    def _state(self) -> tuple[object, ...]:
        return state_of(self._certificate), state_of(self._key)


def given_certificate(
    certificate: str | None, key: str | None, poll_seconds: float
) -> ReloadingCertificate | None:
    """The certificate that flags name; None where they name none.

    Args:
        certificate: --tls-cert: a PEM file with the certificate chain.
        key: --tls-key: a PEM file with its key.
        poll_seconds: how often the files are looked at for changes.

    Raises:
        CannotStartError: the files cannot be read, or are no pair.
    """
    if certificate is None or key is None:
        return None
    try:
        return ReloadingCertificate(certificate, key, poll_seconds)
    except OSError as error:
        # ssl.SSLError is one, whose words are OpenSSL's.
        why = "not PEM, or not one pair" if isinstance(error, ssl.SSLError) else error.strerror
        raise CannotStartError(f"--tls-cert, --tls-key: {why}. Remedy: name two PEM files that fit") from None
