# SPDX-License-Identifier: Apache-2.0
"""Keeps the webhook's own certificate: one Secret for all replicas, and the API server's trust in it.

A certificate is served only after `caBundle` holds it, and `caBundle` holds the one before until that is
past: at no moment does the API server meet a certificate that it does not know. Replicas race by
resourceVersion; the one that loses takes what the other one stored.
"""

import asyncio
import base64
import tempfile
from pathlib import Path
from typing import Any, Final

import msgspec

from watchword.kube.names import NamespacedName
from watchword.kube.requests import ApiClient, UnavailableError
from watchword.kube.watch import Backoff
from watchword.process.logs import LOGGER
from watchword.process.tls import server_context, validity_of
from watchword.webhook.certificates import Pair, flaw_of, make_pair, still_trusted, utc_now
from watchword.webhook.configuration_check import CONFIGURATIONS, no_configuration

CHECK_SECONDS: Final = 60.0
# For each API server to see the new `caBundle` before it meets the new certificate.
SETTLE_SECONDS: Final = 10.0
# The present one, the one before, and one that another replica is about to store.
_MAX_TRUSTED: Final = 3
_TIMEOUT_SECONDS: Final = 10.0


class _RefusedError(Exception):
    """The API server said no; the message says to what."""


class CertificateRotator:
    """Keeps a TLS context supplied with a certificate that the API server trusts.

    Attributes:
        context: the server's TLS context; usable once `is_served`.
        is_served: a certificate was loaded.
        is_configured: the MutatingWebhookConfiguration was there when it was last looked for; without it no
            API server asks, and pods that ask are given nothing.
        problem: what went wrong last, for readiness; None when all is well.
    """

    def __init__(
        self,
        client: ApiClient,
        *,
        secret: NamespacedName,
        configuration: str,
        names: tuple[str, ...],
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        """Keep a certificate for DNS names in a Secret, trusted by a configuration."""
        self._client = client
        self._secret, self._configuration, self._names = secret, configuration, names
        self._settle_seconds = settle_seconds
        self.context = server_context()
        self._loaded: Pair | None = None
        self.is_configured = True
        self.problem: str | None = "no certificate was made yet"

    @property
    def is_served(self) -> bool:
        """Whether a certificate was loaded."""
        return self._loaded is not None

    @property
    def validity(self) -> tuple[float, float] | None:
        """From when until when the certificate in use is valid, in seconds since the epoch."""
        return None if self._loaded is None else validity_of(self._loaded.certificate)

    async def run(self) -> None:
        """Make, trust, serve and renew, until cancelled."""
        backoff = Backoff()
        while True:
            try:
                await self.check()
            except (UnavailableError, OSError, ValueError, _RefusedError) as error:
                is_told = isinstance(error, (UnavailableError, _RefusedError))
                detail = str(error) if is_told else type(error).__name__
                self.problem = f"the webhook's certificate cannot be kept: {detail}"
                LOGGER.warning(
                    "the webhook's certificate cannot be renewed, trying again", extra={"detail": detail}
                )
                await asyncio.sleep(backoff.next())
            else:
                self.problem = None
                backoff.reset()
                await asyncio.sleep(CHECK_SECONDS)

    async def check(self) -> None:
        """Take what is stored, renew it where it must be, have it trusted, then serve it; once."""
        pair = await self._stored()
        await self._trust(pair.certificate)
        if pair != self._loaded:
            if self._loaded is not None:
                await asyncio.sleep(self._settle_seconds)
            self._load(pair)
            LOGGER.info("certificate in use", extra={"names": list(self._names)})

    def _load(self, pair: Pair) -> None:
        # OpenSSL loads a chain from files only; these are gone before anyone could open them twice.
        with tempfile.TemporaryDirectory(prefix="watchword-") as folder:
            certificate, key = Path(folder, "tls.crt"), Path(folder, "tls.key")
            certificate.write_bytes(pair.certificate)
            key.touch(mode=0o600)
            key.write_bytes(pair.key)
            self.context.load_cert_chain(certificate, key, password="")
        self._loaded = pair

    async def _stored(self) -> Pair:
        namespace, name = self._secret
        path = f"/api/v1/namespaces/{namespace}/secrets"
        while True:
            found = await self._call("GET", f"{path}/{name}", None, absent=404)
            pair = _pair_of(found) if found is not None else None
            flaw = "there is none" if pair is None else flaw_of(pair, self._names, utc_now())
            if pair is not None and flaw is None:
                return pair
            LOGGER.info("making a certificate", extra={"why": flaw})
            made = make_pair(self._names, utc_now())
            secret = _secret_of(namespace, name, made, found)
            if found is None:
                stored = await self._call("POST", path, secret, absent=409)
            else:
                stored = await self._call("PUT", f"{path}/{name}", secret, absent=409)
            if stored is not None:
                return made
            # Another replica was faster: take what it stored.

    async def _trust(self, certificate: bytes) -> None:
        path = f"{CONFIGURATIONS}/{self._configuration}"
        while True:
            found = await self._call("GET", path, None, absent=404)
            self.is_configured = found is not None
            if found is None:
                raise _RefusedError(no_configuration(self._configuration))
            changes: list[dict[str, Any]] = []
            for place, webhook in enumerate(found.get("webhooks") or []):
                wanted = _bundle(webhook["clientConfig"].get("caBundle", ""), certificate)
                if wanted is not None:
                    value = base64.b64encode(wanted).decode()
                    where = f"/webhooks/{place}/clientConfig/caBundle"
                    changes.append({"op": "add", "path": where, "value": value})
            if not changes:
                return
            version = found["metadata"]["resourceVersion"]
            guard = {"op": "test", "path": "/metadata/resourceVersion", "value": version}
            if await self._call("PATCH", path, [guard, *changes], absent=409) is not None:
                return

    async def _call(self, method: str, path: str, body: Any, *, absent: int) -> dict[str, Any] | None:
        """The object that came back; None for the status that is no surprise here."""
        found = await self._client.request(
            method,
            path,
            None if body is None else msgspec.json.encode(body),
            content_type="application/json-patch+json" if method == "PATCH" else "application/json",
            timeout_seconds=_TIMEOUT_SECONDS,
        )
        # A JSON patch whose test fails is 422 (Invalid) at the API server.
        if found.status == absent or (method == "PATCH" and found.status == 422):
            return None
        if found.status >= 300:
            raise _RefusedError(f"the API server answers {found.status} to {method} {path}")
        document: dict[str, Any] = msgspec.json.decode(found.body)
        return document


def _bundle(present: str, certificate: bytes) -> bytes | None:
    """The `caBundle` that trusts a certificate as well, or None when the present one does."""
    trusted = still_trusted(base64.b64decode(present), utc_now()) if present else []
    if certificate in trusted:
        return None
    return b"".join([certificate, *trusted][:_MAX_TRUSTED])


def _pair_of(secret: dict[str, Any]) -> Pair | None:
    data = secret.get("data") or {}
    try:
        parts = [base64.b64decode(data[name], validate=True) for name in ("tls.crt", "tls.key")]
    except (KeyError, ValueError, TypeError):
        return None
    return Pair(*parts)


def _secret_of(namespace: str, name: str, pair: Pair, before: dict[str, Any] | None) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "namespace": namespace,
        "name": name,
        "labels": {"app.kubernetes.io/managed-by": "watchword"},
    }
    if before is not None:
        metadata = before["metadata"]
        metadata.pop("managedFields", None)
    data = {"tls.crt": pair.certificate, "tls.key": pair.key}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": metadata,
        "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
    }
