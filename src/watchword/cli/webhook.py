# SPDX-License-Identifier: Apache-2.0
"""`watchword webhook`: the admission webhook that gives pods their gate or their token."""

import click

from watchword.cli.options import (
    ADDRESS,
    EXISTING_FILE,
    Address,
    log_level_option,
    option,
    require_certificate_pair,
)
from watchword.injection import InjectionSettings

_DEFAULTS = InjectionSettings()
_MAX_USER_ID = 2**31 - 1


class UserId(click.ParamType[int | None]):
    """A user id, or `unset` for none."""

    name = "user id"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | None:
        """The number; None for `unset`."""
        text = str(value)
        if text == "unset":
            return None
        is_number = text.isascii() and text.isdecimal() and len(text) <= len(str(_MAX_USER_ID))
        if not is_number or not 1 <= int(text) <= _MAX_USER_ID:
            self.fail(f"{text!r} is not a number from 1 to {_MAX_USER_ID}, and not unset.", param, ctx)
        return int(text)


@click.command("webhook", short_help="Run the admission webhook that injects gates and tokens.")
@option(
    "--listen",
    type=ADDRESS,
    default="127.0.0.1:9443",
    show_default=True,
    metavar="HOST:PORT",
    help="Where the API server calls, over TLS.",
)
@option(
    "--ops-listen",
    type=ADDRESS,
    default="127.0.0.1:9090",
    show_default=True,
    metavar="HOST:PORT",
    help="Where /healthz, /readyz and /metrics answer.",
)
@option(
    "--gate-image",
    default=_DEFAULTS.image,
    show_default=True,
    metavar="IMAGE",
    help="The gate's image, best by digest.",
)
@option(
    "--gate-image-pull-policy",
    default=_DEFAULTS.image_pull_policy,
    show_default=True,
    type=click.Choice(["IfNotPresent", "Always", "Never"]),
    help="As Kubernetes has it.",
)
@option(
    "--gate-listen-host",
    default=_DEFAULTS.listen_host,
    show_default=True,
    metavar="HOST",
    help="Where injected gates listen; [::] in clusters of IPv6 only.",
)
@option(
    "--gate-ops-port",
    default=_DEFAULTS.ops_port,
    show_default=True,
    type=click.IntRange(1, 65535),
    help="Port of an injected gate's probes and metrics.",
)
@option(
    "--gate-image-pull-secret",
    "gate_image_pull_secrets",
    multiple=True,
    metavar="NAME",
    help="A Secret to pull the gate's image with, which must be in the pod's namespace; may be repeated.",
)
@option(
    "--gate-run-as-user",
    default=str(_DEFAULTS.run_as_user),
    show_default=True,
    type=UserId(),
    metavar="ID|unset",
    help="User id of injected gates; `unset` leaves it to a platform that chooses it, such as OpenShift.",
)
@option(
    "--gate-cpu-request",
    default=_DEFAULTS.cpu_request,
    show_default=True,
    metavar="QUANTITY",
    help="CPU that is set aside for a gate.",
)
@option(
    "--gate-cpu-limit",
    default=_DEFAULTS.cpu_limit,
    metavar="QUANTITY",
    help="CPU that a gate may use at most.  [default: no limit]",
)
@option(
    "--gate-guaranteed-cpu",
    default=_DEFAULTS.guaranteed_cpu,
    show_default=True,
    metavar="QUANTITY",
    help="CPU, as request and limit, of a gate in a pod of the QoS class Guaranteed.",
)
@option(
    "--gate-memory-request",
    default=_DEFAULTS.memory_request,
    show_default=True,
    metavar="QUANTITY",
    help="Memory that is set aside for a gate.",
)
@option(
    "--gate-memory-limit",
    default=_DEFAULTS.memory_limit,
    show_default=True,
    metavar="QUANTITY",
    help="Memory beyond which a gate is ended.",
)
@option(
    "--gate-log-level",
    default=_DEFAULTS.log_level,
    show_default=True,
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="Of injected gates.",
)
@option(
    "--gate-trace-endpoint",
    default=_DEFAULTS.trace_endpoint,
    metavar="URL",
    help="The OpenTelemetry collector of injected gates, by OTLP over HTTP; none: nothing is traced.",
)
@option(
    "--gate-trace-sample-ratio",
    type=click.FloatRange(min=0, max=1),
    default=0.0,
    show_default=True,
    metavar="RATIO",
    help="The part of the requests that injected gates trace.",
)
@option(
    "--namespace",
    default="watchword-system",
    show_default=True,
    metavar="NAME",
    help="Where the webhook's Service and Secret are.",
)
@option(
    "--service",
    default="watchword-webhook",
    show_default=True,
    metavar="NAME",
    help="Its Service: with the namespace, the certificate's names.",
)
@option(
    "--dns-name",
    "dns_names",
    multiple=True,
    metavar="NAME",
    help="A further name of the certificate, for an API server that calls by URL; may be repeated.",
)
@option(
    "--secret",
    default="watchword-webhook-tls",
    show_default=True,
    metavar="NAME",
    help="The Secret for the certificate that it makes.",
)
@option(
    "--configuration",
    default="watchword-webhook",
    show_default=True,
    metavar="NAME",
    help="The MutatingWebhookConfiguration whose caBundle it keeps.",
)
@option(
    "--tls-cert",
    type=EXISTING_FILE,
    metavar="FILE",
    help="PEM certificate that someone else keeps, such as cert-manager; else it makes its own.",
)
@option("--tls-key", type=EXISTING_FILE, metavar="FILE", help="PEM key of --tls-cert.")
@option(
    "--client-ca",
    type=EXISTING_FILE,
    metavar="FILE",
    help="PEM file of CAs: answer only clients with a certificate of theirs, which the API server shows when "
    "its AdmissionConfiguration says so.  [default: answer every client]",
)
@option(
    "--desk-namespace",
    metavar="NS",
    default="",
    help="The namespace in which TokenDesks count; pods may ask for tokens for them.  "
    "[default: there are no desks]",
)
@option("--api-server", metavar="URL", help="The API server.  [default: the pod's own cluster]")
@option(
    "--api-token-file",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Token for --api-server; read again as it is renewed.",
)
@option(
    "--api-ca-file", type=click.Path(dir_okay=False), metavar="FILE", help="PEM authority of --api-server."
)
@log_level_option()
def command(
    *,
    listen: Address,
    ops_listen: Address,
    gate_image: str,
    gate_image_pull_policy: str,
    gate_listen_host: str,
    gate_ops_port: int,
    gate_image_pull_secrets: tuple[str, ...],
    gate_run_as_user: int | None,
    gate_cpu_request: str,
    gate_cpu_limit: str,
    gate_guaranteed_cpu: str,
    gate_memory_request: str,
    gate_memory_limit: str,
    gate_log_level: str,
    gate_trace_endpoint: str,
    gate_trace_sample_ratio: float,
    namespace: str,
    service: str,
    dns_names: tuple[str, ...],
    secret: str,
    configuration: str,
    tls_cert: str | None,
    tls_key: str | None,
    client_ca: str | None,
    desk_namespace: str,
    api_server: str | None,
    api_token_file: str | None,
    api_ca_file: str | None,
    log_level: str,
) -> None:
    """Answer the API server when a pod asks for a gate or a token by its labels.

    Runs in the cluster, in as many replicas as you like; the Helm chart starts it. Without --tls-cert it
    makes a certificate, keeps it in a Secret, renews it, and keeps the API server's trust in it.

    \b
    Example, in a pod:
      watchword webhook --listen 0.0.0.0:9443 --gate-image REGISTRY/gate@sha256:...

    Exit codes: 0 stopped by a signal; 2 wrong usage, or an address or a certificate that cannot be used.
    """
    require_certificate_pair(tls_cert, tls_key)
    from watchword.kube.watch import Endpoint, in_cluster
    from watchword.webhook.serve import WebhookSettings, run

    try:
        endpoint = (
            in_cluster()
            if api_server is None
            else Endpoint(api_server, ca_file=api_ca_file, token_file=api_token_file)
        )
    except ValueError as problem:
        raise click.UsageError(f"--api-server: {problem}.") from None
    settings = WebhookSettings(
        endpoint=endpoint,
        namespace=namespace,
        service=service,
        further_names=dns_names,
        secret=secret,
        configuration=configuration,
        tls_certificate=tls_cert,
        tls_key=tls_key,
        client_ca=client_ca,
        desk_namespace=desk_namespace,
        listen=str(listen),
        ops_listen=str(ops_listen),
        log_level=log_level.upper(),
        injection=InjectionSettings(
            image=gate_image,
            image_pull_policy=gate_image_pull_policy,
            listen_host=gate_listen_host,
            ops_port=gate_ops_port,
            image_pull_secrets=gate_image_pull_secrets,
            run_as_user=gate_run_as_user,
            cpu_request=gate_cpu_request,
            cpu_limit=gate_cpu_limit,
            guaranteed_cpu=gate_guaranteed_cpu,
            memory_request=gate_memory_request,
            memory_limit=gate_memory_limit,
            log_level=gate_log_level,
            trace_endpoint=_trace_endpoint(gate_trace_endpoint),
            trace_sample_ratio=f"{gate_trace_sample_ratio:.9f}".rstrip("0").rstrip("."),
        ),
    )
    raise SystemExit(run(settings))


def _trace_endpoint(url: str) -> str:
    if url and not url.startswith(("http://", "https://")):
        raise click.UsageError(
            f"--gate-trace-endpoint: {url!a} is no http:// or https:// URL. Use for example "
            "http://otel-collector.observability:4318."
        )
    return url
