# SPDX-License-Identifier: Apache-2.0
"""`watchword verify`: judge a token as a gate with this bundle would, check by check, without a cluster."""

import time

import click

from watchword.cli.audience_options import cluster_id_option, offline_rules
from watchword.cli.bundle_input import bundle_from_file
from watchword.cli.failures import ANSWER_IS_NO
from watchword.cli.folder import open_folder
from watchword.cli.issuer_keys import jwks_option, keys_of, take_desk_keys
from watchword.cli.options import (
    EXISTING_FILE,
    EXISTING_FOLDER,
    NAMESPACED_NAME,
    option,
    output_option,
)
from watchword.cli.report import RequestLine, report_on
from watchword.cli.report_text import as_json, as_text
from watchword.cli.service_choice import choose_service, say_problems
from watchword.cli.timestamps import TIMESTAMP
from watchword.cli.token_input import read_token
from watchword.identity import Refusal
from watchword.kube.names import NamespacedName
from watchword.trust import Ruleset, compile_resources, load


@click.command("verify", short_help="Say whether a token is accepted, check by check.")
@click.argument("source_file", metavar="[TOKEN_FILE|-]", default="-", type=click.Path(allow_dash=True))
@option("--bundle", type=EXISTING_FILE, metavar="FILE", help="The bundle of the service.")
@option(
    "--manifests", type=EXISTING_FOLDER, metavar="DIR", help="A folder of manifests, in place of --bundle."
)
@cluster_id_option
@jwks_option
@option("--service", type=NAMESPACED_NAME, metavar="NS/NAME", help="Which service of --manifests.")
@option("--at", type=TIMESTAMP, metavar="TIME", help="Judge at this time: RFC 3339 or epoch.  [default: now]")
@option("--method", metavar="METHOD", help="Also check a request with this method (with --path).")
@option("--path", metavar="PATH", help="Also check a request for this path, as in the request line.")
@output_option("text", "json")
def command(
    *,
    source_file: str,
    bundle: str | None,
    manifests: str | None,
    cluster_id: str | None,
    jwks_files: tuple[str, ...],
    service: NamespacedName | None,
    at: float | None,
    method: str | None,
    path: str | None,
    output: str,
) -> None:
    """Judge the token in TOKEN_FILE, or on standard input, as a gate would.

    Every check is shown with its outcome. What the header says is marked as unverified; claims are shown
    once the signature held. Where a TrustedWorkload is missing, it is printed for `kubectl apply`. The token
    itself is never printed, and never read from an argument.

    \b
    Examples:
      watchword verify token.txt --bundle bundle.json --method GET --path /api/accounts/acme/projects
      watchword verify token.txt --manifests manifests/two-clusters --jwks this-cluster=here.json \\
        --jwks atlas-production=there.pem

    Exit codes: 0 accepted; 1 refused; 2 wrong usage or unusable input.
    """
    if (bundle is None) == (manifests is None):
        raise click.UsageError("Give exactly one of --bundle FILE and --manifests DIR.")
    if service is not None and manifests is None:
        raise click.UsageError("--service belongs to --manifests; a bundle is for one service.")
    if cluster_id is not None and manifests is None:
        raise click.UsageError("--cluster-id belongs to --manifests; a bundle has its audiences in it.")
    if jwks_files and manifests is None:
        raise click.UsageError("--jwks belongs to --manifests; a bundle has its keys in it.")
    if (method is None) != (path is None):
        raise click.UsageError("--method and --path belong together; give both, or neither.")
    ruleset = (
        load(bundle_from_file(bundle))
        if bundle is not None
        else _from_manifests(str(manifests), service, cluster_id, keys_of(jwks_files))
    )
    request = RequestLine(method, path) if method is not None and path is not None else None
    now = time.time() if at is None else at
    report = report_on(read_token(source_file), ruleset, now, request)
    click.echo(as_json(report, ruleset, now) if output == "json" else as_text(report, ruleset, now))
    if isinstance(report.decision, Refusal):
        raise SystemExit(ANSWER_IS_NO)


def _from_manifests(
    folder: str, service: NamespacedName | None, cluster_id: str | None, keys: dict[str, bytes]
) -> Ruleset:
    found = open_folder(folder)
    desk_keys = take_desk_keys(keys, found.resources)
    compiled = compile_resources(
        found.resources,
        audiences=offline_rules(cluster_id),
        keys=keys,
        desk_keys=desk_keys,
        now=time.time(),
    )
    say_problems((*found.problems, *found.named(compiled.problems)))
    return load(choose_service(compiled.bundles, service))
