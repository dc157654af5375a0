# SPDX-License-Identifier: Apache-2.0
"""`watchword explain`: judge a token against the bundle that the gates of a cluster run on, check by
check."""

import time

import click

from watchword.cli.failures import ANSWER_IS_NO
from watchword.cli.live import live_bundle
from watchword.cli.options import NAMESPACED_NAME, option, output_option
from watchword.cli.report import RequestLine, report_on
from watchword.cli.report_text import as_json, as_text
from watchword.cli.timestamps import TIMESTAMP
from watchword.cli.token_input import read_token
from watchword.identity import Refusal
from watchword.kube.names import NamespacedName
from watchword.trust import load


@click.command("explain", short_help="Judge a token against a service of a cluster, check by check.")
@click.argument("source_file", metavar="[TOKEN_FILE|-]", default="-", type=click.Path(allow_dash=True))
@option("--service", type=NAMESPACED_NAME, required=True, metavar="NS/NAME", help="The ProtectedService.")
@option("--context", metavar="NAME", help="Of this kubeconfig context's cluster.  [default: the current]")
@option("--method", metavar="METHOD", help="Also check a request with this method (with --path).")
@option("--path", metavar="PATH", help="Also check a request for this path, as in the request line.")
@option("--at", type=TIMESTAMP, metavar="TIME", help="Judge at this time: RFC 3339 or epoch.  [default: now]")
@output_option("text", "json")
def command(
    *,
    source_file: str,
    service: NamespacedName,
    context: str | None,
    method: str | None,
    path: str | None,
    at: float | None,
    output: str,
) -> None:
    """Judge the token in TOKEN_FILE, or on standard input, as the gates of a service do now.

    The service's bundle is read from its ConfigMap, through kubectl and with your own rights; all else is as
    in `watchword verify`, which needs no cluster. The token is sent nowhere and printed nowhere.

    \b
    Examples:
      watchword explain token.txt --service tuist/tuist-server
      kubectl exec deploy/atlas -- cat /var/run/secrets/watchword.dev/token |
        watchword explain --service tuist/tuist-server --method GET --path /api/accounts/acme/projects

    Exit codes: 0 accepted; 1 refused; 2 wrong usage or unusable input.
    """
    if (method is None) != (path is None):
        raise click.UsageError("--method and --path belong together; give both, or neither.")
    ruleset = load(live_bundle(service, context))
    request = RequestLine(method, path) if method is not None and path is not None else None
    now = time.time() if at is None else at
    report = report_on(read_token(source_file), ruleset, now, request)
    click.echo(as_json(report, ruleset, now) if output == "json" else as_text(report, ruleset, now))
    if isinstance(report.decision, Refusal):
        raise SystemExit(ANSWER_IS_NO)
