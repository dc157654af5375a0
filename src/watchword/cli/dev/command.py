# SPDX-License-Identifier: Apache-2.0
"""`watchword dev`: the gate on a folder of manifests, with an issuer to get tokens from, and no cluster.

For trying out trust before it is applied. Everything about it is loud and local: its issuer is on the
loopback interface only, and its keys are gone when it stops.
"""

import contextlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from watchword.cli.failures import say, warn
from watchword.cli.options import (
    ADDRESS,
    EXISTING_FOLDER,
    NAMESPACED_NAME,
    Address,
    gate_options,
    option,
)
from watchword.kube.names import NamespacedName

if TYPE_CHECKING:
    from watchword.cli.gate_flags import GateFlags


@click.command("dev", short_help="Run the gate on a folder of manifests; no cluster needed.")
@click.argument("folder", metavar="DIR", type=EXISTING_FOLDER)
@gate_options
@option(
    "--service", type=NAMESPACED_NAME, metavar="NS/NAME", help="Which ProtectedService, if DIR has several."
)
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
@option(
    "--desk-listen",
    type=ADDRESS,
    metavar="HOST:PORT",
    help="Run the desk of DIR's one TokenDesk there, too; the gate takes its tokens.",
)
@option(
    "--desk-admin-listen",
    type=ADDRESS,
    metavar="HOST:PORT",
    help="With --desk-listen: where that desk's admin API answers.",
)
@option(
    "--desk-store",
    default="sqlite:///:memory:",
    show_default=True,
    metavar="DSN",
    help="Where that desk keeps its tokens and its audit log.",
)
@option(
    "--desk-rate",
    type=click.FloatRange(min=0),
    default=200.0,
    show_default=True,
    metavar="PER_SECOND",
    help="How often one address, or one workload, may ask that desk; 0: no limit.",
)
def command(
    *,
    folder: str,
    service: NamespacedName | None,
    no_issuer: bool,
    issuer_listen: Address,
    issuer_names: tuple[str, ...],
    desk_listen: Address | None,
    desk_admin_listen: Address | None,
    desk_store: str,
    desk_rate: float,
    **flags: Unpack["GateFlags"],
) -> None:
    """Run the gate on the manifests in DIR, compiled again as they are edited. For development only.

    The development issuer mints tokens like Kubernetes' projected ones for anyone who asks, and is pinned as
    the ClusterTrustedIssuer `development` unless DIR has one of that name. Usage is forgotten at the end
    unless --usage-dsn says where to keep it.

    \b
    Examples:
      watchword dev manifests/quickstart --issuer-listen 127.0.0.1:8500
      curl -s 127.0.0.1:8500/token -H 'Content-Type: application/json' -d \\
        '{"namespace": "atlas-production", "serviceAccount": "atlas", "audience": "tuist-server"}'

    With --desk-listen, tokens for the desk have the audience `watchword.dev/desks/dev/<namespace>/<name>`, or
    the desk's issuer URL; its keys are new at each start.

    Exit codes: 0 stopped by a signal; 2 wrong usage or unusable input.
    """
    from watchword.cli.dev.issuer import DEFAULT_NAME, DevelopmentIssuer
    from watchword.cli.dev.issuer_server import DevelopmentIssuerServer
    from watchword.cli.dev.source import FolderSource
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
    desk = None
    if desk_listen is not None:
        # Imported only here: a gate alone does not carry a desk.
        from watchword.cli.dev.desk import DevelopmentDesk

        desk = DevelopmentDesk(
            Path(folder),
            issuers,
            desk_listen,
            admin_listen=desk_admin_listen,
            store=desk_store,
            rate=desk_rate,
        )
    elif desk_admin_listen is not None:
        raise click.UsageError("--desk-admin-listen needs --desk-listen: it is that desk's.")
    source = FolderSource(Path(folder), service, issuers, desk.keys if desk is not None else None)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(DevelopmentIssuerServer(issuers, issuer_listen)) if issuers else None
        protected = source.first()
        warn(
            "for development only: anyone who reaches the development issuer can be anyone."
            if issuers
            else "for development only."
        )
        name = f"{protected.service.namespace}/{protected.service.name}"
        say(f"Gate for {name}: {', '.join(settings.listen)}, ops: {settings.ops_listen}")
        say(f"Audiences: {', '.join(protected.audiences)}")
        if server is not None:
            say(f"Development issuer: {server.url} (POST /token, GET /openid/v1/jwks)")
        if desk is not None:
            stack.enter_context(desk)
            say(f"Token desk: http://{desk.address} for {desk.issuer}, audience {desk.audience}")
            if desk.admin_address:
                say(f"Admin API of the desk: http://{desk.admin_address}")
        code = run(settings, source, partial(desk.tell, name) if desk is not None else None)
    raise SystemExit(code)
