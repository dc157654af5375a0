# SPDX-License-Identifier: Apache-2.0
"""`watchword dev`: the gate on a folder of manifests, with an issuer to get tokens from, and no cluster.

For trying out trust before it is applied. Everything about it is loud and local: its issuer is on the
loopback interface only, and its keys are gone when it stops.
"""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from watchword.cli.failures import say, warn
from watchword.cli.options import (
    ADDRESS,
    EXISTING_FOLDER,
    OBJECT_NAME,
    Address,
    ObjectName,
    gate_options,
    option,
)

if TYPE_CHECKING:
    from watchword.cli.gate_flags import GateFlags


@click.command("dev", short_help="Run the gate on a folder of manifests; no cluster needed.")
@click.argument("folder", metavar="DIR", type=EXISTING_FOLDER)
@gate_options
@option("--service", type=OBJECT_NAME, metavar="NS/NAME", help="Which ProtectedService, if DIR has several.")
@option("--no-issuer", is_flag=True, help="Without a development issuer: only tokens of issuers in DIR.")
@option(
    "--issuer-listen",
    type=ADDRESS,
    default="127.0.0.1:0",
    show_default=True,
    metavar="HOST:PORT",
    help="Where the development issuer answers; loopback only.",
)
@option(
    "--issuer-name",
    "issuer_names",
    multiple=True,
    metavar="NAME",
    help="Name of its ClusterTrustedIssuer; again for one more cluster.  [default: development]",
)
def command(
    *,
    folder: str,
    service: ObjectName | None,
    no_issuer: bool,
    issuer_listen: Address,
    issuer_names: tuple[str, ...],
    **flags: Unpack["GateFlags"],
) -> None:
    """Run the gate on the manifests in DIR, compiled again as they are edited. For development only.

    The development issuer mints tokens like Kubernetes' projected ones for whoever asks, and is pinned as
    the ClusterTrustedIssuer `development` unless DIR has one of that name. Usage is forgotten at the end
    unless --usage-dsn says where to keep it.

    \b
    Examples:
      watchword dev manifests/quickstart --issuer-listen 127.0.0.1:8500
      curl -s 127.0.0.1:8500/token -H 'Content-Type: application/json' -d \\
        '{"namespace": "atlas-production", "serviceAccount": "atlas", "audience": "tuist-server"}'

    Exit codes: 0 stopped by a signal; 2 wrong usage or unusable input.
    """
    from watchword.cli.dev_issuer import DEFAULT_NAME, DevelopmentIssuer
    from watchword.cli.dev_issuer_server import DevelopmentIssuerServer
    from watchword.cli.dev_source import FolderSource
    from watchword.cli.gate_flags import gate_settings
    from watchword.gate import run
    from watchword.identity import is_service_account_name

    settings = gate_settings(flags, default_usage_dsn="sqlite:///:memory:")
    names = issuer_names or (DEFAULT_NAME,)
    if no_issuer and issuer_names:
        raise click.UsageError("--issuer-name and --no-issuer exclude each other.")
    if unfit := [name for name in names if not is_service_account_name(name)]:
        raise click.UsageError(
            f"--issuer-name '{unfit[0]}' is no object's name; say for example development."
        )
    if len(set(names)) != len(names):
        raise click.UsageError("--issuer-name gives one name twice; each development issuer needs its own.")
    issuers = () if no_issuer else tuple(DevelopmentIssuer(name) for name in names)
    source = FolderSource(Path(folder), service, issuers)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(DevelopmentIssuerServer(issuers, issuer_listen)) if issuers else None
        protected = source.first()
        warn(
            "for development only: whoever reaches the development issuer can be anybody."
            if issuers
            else "for development only."
        )
        name = f"{protected.service.namespace}/{protected.service.name}"
        say(f"Gate for {name}: {settings.listen}, ops: {settings.ops_listen}")
        if server is not None:
            say(f"Development issuer: {server.url} (POST /token, GET /openid/v1/jwks)")
        code = run(settings, source)
    raise SystemExit(code)
