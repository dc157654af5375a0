# SPDX-License-Identifier: Apache-2.0
"""`watchword revoke`: trust taken back at once, when there is no time to remember how a list is patched.

It only adds to `spec.revoked`. A key that is revoked is trusted under no policy and by no approval, so what
is about to be refused is shown first.
"""

import json
import sys
from typing import Any, Final

import click

from watchword.cli.approve import THUMBPRINT
from watchword.cli.failures import ANSWER_IS_NO, UnusableInput, say, warn
from watchword.cli.options import cluster_options, output_option
from watchword.cli.pin.issuer_object import IssuerObject, read_issuer, write_spec
from watchword.identity import is_service_account_name
from watchword.trust.api.v1alpha1.issuer import MAX_REVOKED
from watchword.trust.api.v1alpha1.rules import parse_time

_FIELDS: Final = {
    "keys": "keyThumbprint",
    "token_ids": "tokenId",
    "pod_uids": "podUid",
    "account_uids": "serviceAccountUid",
}


@click.command("revoke", short_help="Take trust back: of a key, a token, a pod, a ServiceAccount.")
@click.argument("issuer", metavar="ISSUER")
@click.option("--key", "keys", multiple=True, metavar="THUMBPRINT", help="All tokens signed with this key.")
@click.option("--token-id", "token_ids", multiple=True, metavar="JTI", help="The token with this jti.")
@click.option("--pod-uid", "pod_uids", multiple=True, metavar="UID", help="All tokens of this pod.")
@click.option(
    "--service-account-uid",
    "account_uids",
    multiple=True,
    metavar="UID",
    help="All tokens of this ServiceAccount.",
)
@click.option("--issued-before", metavar="TIME", help="All tokens issued before this RFC 3339 time.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@cluster_options
@output_option("text", "json")
def command(
    *,
    issuer: str,
    issued_before: str | None,
    yes: bool,
    context: str | None,
    kubeconfig: str | None,
    output: str,
    **values: tuple[str, ...],
) -> None:
    """Add to spec.revoked of a ClusterTrustedIssuer; a gate that follows its bundle refuses a second later.

    Each option but --issued-before may be given again. To end all trust in a cluster, delete its
    ClusterTrustedIssuer instead.

    \b
    Examples:
      watchword revoke atlas-production --key NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs
      watchword revoke atlas-production --pod-uid 0b1b1a5c-6a1f-4b3a-9d6e-3a1f5f1f7f3e --yes

    Exit codes: 0 revoked, or it was before; 1 not revoked; 2 wrong usage or no cluster.
    """
    if not is_service_account_name(issuer):
        raise click.UsageError(f"'{issuer}' cannot be an issuer's name; say for example atlas-production.")
    wanted = _wanted(values, issued_before)
    read = read_issuer(issuer, context=context, kubeconfig=kubeconfig)
    new = [each for each in wanted if each not in read.revocations]
    if len(read.revocations) + len(new) > MAX_REVOKED:
        raise UnusableInput(
            f"spec.revoked of {issuer} would hold more than {MAX_REVOKED} entries.",
            "Take out those whose tokens have expired.",
        )
    _show(read, new)
    if new:
        _ask(read, yes=yes)
        revoked = [*read.revocations, *new]
        write_spec(read, {"revoked": revoked}, context=context, kubeconfig=kubeconfig)
    if output == "json":
        click.echo(json.dumps({"issuer": issuer, "new": new, "written": bool(new)}, indent=2))
    else:
        say(f"Revoked for {issuer}." if new else "All of it was revoked before; nothing is changed.")


def _wanted(values: dict[str, tuple[str, ...]], issued_before: str | None) -> list[dict[str, Any]]:
    for thumbprint in values["keys"]:
        if not THUMBPRINT.fullmatch(thumbprint):
            raise click.UsageError(f"'{thumbprint}' is not an RFC 7638 thumbprint (43 characters).")
    if issued_before is not None and parse_time(issued_before) is None:
        raise click.UsageError(
            f"'{issued_before}' is not a time; use RFC 3339 with a zone, such as 2027-01-01T00:00:00Z."
        )
    wanted = [{field: value} for name, field in _FIELDS.items() for value in dict.fromkeys(values[name])]
    if any(not value for each in wanted for value in each.values()):
        raise click.UsageError("An empty value revokes nothing.")
    wanted += [] if issued_before is None else [{"issuedBefore": issued_before}]
    if not wanted:
        raise click.UsageError("Say what to revoke, for example --key THUMBPRINT.")
    return wanted


def _show(read: IssuerObject, new: list[dict[str, Any]]) -> None:
    going = [each["keyThumbprint"] for each in new if "keyThumbprint" in each]
    trusted = [key for key in read.held if key.is_trusted and key.thumbprint not in read.revoked]
    for key in trusted:
        if key.thumbprint in going:
            say(f"Tokens signed with {key.thumbprint} (kid {key.kid}) will be refused, for every holder.")
    if trusted and all(key.thumbprint in going for key in trusted):
        warn(f"no trusted key of {read.name} is left: every caller is refused until another is approved.")
    held = {key.thumbprint for key in read.held}
    for thumbprint in going:
        if thumbprint not in held:
            warn(f"{thumbprint} is no key that {read.name} holds now; it is revoked in advance.")


def _ask(read: IssuerObject, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("There is no one to ask; say --yes.")
    if not click.confirm(f"Revoke for {read.name}?", err=True):
        say("Nothing is revoked.")
        raise SystemExit(ANSWER_IS_NO)
