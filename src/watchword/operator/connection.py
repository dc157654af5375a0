# SPDX-License-Identifier: Apache-2.0
"""How to reach one API server: found once, as kubectl and pods find it, and given to every client alike.

Three clients speak to it (the `kubernetes` package for writes, kopf's and the Lease's aiohttp sessions,
`apiwatch`); each with credentials of its own would be three ways to be half authorized. TLS is always
verified: whoever can pose as the API server decides whom all services trust.
"""

import asyncio
import os
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import aiohttp
import kubernetes.client
import kubernetes.config
import yaml
from kubernetes.config.config_exception import ConfigException

from watchword import __version__
from watchword.apiwatch import Endpoint
from watchword.apiwatch.endpoint import ACCOUNT_FOLDER
from watchword.process.listening import CannotStart

_MOUNTED: Final = Path(ACCOUNT_FOLDER)
# The kubelet renews a mounted token when a fifth of its life is left; a minute is soon enough.
_TOKEN_SECONDS: Final = 30.0
_POOL: Final = 16
# The loader checks little of what it reads, and stumbles over the rest in its own ways.
_UNUSABLE: Final = (ConfigException, OSError, ValueError, TypeError, AttributeError, KeyError, yaml.YAMLError)


class Connection:
    """One API server and the right to speak to it.

    Attributes:
        server: its URL, without a path.
        namespace: where this process belongs, by the pod's mount or the kubeconfig's context; None: not said.
        source: where all this was found, for people.
    """

    def __init__(
        self,
        configuration: kubernetes.client.Configuration,
        *,
        source: str,
        namespace: str | None = None,
        token_file: str | None = None,
    ) -> None:
        """Use a configuration of the `kubernetes` package; raises CannotStart when it is not a safe one."""
        if not configuration.verify_ssl:
            raise CannotStart(
                f"{source} says insecure-skip-tls-verify: whoever answered then could decide whom all "
                "services trust. Remedy: give the cluster's certificate-authority instead"
            )
        if configuration.tls_server_name:
            raise CannotStart(
                f"{source} says tls-server-name, which this operator does not support. "
                "Remedy: use an address that the API server's certificate names"
            )
        # A write that is tried again behind our back could land after leadership has ended.
        configuration.retries = False
        configuration.connection_pool_maxsize = _POOL
        self.server: str = configuration.host.rstrip("/")
        self.namespace, self.source = namespace, source
        self._configuration, self._token_file = configuration, token_file
        self._bearer: str | None = None
        self._bearer_read = float("-inf")

    def api_client(self) -> kubernetes.client.ApiClient:
        """A pooled client for threads; it makes no second attempt by itself."""
        client = kubernetes.client.ApiClient(self._configuration)
        client.user_agent = _USER_AGENT
        return client

    def session(self, response_class: type[aiohttp.ClientResponse] | None = None) -> aiohttp.ClientSession:
        """A session that verifies the server and authorizes each request; close it."""
        connector = aiohttp.TCPConnector(limit=0, ssl=self.ssl_context())
        return aiohttp.ClientSession(
            connector=connector,
            headers={"User-Agent": _USER_AGENT},
            middlewares=(self._authorize,),
            proxy=self._configuration.proxy,
            response_class=response_class or aiohttp.ClientResponse,
        )

    def ssl_context(self) -> ssl.SSLContext:
        """Verifies the server against the cluster's authority; with our certificate, where there is one."""
        context = ssl.create_default_context(cafile=self._configuration.ssl_ca_cert)
        if self._configuration.cert_file:
            context.load_cert_chain(self._configuration.cert_file, self._configuration.key_file)
        return context

    def endpoint(self) -> Endpoint:
        """The same for `watchword.apiwatch`; a token that is in no file stays as it is now."""
        certificate, key = self._configuration.cert_file, self._configuration.key_file
        bearer = None if self._token_file else self._read_bearer()
        return Endpoint(
            self.server,
            ca_file=self._configuration.ssl_ca_cert,
            token_file=self._token_file,
            token=None if bearer is None else bearer.split(" ", 1)[-1].strip(),
            client_certificate=(certificate, key) if certificate and key else None,
        )

    def _read_bearer(self) -> str | None:
        bearer: str | None = self._configuration.get_api_key_with_prefix("BearerToken", "authorization")
        return bearer

    async def authorization(self) -> str | None:
        """The Authorization header's value; None where a client certificate does it."""
        now = time.monotonic()
        if now - self._bearer_read >= _TOKEN_SECONDS:
            # A kubeconfig may name a program to ask, which takes its time.
            self._bearer = await asyncio.to_thread(self._read_bearer)
            self._bearer_read = now
        return self._bearer

    async def _authorize(
        self,
        request: aiohttp.ClientRequest,
        handler: Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]],
    ) -> aiohttp.ClientResponse:
        bearer = await self.authorization()
        if bearer is not None:
            request.headers["Authorization"] = bearer
        answer = await handler(request)
        if answer.status == 401:
            self._bearer_read = float("-inf")
        return answer


_USER_AGENT: Final = f"watchword-operator/{__version__}"


def connect(kubeconfig: str | None = None, context: str | None = None) -> Connection:
    """Find the API server: a kubeconfig that is named, else the pod's own, else the default kubeconfig.

    Raises:
        CannotStart: there is none, or it cannot be used; the message says what would be right.
    """
    configuration = kubernetes.client.Configuration()
    if kubeconfig is None and context is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
        try:
            kubernetes.config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]  # the library has no types there
        except (ConfigException, OSError) as error:
            raise CannotStart(
                f"in a pod, without the means to reach the API server: {error} Remedy: leave "
                "automountServiceAccountToken on for the operator's pod"
            ) from None
        return Connection(
            configuration,
            source="the pod's ServiceAccount",
            namespace=_mounted_namespace(),
            token_file=str(_MOUNTED / "token"),
        )
    named = kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
    source = f"kubeconfig {named}"
    try:
        kubernetes.config.load_kube_config(  # type: ignore[no-untyped-call]  # as above
            config_file=kubeconfig, context=context, client_configuration=configuration, persist_config=False
        )
        contexts, active = kubernetes.config.list_kube_config_contexts(  # type: ignore[no-untyped-call]
            config_file=kubeconfig  # as above
        )
    except _UNUSABLE as error:
        # Its values may be credentials: of an error that is not the loader's own, only the type is told.
        why = str(error) if isinstance(error, ConfigException) else type(error).__name__
        raise CannotStart(
            f"{source} cannot be used: {why.rstrip('.')}. Remedy: name a kubeconfig (--kubeconfig) and a "
            "context in it (--context), or run in a pod with a ServiceAccount"
        ) from None
    used = next((each for each in contexts if each["name"] == context), active)
    namespace = (used.get("context") or {}).get("namespace")
    return Connection(configuration, source=source, namespace=namespace)


def _mounted_namespace() -> str | None:
    try:
        return (_MOUNTED / "namespace").read_text().strip() or None
    except OSError:
        return None
