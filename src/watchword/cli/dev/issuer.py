# SPDX-License-Identifier: Apache-2.0
"""A development issuer: mints tokens with the claims of Kubernetes' projected ones, under a key of its own.

The key exists in this process's memory only and is new at each start, so a token of a developer's machine
can never be good anywhere else. It is for development: anyone who can reach it can be anyone.
"""

import base64
import hashlib
import time
import uuid
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from watchword.identity import is_namespace_name, is_service_account_name

ISSUER_URL: Final = "https://watchword.dev/development"
DEFAULT_NAME: Final = "development"
MAX_LIFETIME_SECONDS: Final = 86_400


class TokenAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The body of POST /token.

    Attributes:
        namespace: of the ServiceAccount.
        service_account: its name.
        audience: one audience, or a list.
        expiration_seconds: how long the token lives.
        pod: the pod that it is bound to; absent: `<serviceAccount>-0`; null: bound to none.
        issuer: which of the development issuers; absent: the first.
    """

    namespace: str
    service_account: str
    audience: str | list[str]
    expiration_seconds: int = 3600
    pod: str | msgspec.UnsetType | None = msgspec.UNSET
    issuer: str | msgspec.UnsetType = msgspec.UNSET


class DevelopmentIssuer:
    """One issuer: a name, an RSA key, and tokens signed with it."""

    def __init__(self, name: str = DEFAULT_NAME, url: str = ISSUER_URL) -> None:
        self.name = name
        self.url = url
        self._private = rsa.generate_private_key(65537, 2048)
        public = self._private.public_key()
        form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        # The kid as kube-apiserver derives it: the SHA-256 of the key's DER form.
        self.kid = _base64url(hashlib.sha256(public.public_bytes(*form)).digest())
        numbers = public.public_numbers()
        self.jwk = {
            "use": "sig",
            "kty": "RSA",
            "kid": self.kid,
            "alg": "RS256",
            "n": _base64url(numbers.n.to_bytes(256)),
            "e": _base64url(numbers.e.to_bytes(3)),
        }

    def __repr__(self) -> str:
        return f"DevelopmentIssuer(name={self.name!r}, kid={self.kid!r})"

    def manifest(self) -> dict[str, Any]:
        """The ClusterTrustedIssuer that pins this issuer's key."""
        return {
            "apiVersion": "watchword.dev/v1alpha1",
            "kind": "ClusterTrustedIssuer",
            "metadata": {"name": self.name},
            "spec": {"issuer": self.url, "keys": {"inline": {"keys": [self.jwk]}}},
        }

    def mint(self, asked: TokenAsked, now: float) -> str:
        """Sign a token (Kubernetes v1.36, pkg/serviceaccount/claims.go).

        Args:
            asked: whom it is for; checked by `flaw_of`.
            now: seconds since the epoch.
        """
        account = {
            "name": asked.service_account,
            "uid": self._uid("sa", asked.namespace, asked.service_account),
        }
        kubernetes: dict[str, Any] = {"namespace": asked.namespace, "serviceaccount": account}
        pod = f"{asked.service_account}-0" if asked.pod is msgspec.UNSET else asked.pod
        if pod is not None:
            node = {"name": "development", "uid": self._uid("node")}
            bound = {"name": pod, "uid": self._uid("pod", asked.namespace, pod)}
            # In the order in which kube-apiserver writes them.
            kubernetes = {"namespace": asked.namespace, "node": node, "pod": bound, "serviceaccount": account}
        issued = int(now)
        claims = {
            "aud": [asked.audience] if isinstance(asked.audience, str) else asked.audience,
            "exp": issued + asked.expiration_seconds,
            "iat": issued,
            "iss": self.url,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": kubernetes,
            "nbf": issued,
            "sub": f"system:serviceaccount:{asked.namespace}:{asked.service_account}",
        }
        header = {"alg": "RS256", "kid": self.kid}
        signed = b".".join(_base64url(msgspec.json.encode(part)).encode() for part in (header, claims))
        signature = self._private.sign(signed, padding.PKCS1v15(), hashes.SHA256())
        return f"{signed.decode()}.{_base64url(signature)}"

    def _uid(self, *parts: str) -> str:
        # The same object keeps its UID from token to token, as it does in a cluster.
        return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join((self.kid, *parts))))


def flaw_of(asked: TokenAsked) -> str | None:
    """What is wrong with a request for a token, in one sentence; None when nothing is."""
    audiences = [asked.audience] if isinstance(asked.audience, str) else asked.audience
    if not is_namespace_name(asked.namespace):
        return "namespace is not the name of a namespace; say for example atlas-production."
    if not is_service_account_name(asked.service_account):
        return "serviceAccount is not the name of a ServiceAccount; say for example atlas."
    if not audiences or not all(audiences):
        return "audience is empty; say the audience of the service that you call, for example tuist-server."
    if not 1 <= asked.expiration_seconds <= MAX_LIFETIME_SECONDS:
        return f"expirationSeconds is not between 1 and {MAX_LIFETIME_SECONDS}."
    if isinstance(asked.pod, str) and not is_service_account_name(asked.pod):
        return "pod is not the name of a pod; leave it out for <serviceAccount>-0, or say null for none."
    return None


def answer_token_request(
    issuers: tuple[DevelopmentIssuer, ...], body: bytes, now: float | None = None
) -> tuple[int, dict[str, Any]]:
    """The status and the JSON body that POST /token answers with. Never raises for bad input."""
    try:
        asked = msgspec.json.decode(body, type=TokenAsked)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        example = '{"namespace": "...", "serviceAccount": "...", "audience": "..."}'
        text = str(error) if isinstance(error, msgspec.ValidationError) else "The body is not JSON"
        return 400, {"error": f"{text}. Send {example}."}
    flaw = flaw_of(asked)
    if flaw is not None:
        return 422, {"error": flaw}
    issuer = issuers[0]
    if asked.issuer is not msgspec.UNSET:
        named = {each.name: each for each in issuers}
        if asked.issuer not in named:
            return 422, {"error": f"issuer is not one of: {', '.join(named)}."}
        issuer = named[asked.issuer]
    moment = time.time() if now is None else now
    expires_at = int(moment) + asked.expiration_seconds
    return 201, {"token": issuer.mint(asked, moment), "expiresAt": expires_at, "issuer": issuer.name}


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
