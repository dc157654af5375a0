# SPDX-License-Identifier: Apache-2.0
"""Which API server to speak to, and as whom.

The kubelet renews a pod's token in its file before the token expires, mostly every hour, and the file of
authorities can change as well. Both files are checked for each connection.
"""

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from watchword.kube.watch.problems import ProblemKind, WatchError
from watchword.process.files import state_of

# Where the kubelet puts them (Kubernetes docs: "Accessing the Kubernetes API from a Pod").
ACCOUNT_FOLDER: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
_MAX_TOKEN_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An API server and a credential for it.

    Attributes:
        url: `https://HOST[:PORT][/PREFIX]`; plain `http` on loopback only, since a token would be readable.
        ca_file: PEM file with the authorities to trust; None: the system's.
        token_file: file with the Bearer token, read again for each request; wins over `token`.
        token: a Bearer token that does not change.
        client_certificate: PEM files with a client certificate and its key.

    Raises:
        ValueError: the URL is not of that form; the message says what would be right.
    """

    url: str
    ca_file: str | None = None
    token_file: str | None = None
    token: str | None = field(default=None, repr=False)
    client_certificate: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        Address.of(self.url)


@dataclass(frozen=True, slots=True)
class Address:
    """An endpoint's URL taken apart.

    Attributes:
        host: name or IP address, without brackets.
        port: TCP port.
        prefix: path before `/api`, without a slash at its end.
        is_encrypted: https.
    """

    host: str
    port: int
    prefix: str
    is_encrypted: bool

    @classmethod
    def of(cls, url: str) -> "Address":
        """Take a URL apart.

        Raises:
            ValueError: not the URL of an API server; the message says what would be right.
        """
        example = "say for example https://10.0.0.1:6443"
        if not url.isascii() or any(character <= " " or character == "\x7f" for character in url):
            raise ValueError(f"the API server's URL holds a character that no URL has; {example}")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ValueError(f"the API server's URL cannot be read ({error}); {example}") from None
        if parts.scheme not in {"https", "http"} or not host or host[0] == ".":
            raise ValueError(f"the API server's URL is not https://HOST[:PORT]; {example}")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError(f"the API server's URL holds more than host, port and path; {example}")
        is_encrypted = parts.scheme == "https"
        if not is_encrypted and not _is_loopback(host):
            raise ValueError(f"plain http leaves this machine, readable for anyone on the way; {example}")
        return cls(host, port or (443 if is_encrypted else 80), parts.path.rstrip("/"), is_encrypted)


def in_cluster(environ: Mapping[str, str] = os.environ, folder: str = ACCOUNT_FOLDER) -> Endpoint:
    """The endpoint of the cluster that this pod runs in, by the kubelet's environment and mounted files.

    Raises:
        ValueError: not in a pod; the message says what would be right.
    """
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        raise ValueError(
            "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set, as they are in a pod; "
            "name the API server's URL"
        )
    shown = f"[{host}]" if ":" in host else host
    return Endpoint(f"https://{shown}:{port}", ca_file=f"{folder}/ca.crt", token_file=f"{folder}/token")


class Access:
    """What is read again and again of an endpoint: the token, and the TLS context made of its files."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.address = Address.of(endpoint.url)
        self._endpoint = endpoint
        self._context: ssl.SSLContext | None = None
        self._context_of: tuple[object, ...] = ()

    def token(self) -> str | None:
        """The Bearer token as it is now.

        Raises:
            WatchError: the file cannot be read, or holds no token.
        """
        path = self._endpoint.token_file
        if path is None:
            return self._endpoint.token
        remedy = "mount a ServiceAccount token there, and let this process's user read it"
        try:
            with open(path, "rb") as file:
                content = file.read(_MAX_TOKEN_BYTES + 1)
        except OSError as error:
            detail = f"the token file {path} cannot be read: {error.strerror}"
            raise WatchError(ProblemKind.NO_CREDENTIAL, detail, remedy) from None
        token = content.strip()
        # Anything else would let the file's writer add headers to the request.
        if not token or len(content) > _MAX_TOKEN_BYTES or not all(0x21 <= byte < 0x7F for byte in token):
            raise WatchError(ProblemKind.NO_CREDENTIAL, f"the token file {path} holds no token", remedy)
        return token.decode("ascii")

    def tls(self) -> ssl.SSLContext | None:
        """The TLS context of the files as they are now; None for plain HTTP.

        Raises:
            WatchError: a file cannot be read or is no PEM.
        """
        if not self.address.is_encrypted:
            return None
        files = [self._endpoint.ca_file, *(self._endpoint.client_certificate or ())]
        state = tuple(state_of(path) for path in files if path is not None)
        if self._context is None or state != self._context_of:
            self._context, self._context_of = self._new_context(), state
        return self._context

    def _new_context(self) -> ssl.SSLContext:
        ca_file, pair = self._endpoint.ca_file, self._endpoint.client_certificate
        try:
            context = ssl.create_default_context(cafile=ca_file)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.set_alpn_protocols(["http/1.1"])
            if pair is not None:
                # Without a password, OpenSSL would ask for one on the terminal and wait.
                context.load_cert_chain(*pair, password="")
        except OSError as error:  # ssl.SSLError is one
            named = ", ".join(path for path in (ca_file, *(pair or ())) if path)
            reason = error.strerror if not isinstance(error, ssl.SSLError) else "not PEM, or not a pair"
            raise WatchError(
                ProblemKind.UNTRUSTED,
                f"the authority or client certificate ({named}) cannot be loaded: {reason}",
                "name readable PEM files: the cluster's authority, and a certificate with its key",
            ) from None
        return context


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
