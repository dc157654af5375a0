# SPDX-License-Identifier: Apache-2.0
"""`watchword desk`: run the token desk, from an API server or from a folder of files.

A desk that started with half of its settings would issue tokens that no gate takes, so everything that it
cannot do without is asked for here, with the flag that is missing.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from watchword.cli.audience_options import CLUSTER_ID
from watchword.cli.commands import Commands, LazyGroup
from watchword.cli.failures import UnusableInput
from watchword.cli.options import (
    ADDRESS,
    EXISTING_FILE,
    EXISTING_FOLDER,
    NAMESPACED_NAME,
    Address,
    log_level_option,
    ops_listen_option,
    option,
    require_certificate_pair,
)
from watchword.kube.names import NamespacedName

if TYPE_CHECKING:
    from watchword.desk.published import Publisher
    from watchword.desk.sources import DeskSource

COMMANDS: Final[Commands] = {
    "clients": ("watchword.cli.desk.clients", "List the clients of a desk, and show one."),
    "tokens": ("watchword.cli.desk.tokens", "List the tokens that a desk issued, and revoke one."),
    "audit": ("watchword.cli.desk.audit", "Print a desk's audit entries through its admin API."),
    "explain": ("watchword.cli.desk.explain", "Say whether a workload would get a token, and why not."),
    "sign-in": ("watchword.cli.desk.sign_in", "Sign in to a desk's admin API in a browser."),
    "sign-out": ("watchword.cli.desk.sign_out", "End a sign-in at a desk."),
    "agents": ("watchword.cli.desk.agents", "See, revoke and forget agents and who claimed them."),
    "migrate": ("watchword.cli.desk.migrate", "Make or change the desk's schema on PostgreSQL."),
}


@click.group(
    "desk",
    cls=LazyGroup,
    lazy=COMMANDS,
    invoke_without_command=True,
    short_help="Run the token desk, and administer one.",
)
@option("--token-desk", "desk", type=NAMESPACED_NAME, metavar="NS/NAME", help="The TokenDesk to be.")
@option(
    "--store",
    metavar="DSN",
    help="Where tokens, revocations and the audit log are kept: sqlite:////PATH for one replica, "
    "postgresql://USER@HOST/DATABASE for several.",
)
@option(
    "--config-folder",
    "folder",
    type=EXISTING_FOLDER,
    metavar="DIR",
    help="Read all of it from files instead of the API: manifests of the TokenDesk and its DeskClients, "
    "bundles/*.json, keys/*.pem, secrets/NAME/ENTRY. What the desk publishes is written to published/.",
)
@option(
    "--cluster-id", type=CLUSTER_ID, metavar="UID", help="With --config-folder: the cluster, as in audiences."
)
@option("--api-server", metavar="URL", help="The API server.  [default: the pod's own]")
@option("--api-token-file", type=EXISTING_FILE, metavar="FILE", help="Token for it.")
@option("--api-ca-file", type=EXISTING_FILE, metavar="FILE", help="PEM file of its CA.")
@option(
    "--listen",
    type=ADDRESS,
    default="127.0.0.1:8444",
    show_default=True,
    metavar="HOST:PORT",
    help="Where the endpoints of OAuth answer.",
)
@ops_listen_option("127.0.0.1:9091")
@option(
    "--admin-listen",
    type=ADDRESS,
    metavar="HOST:PORT",
    help="Where the admin API answers admin service accounts.  [default: nowhere]",
)
@option("--tls-cert", type=EXISTING_FILE, metavar="FILE", help="PEM certificate chain; may change.")
@option("--tls-key", type=EXISTING_FILE, metavar="FILE", help="PEM key of --tls-cert.")
@option(
    "--trusted-proxies",
    type=click.IntRange(0, 8),
    default=0,
    show_default=True,
    help="How many proxies stand before the desk. So many entries of X-Forwarded-For, from its end, are "
    "believed; with 0 none is.",
)
@option(
    "--address-rate",
    type=click.FloatRange(min=0),
    default=200.0,
    show_default=True,
    metavar="PER_SECOND",
    help="Requests of one address, twice as many at once; 0: no limit.",
)
@option(
    "--subject-rate",
    type=click.FloatRange(min=0),
    default=50.0,
    show_default=True,
    metavar="PER_SECOND",
    help="Requests of one workload or client, twice as many at once; 0: no limit.",
)
@option(
    "--agents-per-hour",
    type=click.FloatRange(min=0),
    default=5.0,
    show_default=True,
    metavar="NUMBER",
    help="Agents that one address may register, where spec.agents lets them; 0: no limit.",
)
@option(
    "--agents-per-minute",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="NUMBER",
    help="Agents that all addresses together may register, and as many by each AgentProvider; 0: no limit.",
)
@option(
    "--unclaimed-tokens-per-minute",
    type=click.FloatRange(min=0),
    default=300.0,
    show_default=True,
    metavar="NUMBER",
    help="Tokens that all agents together may ask for that no one claimed; 0: no limit.",
)
@log_level_option()
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    desk: NamespacedName | None,
    store: str | None,
    folder: str | None,
    cluster_id: str | None,
    listen: Address,
    ops_listen: Address,
    admin_listen: Address | None,
    tls_cert: str | None,
    tls_key: str | None,
    trusted_proxies: int,
    address_rate: float,
    subject_rate: float,
    agents_per_hour: float,
    agents_per_minute: float,
    unclaimed_tokens_per_minute: float,
    log_level: str,
    **api: str | None,
) -> None:
    """Run the token desk: a workload's own token in, a narrower and shorter one out (RFC 8693).

    It decides with the very bundles that gates use: a desk token allows at most what the TrustedWorkload
    allows, ends with the token that it was made from, and dies with its trust. Nothing is issued without its
    entry in the audit log (`watchword audit`).

    \b
    Examples:
      watchword desk --token-desk watchword-desk/desk --store sqlite:////var/lib/watchword/desk.db
      curl -s https://desk.example.com/oauth2/token \\
        -d grant_type=urn:ietf:params:oauth:grant-type:token-exchange \\
        -d subject_token_type=urn:ietf:params:oauth:token-type:jwt \\
        --data-urlencode subject_token@/var/run/secrets/watchword.dev/token \\
        -d audience=tuist/tuist-server -d scope=cache:read -d account=acme -d project=ios

    The commands below ask a desk that runs through its admin API, as an admin service account or as the
    person who signed in (docs/how-to/administer-a-desk.md).

    To try it without a cluster: `watchword dev DIR --desk-listen 127.0.0.1:8444`.

    Exit codes: 0 stopped by a signal; 2 wrong usage or unusable input.
    """
    if ctx.invoked_subcommand is not None:
        return
    from watchword.desk.serve import DeskSettings, run

    require_certificate_pair(tls_cert, tls_key)
    for flag, value in (("--token-desk", desk), ("--store", store)):
        if value is None:
            raise click.UsageError(f"{flag} is missing; see `watchword desk --help`.")
    if desk is None or store is None:
        return
    source, publisher = _source(desk, folder, cluster_id, api)
    settings = DeskSettings(
        store=store,
        listen=str(listen),
        ops_listen=str(ops_listen),
        admin_listen=None if admin_listen is None else str(admin_listen),
        tls_certificate=tls_cert,
        tls_key=tls_key,
        trusted_proxies=trusted_proxies,
        addresses_per_second=address_rate,
        addresses_burst=max(1, int(2 * address_rate)),
        subjects_per_second=subject_rate,
        subjects_burst=max(1, int(2 * subject_rate)),
        registrations_per_hour=agents_per_hour,
        registrations_per_minute=agents_per_minute,
        unclaimed_per_minute=unclaimed_tokens_per_minute,
        log_level=log_level.upper(),
    )
    raise SystemExit(run(settings, source, publisher))


def _source(
    desk: NamespacedName, folder: str | None, cluster_id: str | None, api: dict[str, Any]
) -> "tuple[DeskSource, Publisher]":
    if folder is None:
        if cluster_id is not None:
            raise click.UsageError(
                "--cluster-id is given without --config-folder; the API server knows it itself."
            )
        return _from_api(desk, api)
    if given := [name for name, value in api.items() if value is not None]:
        flag = f"--{given[0].replace('_', '-')}"
        raise click.UsageError(f"{flag} and --config-folder exclude each other: files, or an API server.")
    if cluster_id is None:
        raise click.UsageError(
            "--config-folder needs --cluster-id: services' audiences have the cluster in them."
        )
    from watchword.desk.sources import FilePublisher, FolderDeskSource

    published = Path(folder) / "published"
    try:
        published.mkdir(exist_ok=True)
    except OSError as error:
        raise UnusableInput(
            f"--config-folder {folder}: published/ cannot be made there: {error.strerror}.",
            "Make it yourself, writable for the desk: revocations go there.",
        ) from None
    return FolderDeskSource(Path(folder), (desk.namespace, desk.name), cluster_id), FilePublisher(published)


def _from_api(desk: NamespacedName, api: dict[str, Any]) -> "tuple[DeskSource, Publisher]":
    from watchword.desk.cluster import ClusterDesk
    from watchword.kube.watch.endpoint import ACCOUNT_FOLDER, Endpoint, in_cluster

    def mounted(name: str) -> str | None:
        path = f"{ACCOUNT_FOLDER}/{name}"
        return path if os.path.exists(path) else None

    try:
        url = api["api_server"] or in_cluster(os.environ, ACCOUNT_FOLDER).url
        endpoint = Endpoint(
            url,
            ca_file=api["api_ca_file"] or mounted("ca.crt"),
            token_file=api["api_token_file"] or mounted("token"),
        )
    except ValueError as error:
        sentence, _, remedy = str(error).partition("; ")
        raise UnusableInput(f"--api-server: {sentence}.", f"{remedy[:1].upper()}{remedy[1:]}.") from None
    cluster = ClusterDesk(endpoint, desk.namespace, desk.name)
    return cluster, cluster
