# SPDX-License-Identifier: Apache-2.0
"""Finds an API server as kubectl and pods do: a kubeconfig, or the ServiceAccount that a pod has mounted.

The `kubernetes` package reads the kubeconfig, with its contexts and the programs that give credentials.
"""

import os
from pathlib import Path
from typing import Final

import kubernetes.client
import kubernetes.config
import yaml
from kubernetes.config.config_exception import ConfigException

from watchword.kube.connection import Connection
from watchword.kube.proxies import proxy_variable
from watchword.kube.watch import Endpoint, in_cluster
from watchword.kube.watch.endpoint import ACCOUNT_FOLDER
from watchword.process.listening import CannotStartError
from watchword.process.logs import LOGGER

_MOUNTED: Final = Path(ACCOUNT_FOLDER)
# The loader checks little of what it reads, and stumbles over the rest in its own ways.
_UNUSABLE: Final = (ConfigException, OSError, ValueError, TypeError, AttributeError, KeyError, yaml.YAMLError)


def connect(kubeconfig: str | None = None, context: str | None = None) -> Connection:
    """Find the API server: a kubeconfig that is named, else the pod's own, else the default kubeconfig.

    Raises:
        CannotStartError: there is none, or it cannot be used; the message says what would be right.
    """
    variable = proxy_variable()
    if variable is not None:
        LOGGER.warning("the proxy of the environment is not used", extra={"variable": variable})
    if kubeconfig is None and context is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
        return _of_pod()
    named = kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
    source = f"kubeconfig {named}"
    configuration = kubernetes.client.Configuration()
    # Not the environment's, which the library would take up (see `watchword.kube.proxies`).
    configuration.proxy = None
    try:
        kubernetes.config.load_kube_config(  # type: ignore[no-untyped-call]  # the library has no types there
            config_file=kubeconfig, context=context, client_configuration=configuration, persist_config=False
        )
        contexts, active = kubernetes.config.list_kube_config_contexts(  # type: ignore[no-untyped-call]
            config_file=kubeconfig  # as above
        )
        certificate, key = configuration.cert_file, configuration.key_file
        endpoint = Endpoint(
            configuration.host.rstrip("/"),
            ca_file=configuration.ssl_ca_cert,
            client_certificate=(certificate, key) if certificate and key else None,
        )
    except _UNUSABLE as error:
        # Its values may be credentials: of an error that is not the loader's own, only the type is told.
        why = str(error) if isinstance(error, ConfigException) else type(error).__name__
        raise CannotStartError(
            f"{source} cannot be used: {why.rstrip('.')}. Remedy: name a kubeconfig (--kubeconfig) and a "
            "context in it (--context), or run in a pod with a ServiceAccount"
        ) from None

    _refuse_what_is_not_direct(configuration, source)

    def read_bearer() -> str | None:
        bearer: str | None = configuration.get_api_key_with_prefix("BearerToken", "authorization")
        return bearer

    used = next((each for each in contexts if each["name"] == context), active)
    namespace = (used.get("context") or {}).get("namespace")
    return Connection(endpoint, namespace=namespace, read_bearer=read_bearer)


def _refuse_what_is_not_direct(configuration: kubernetes.client.Configuration, source: str) -> None:
    if not configuration.verify_ssl:
        raise CannotStartError(
            f"{source} says insecure-skip-tls-verify: a server that posed as the API server would then decide"
            " whom all services trust. Remedy: give the cluster's certificate-authority instead"
        )
    if configuration.tls_server_name:
        raise CannotStartError(
            f"{source} says tls-server-name, which this operator does not support. "
            "Remedy: use an address that the API server's certificate names"
        )
    if configuration.proxy:
        raise CannotStartError(
            f"{source} says proxy-url: the API server is reached directly, never through a proxy. "
            "Remedy: use an address of the API server that is reachable from here"
        )


def _of_pod() -> Connection:
    try:
        endpoint = in_cluster()
        for path in (endpoint.ca_file, endpoint.token_file):
            if not Path(str(path)).read_bytes().strip():
                raise ValueError(f"{path} is empty")
    except (ValueError, OSError) as error:
        why = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
        raise CannotStartError(
            f"in a pod, without the means to reach the API server: {why}. Remedy: leave "
            "automountServiceAccountToken on for the operator's pod"
        ) from None
    return Connection(endpoint, namespace=_mounted_namespace())


def _mounted_namespace() -> str | None:
    try:
        return (_MOUNTED / "namespace").read_text().strip() or None
    except OSError:
        return None
