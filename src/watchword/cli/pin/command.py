# SPDX-License-Identifier: Apache-2.0
"""`watchword pin`: the ClusterTrustedIssuer of a cluster, with each key's thumbprint next to it for review.

Pinning is a decision that a person makes once, so the keys are written out and named. A key that is not fit
is said and left out. With `--discovery` the keys are followed from there on, anchored in the ones seen now.
"""

import json
import re

import click

from watchword.cli.failures import ANSWER_IS_NO, UnusableInput, say, warn
from watchword.cli.options import EXISTING_FILE, option, output_option
from watchword.cli.pin.manifest import following_manifest, following_yaml, inline_manifest, inline_yaml
from watchword.cli.pin.sources import Source, from_context, from_file, from_url, kids_with_a_sign_byte
from watchword.identity import is_service_account_name, load_jwks


@click.command("pin", short_help="Print the ClusterTrustedIssuer of a cluster.")
@click.argument("url", required=False)
@option("--context", metavar="NAME", help="Ask the cluster of this kubeconfig context, through kubectl.")
@option("--jwks", type=EXISTING_FILE, metavar="FILE", help="Read a JWKS or PEM file (needs --issuer).")
@option("--issuer", metavar="URL", help="The issuer's iss, where the source does not say it.")
@option("--name", metavar="NAME", help="Name of the object.  [default: made from the source]")
@option("--ca-bundle", type=EXISTING_FILE, metavar="FILE", help="PEM certificates to trust for URL.")
@option("--discovery", is_flag=True, help="Follow the cluster's keys; those of now are approved.")
@option(
    "--policy",
    type=click.Choice(["Continuity", "Approve", "Pin"]),
    default="Continuity",
    show_default=True,
    help="With --discovery: what happens to a new key.",
)
@output_option("yaml", "json")
def command(
    *,
    url: str | None,
    context: str | None,
    jwks: str | None,
    issuer: str | None,
    name: str | None,
    ca_bundle: str | None,
    discovery: bool,
    policy: str,
    output: str,
) -> None:
    """Print the ClusterTrustedIssuer that pins a cluster's present keys; compare the thumbprints, then apply.

    URL is the issuer's URL (its discovery document is read) or that of a JWKS (needs --issuer).

    \b
    Examples:
      watchword pin https://oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE --name atlas-production
      watchword pin --context atlas-production > issuer.yaml
      watchword pin --context atlas-production --discovery --ca-bundle ca.crt > issuer.yaml
      watchword pin --jwks keys.json --issuer https://kubernetes.default.svc.cluster.local
      watchword pin --jwks /etc/kubernetes/pki/sa.pub --issuer https://kubernetes.default.svc

    Exit codes: 0 printed; 1 there is no usable key; 2 wrong usage or a source that cannot be read.
    """
    if sum(source is not None for source in (url, context, jwks)) != 1:
        raise click.UsageError("Give exactly one of URL, --context NAME and --jwks FILE.")
    if ca_bundle is not None and url is None and not (discovery and context):
        raise click.UsageError("--ca-bundle belongs to a URL, or to --context with --discovery.")
    source = _read(url, context, jwks, ca_bundle)
    if source.issuer is not None and issuer is not None and source.issuer != issuer:
        raise UnusableInput(
            f"--issuer {issuer!a} is not what the cluster says, {source.issuer!a}.", "Leave --issuer out."
        )
    issuer = source.issuer or issuer
    if not issuer:
        raise click.UsageError("A JWKS does not say whose it is; give --issuer URL, the iss of the tokens.")
    object_name = _object_name(name, source.name)
    loaded = load_jwks(source.data)
    for problem in loaded.problems:
        which = f"key {problem.index}" if problem.index >= 0 else "the set"
        kid = f" (kid {problem.kid!a})" if problem.kid else ""
        warn(f"{which}{kid}: {problem.field}: {problem.detail}. Remedy: {problem.remedy}.")
    for kid in kids_with_a_sign_byte(source.data, loaded.keys):
        say(
            f"Note: key {kid!a}: n begins with a zero byte (RFC 7518 has none); taken, the value is the same."
        )
    if not loaded.keys:
        say("There is no usable key; nothing is printed.")
        raise SystemExit(ANSWER_IS_NO)
    if discovery:
        _check_followed(issuer, source)
        document = following_manifest(object_name, issuer, loaded.keys, source, policy)
        text = following_yaml(object_name, issuer, loaded.keys, source, policy)
    else:
        document = inline_manifest(object_name, issuer, loaded.keys)
        text = inline_yaml(object_name, issuer, loaded.keys)
    if output == "json":
        click.echo(json.dumps(document, indent=2))
    else:
        click.echo(text, nl=False)


def _read(url: str | None, context: str | None, jwks: str | None, ca_bundle: str | None) -> Source:
    if url is not None:
        return from_url(url, ca_bundle)
    return from_context(context, ca_bundle) if context is not None else from_file(str(jwks))


def _check_followed(issuer: str, source: Source) -> None:
    """Say now what the operator would say of the object."""
    url = source.jwks_url or issuer
    if not url.startswith("https://"):
        raise UnusableInput(f"{url!a} is not an https URL, and the operator follows no other.", "Pin inline.")
    if source.is_api_server and not source.ca_bundle:
        warn("the API server's certificate is its own authority's; give it with --ca-bundle FILE.")


def _object_name(name: str | None, source: str) -> str:
    wanted = re.sub(r"[^a-z0-9.-]+", "-", source.lower()).strip("-.") if name is None else name
    if not is_service_account_name(wanted):
        raise click.UsageError(
            f"'{wanted}' cannot be an object's name; say --name, for example atlas-production."
        )
    return wanted
