# SPDX-License-Identifier: Apache-2.0
"""`watchword console`: pages on this machine that show who may call what, with one's own rights."""

from urllib.parse import urlsplit

import click

from watchword.cli.audience_options import cluster_id_option
from watchword.cli.failures import UnusableInput
from watchword.cli.issuer_keys import jwks_option, keys_of
from watchword.cli.options import EXISTING_FOLDER, cluster_options, option
from watchword.identity import is_namespace_name


@click.command("console", short_help="Show who may call what, in a browser on this machine.")
@option(
    "--namespace",
    "-n",
    "namespaces",
    multiple=True,
    metavar="NS",
    help="Only this namespace; may be repeated.",
)
@option(
    "--from",
    "folder",
    type=EXISTING_FOLDER,
    metavar="DIR",
    # As other commands call it: `--from` alone is a date elsewhere.
    envvar="WATCHWORD_MANIFESTS",
    help="Show these manifests, in place of a cluster.",
)
@cluster_id_option
@jwks_option
@option(
    "--ops-url",
    "ops_urls",
    multiple=True,
    metavar="URL",
    help="With --from: also show what this gate's ops port has counted; may be repeated.",
)
@option(
    "--listen-port",
    "port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    metavar="PORT",
    help="Of loopback; 0: one that is free.",
)
@option("--open/--no-open", "opens_browser", default=False, show_default=True, help="Open it in a browser.")
@cluster_options
def command(
    *,
    namespaces: tuple[str, ...],
    folder: str | None,
    cluster_id: str | None,
    jwks_files: tuple[str, ...],
    ops_urls: tuple[str, ...],
    port: int,
    opens_browser: bool,
    context: str | None,
    kubeconfig: str | None,
) -> None:
    """Serve pages on loopback: services and their callers, issuers and keys, refusals, tokens, desks.

    The cluster is read through kubectl, with your own rights; what these do not reach is named on the page.
    Nothing is changed: for each change the page has the command that makes it. The console is opened by a
    link that works once, in a file that only you can read; the path of that file is printed.

    \b
    Examples:
      watchword console --open
      watchword console --context production --namespace tuist
      watchword console --from manifests/two-clusters

    Exit codes: 0 stopped by a signal; 2 wrong usage, or it cannot start.
    """
    try:
        from watchword.console.cluster import ClusterSource, pinned
        from watchword.console.folder_source import FolderSource
        from watchword.console.serve import run_console
    except ModuleNotFoundError as missing:
        raise UnusableInput(
            f"The console needs {missing.name}, which is not installed.",
            "Install it with its extra: pip install 'watchword[console]'.",
        ) from None
    from watchword.console.source import Source
    from watchword.process.listening import CannotStartError

    source: Source
    if folder is not None:
        if context or kubeconfig or namespaces:
            raise click.UsageError(
                "--context, --kubeconfig and --namespace belong to a cluster; not to --from."
            )
        source = FolderSource(folder, cluster_id, keys_of(jwks_files), tuple(map(_checked, ops_urls)))
    else:
        if cluster_id or jwks_files or ops_urls:
            raise click.UsageError("--cluster-id, --jwks and --ops-url belong to --from DIR.")
        for name in namespaces:
            if not is_namespace_name(name):
                raise click.UsageError(f"--namespace {name!a} is no namespace's name; say for example tuist.")
        source = ClusterSource(*pinned(context, kubeconfig), namespaces)
    # What cannot be read at all is said here, and not by the first page.
    source.read()
    try:
        run_console(source, port, opens_browser=opens_browser)
    except CannotStartError as problem:
        said, _, remedy = str(problem).partition(" Remedy: ")
        raise UnusableInput(said, f"{remedy[:1].upper()}{remedy[1:]}.") from None


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise click.UsageError(f"--ops-url {url!a} is not a URL; say for example http://127.0.0.1:9090.")
    return url.rstrip("/")
