# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, and the rule that every flag is also an environment variable.

`--ops-listen` is `WATCHWORD_OPS_LISTEN`, by construction: a table of names kept by hand would drift, and a
container that is configured through its environment would silently run with a default.
"""

import ipaddress
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import click

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
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
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


class ObjectName(NamedTuple):
    """A namespaced object, as `NAMESPACE/NAME`."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class ObjectNameType(click.ParamType[ObjectName]):
    """NAMESPACE/NAME, both well-formed Kubernetes names."""

    name = "namespace/name"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> ObjectName:
        """Parse the text; fails with what would be right."""
        if isinstance(value, ObjectName):
            return value
        from watchword.identity.subject import is_namespace_name, is_service_account_name

        namespace, slash, name = str(value).partition("/")
        if not slash or not is_namespace_name(namespace) or not is_service_account_name(name):
            self.fail(
                f"'{value}' is not NAMESPACE/NAME in Kubernetes' form; say for example tuist/tuist-server.",
                param,
                ctx,
            )
        return ObjectName(namespace, name)


ADDRESS = AddressType()
OBJECT_NAME = ObjectNameType()
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


def gate_options(command: _Command) -> _Command:
    """The flags of a running gate, for `sidecar` and `dev`."""
    for decorate in reversed(
        (
            option(
                "--listen",
                type=ADDRESS,
                default="127.0.0.1:8443",
                show_default=True,
                metavar="HOST:PORT",
                help="Where the gate answers requests.",
            ),
            option(
                "--ops-listen",
                type=ADDRESS,
                default="127.0.0.1:9090",
                show_default=True,
                metavar="HOST:PORT",
                help="Where /healthz, /readyz and /metrics answer. Never make this public.",
            ),
            option(
                "--tls-cert",
                type=EXISTING_FILE,
                metavar="FILE",
                help="PEM certificate chain; read anew when it changes.",
            ),
            option("--tls-key", type=EXISTING_FILE, metavar="FILE", help="PEM key of --tls-cert."),
            option(
                "--upstream",
                metavar="URL",
                help="The app, such as http://127.0.0.1:8080, to which allowed requests are passed on.",
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
                "--usage-dsn",
                metavar="DSN",
                help="Where usage is kept, for example sqlite:////var/lib/watchword/usage.db.",
            ),
            option(
                "--audit",
                type=click.Choice(["off", "refusals", "all"]),
                default="refusals",
                show_default=True,
                help="Which decisions the audit log keeps.",
            ),
            option(
                "--log-level",
                type=click.Choice(["debug", "info", "warning", "error"]),
                default="info",
                show_default=True,
                help="The least severe log line that is written.",
            ),
        )
    ):
        command = decorate(command)
    return command


def require_certificate_pair(tls_cert: str | None, tls_key: str | None) -> None:
    """Refuse one half of a certificate pair: the gate would silently speak plain HTTP."""
    if (tls_cert is None) != (tls_key is None):
        given, missing = ("--tls-cert", "--tls-key") if tls_key is None else ("--tls-key", "--tls-cert")
        raise click.UsageError(f"{given} is given without {missing}; give both, or neither for plain HTTP.")
