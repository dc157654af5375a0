# SPDX-License-Identifier: Apache-2.0
"""TLS whose certificate changes under a running gate.

cert-manager and its like renew files in place. New connections get the new certificate; a pair that does not
fit is refused loudly and the old one stays, since half a renewal is what a swap looks like from the outside.
"""

import asyncio
import ssl

from watchword.process.files import state_of
from watchword.process.logs import LOGGER


def server_context() -> ssl.SSLContext:
    """A server's context as all of ours have it, with no certificate yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


class ReloadingCertificate:
    """A server context that follows two files."""

    def __init__(self, certificate: str, key: str, poll_seconds: float) -> None:
        """Load the pair.

        Raises:
            OSError: a file cannot be read, or certificate and key do not fit (ssl.SSLError).
        """
        self._certificate, self._key, self._poll_seconds = certificate, key, poll_seconds
        self.context = server_context()
        self._seen = self._state()
        self._is_settled = True
        self._load(self.context)

    async def follow(self) -> None:
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
            except OSError as error:
                # Tried again until it works: a second write within one tick of the clock shows in no state.
                self._is_settled = False
                detail = str(error.strerror or type(error).__name__)
                if is_news:
                    LOGGER.error("certificate refused; the one in use stays", extra={"detail": detail})
            else:
                self._is_settled = True
                LOGGER.info("certificate reloaded")

    def _load(self, context: ssl.SSLContext) -> None:
        # Without a password, OpenSSL would ask for one on the terminal and wait.
        context.load_cert_chain(self._certificate, self._key, password="")

    def _state(self) -> tuple[object, ...]:
        return state_of(self._certificate), state_of(self._key)
