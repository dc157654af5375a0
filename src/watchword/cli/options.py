# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, and the rule that every flag is also an environment variable.

`--ops-listen` is `WATCHWORD_OPS_LISTEN`, by construction: a table of names kept by hand would drift, and a
container that is configured through its environment would silently run with a default.
"""

import ipaddress
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import click

from watchword.kube.names import NamespacedName

_Command = TypeVar("_Command", bound=Callable[..., Any])


class Address(NamedTuple):
    """Where to listen.

    Attributes:
        host: a name or an IP address, without brackets.
        port: 0 to 65535; 0 lets the system choose.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by a name or an address that means nothing else."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class AddressType(click.ParamType[Address]):
    """HOST:PORT, with an IPv6 host in brackets."""

    name = "host:port"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        """Parse the text; fails with what would be right."""
        if isinstance(value, Address):
            return value
        text = str(value)
        host, colon, port = text.rpartition(":")
        if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
            self.fail(f"'{text}' is not HOST:PORT; say for example 127.0.0.1:8443 or [::1]:8443.", param, ctx)
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            self.fail(f"'{text}' has an IPv6 address without brackets; say [{host}]:{port}.", param, ctx)
        if not host:
            self.fail(f"'{text}' names no host; say 0.0.0.0:{port} for all addresses.", param, ctx)
        return Address(host, int(port))


class NamespacedNameType(click.ParamType[NamespacedName]):
    """NAMESPACE/NAME, both well-formed Kubernetes names."""

    name = "namespace/name"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> NamespacedName:
        """Parse the text; fails with what would be right."""
        if isinstance(value, NamespacedName):
            return value
        from watchword.identity.subject import is_namespace_name, is_service_account_name

        namespace, slash, name = str(value).partition("/")
        if not slash or not is_namespace_name(namespace) or not is_service_account_name(name):
            self.fail(
                f"'{value}' is not NAMESPACE/NAME in Kubernetes' form; say for example tuist/tuist-server.",
                param,
                ctx,
            )
        return NamespacedName(namespace, name)


ADDRESS = AddressType()
NAMESPACED_NAME = NamespacedNameType()
EXISTING_FOLDER = click.Path(exists=True, file_okay=False, readable=True)
EXISTING_FILE = click.Path(exists=True, dir_okay=False, readable=True)


def option(*declarations: str, **settings: Any) -> Callable[[_Command], _Command]:
    """`click.option` whose long name also names its environment variable."""
    long_name = next(each for each in declarations if each.startswith("--")).split("/")[0]
    settings.setdefault("envvar", "WATCHWORD_" + long_name.removeprefix("--").replace("-", "_").upper())
    settings.setdefault("show_envvar", True)
    return click.option(*declarations, **settings)


def output_option(*formats: str) -> Callable[[_Command], _Command]:
    """`-o FORMAT`; the first format is the default."""
    return option(
        "-o",
        "--output",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help="How results are printed on stdout.",
    )


def log_level_option(
    help_text: str = "The least severe log line that is written.",
) -> Callable[[_Command], _Command]:
    """`--log-level` of a process that runs until it is stopped."""
    return option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        default="info",
        show_default=True,
        help=help_text,
    )


def ops_listen_option(default: str) -> Callable[[_Command], _Command]:
    """`--ops-listen` of a process with an ops port, by default at HOST:PORT."""
    return option(
        "--ops-listen",
        type=ADDRESS,
        default=default,
        show_default=True,
        metavar="HOST:PORT",
        help="Where /healthz, /readyz and /metrics answer. Never make this public.",
    )


def cluster_options(command: _Command) -> _Command:
    """`--context` and `--kubeconfig` of a command that changes what Watchword's own cluster has."""
    context = option(
        "--context", metavar="NAME", help="kubeconfig context of Watchword's cluster.  [default: current]"
    )
    kubeconfig = option(
        "--kubeconfig", metavar="FILE", type=click.Path(dir_okay=False), help="kubeconfig file."
    )
    return context(kubeconfig(command))


def desk_ca_option(command: _Command) -> _Command:
    """`--ca-file` of a command that calls a desk."""
    decorate = option(
        "--ca-file", type=EXISTING_FILE, metavar="FILE", help="PEM file of the CA of the desk's certificate."
    )
    return decorate(command)


def gate_options(command: _Command) -> _Command:
    """The flags of a running gate, for `sidecar` and `dev`."""
    for decorate in reversed(
        (
            option(
                "--listen",
                type=ADDRESS,
                multiple=True,
                default=["127.0.0.1:8443", "[::1]:8443"],
                show_default=True,
                metavar="HOST:PORT",
                help="Where the gate answers requests; may be given several times. [::]:8443 is every "
                "address of IPv6 and IPv4. By default on loopback, [::1] only where the system has IPv6.",
            ),
            ops_listen_option("127.0.0.1:9090"),
            option(
                "--tls-cert",
                type=EXISTING_FILE,
                metavar="FILE",
                help="PEM certificate chain; read again when it changes.",
            ),
            option("--tls-key", type=EXISTING_FILE, metavar="FILE", help="PEM key of --tls-cert."),
            option(
                "--upstream",
                metavar="URL",
                help="The app, to which allowed requests are passed on: http://127.0.0.1:8080, or "
                "h2c://127.0.0.1:8080 where it speaks HTTP/2 alone, as gRPC servers do.",
            ),
            option(
                "--upstream-timeout-seconds",
                type=click.FloatRange(min=0.1),
                default=60.0,
                show_default=True,
                metavar="SECONDS",
                help="How long the app may send nothing before the caller is told 504.",
            ),
            option(
                "--app-probe",
                multiple=True,
                metavar="NAME=URL",
                help="A probe of the app on loopback that the ops port makes for the kubelet, as "
                "/app-probes/NAME; may be repeated.",
            ),
            option(
                "--upload-timeout-seconds",
                type=click.FloatRange(min=0.1),
                default=60.0,
                show_default=True,
                metavar="SECONDS",
                help="How long a caller may send nothing of a body for the app before it is told 408.",
            ),
            option(
                "--long-connection-grace",
                type=click.FloatRange(min=0, max=3600),
                default=300.0,
                show_default=True,
                metavar="SECONDS",
                help="How long a WebSocket or a long answer may outlive its token; at most 3600.",
            ),
            option(
                "--usage-dsn",
                metavar="DSN",
                help="Where usage is kept, for example sqlite:////var/lib/watchword/usage.db.",
            ),
            option(
                "--trace-sample-ratio",
                type=click.FloatRange(min=0, max=1),
                default=0.0,
                show_default=True,
                metavar="RATIO",
                help="The part of the requests whose spans go to the OpenTelemetry collector that "
                "OTEL_EXPORTER_OTLP_ENDPOINT names; 0: nothing is traced.",
            ),
            option(
                "--audit",
                type=click.Choice(["off", "refusals", "all"]),
                default="refusals",
                show_default=True,
                help="Which decisions the audit log keeps.",
            ),
            log_level_option(),
        )
    ):
        command = decorate(command)
    return command


def require_certificate_pair(tls_cert: str | None, tls_key: str | None) -> None:
    """Refuse one half of a certificate pair: the gate would silently speak plain HTTP."""
    if (tls_cert is None) != (tls_key is None):
        given, missing = ("--tls-cert", "--tls-key") if tls_key is None else ("--tls-key", "--tls-cert")
        raise click.UsageError(f"{given} is given without {missing}; give both, or neither for plain HTTP.")
