# SPDX-License-Identifier: Apache-2.0
"""`watchword approve`: a person's yes to a key that an issuer serves, after it was shown what the yes is to.

An approval is a decision whom to believe. So the keys are shown first, the cluster itself can be asked
whether they are its own, and nothing is approved without a word of the person (or `--yes`).
"""

import json
import re
import sys
import time
from typing import Any, Final

import click

from watchword.cli.failures import ANSWER_IS_NO, UnusableInput, say, warn
from watchword.cli.kubectl import run_kubectl
from watchword.cli.options import cluster_options, option, output_option
from watchword.cli.pin.issuer_object import IssuerObject, read_issuer, write_spec
from watchword.cli.timestamps import shown_timestamp
from watchword.identity import is_service_account_name, load_jwks
from watchword.trust.key_rotation.held_keys import HeldKey
from watchword.trust.key_rotation.state_machine import approval_deadline

MAX_APPROVED: Final = 64
# What says yes has no environment variable: one that was set once would say it for ever.
THUMBPRINT: Final = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")


class _CommandOfThumbprints(click.Command):
    """A command for which a thumbprint that begins with a hyphen, as one in 64 does, is no option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put such thumbprints behind `--`, where they are arguments."""
        end = args.index("--") if "--" in args else len(args)
        is_thumbprint = [each.startswith("-") and bool(THUMBPRINT.fullmatch(each)) for each in args[:end]]
        if any(is_thumbprint):
            options = [each for each, is_one in zip(args, is_thumbprint, strict=False) if not is_one]
            moved = [each for each, is_one in zip(args, is_thumbprint, strict=False) if is_one]
            args = [*options, "--", *moved, *args[end + 1 :]]
        return super().parse_args(ctx, args)


@click.command(
    "approve",
    cls=_CommandOfThumbprints,
    short_help="Approve keys that an issuer serves and no one trusts yet.",
)
@click.argument("issuer", metavar="ISSUER")
@click.argument("thumbprints", metavar="[THUMBPRINT]...", nargs=-1)
@click.option("--all-pending", is_flag=True, help="Approve every key that waits.")
@click.option("--present", is_flag=True, help="Approve what is trusted now, before a stricter policy.")
@option(
    "--served-by",
    metavar="NAME",
    help="Only keys that the cluster of this kubeconfig context serves now; alone: all of those.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@option("--dry-run", is_flag=True, help="Show what would be approved, and change nothing.")
@cluster_options
@output_option("text", "json")
def command(
    *,
    issuer: str,
    thumbprints: tuple[str, ...],
    all_pending: bool,
    present: bool,
    served_by: str | None,
    yes: bool,
    dry_run: bool,
    context: str | None,
    kubeconfig: str | None,
    output: str,
) -> None:
    """Show the keys of a ClusterTrustedIssuer that wait for approval, and approve those that you name.

    Compare a thumbprint with the cluster's own before you approve it; --served-by does that for you. A key
    may be approved before the operator has seen it: then it looks at once.

    \b
    Examples:
      watchword approve atlas-production
      watchword approve atlas-production --served-by atlas-admin
      watchword approve atlas-production NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs --yes

    Exit codes: 0 approved, or nothing waits; 1 keys wait, or were not approved; 2 wrong usage or no cluster.
    """
    if not is_service_account_name(issuer):
        raise click.UsageError(f"'{issuer}' cannot be an issuer's name; say for example atlas-production.")
    for thumbprint in thumbprints:
        if not THUMBPRINT.fullmatch(thumbprint):
            raise click.UsageError(f"'{thumbprint}' is not an RFC 7638 thumbprint (43 characters).")
    read = read_issuer(issuer, context=context, kubeconfig=kubeconfig)
    chosen = _chosen(read, thumbprints, all_pending=all_pending, present=present)
    if served_by is not None:
        is_said = bool(thumbprints) or all_pending or present
        chosen = _served(chosen if is_said else None, read, served_by, kubeconfig)
    new = tuple(each for each in chosen if each not in read.approved)
    if output == "text":
        _show(read, new)
    if not chosen:
        if output == "json":
            _print_json(read, (), read.approved, is_written=False)
        raise SystemExit(ANSWER_IS_NO if _waiting(read) else 0)
    approved = _with_room(read, new)
    if new and not dry_run:
        _ask(read, new, yes=yes, is_checked=served_by is not None)
        changes = {"rotation": {"approved": list(approved)}}
        write_spec(read, changes, context=context, kubeconfig=kubeconfig)
    if output == "json":
        _print_json(read, new, approved, is_written=bool(new) and not dry_run)
    elif not new:
        say("These keys are approved already; nothing is changed.")
    elif dry_run:
        click.echo("spec.rotation.approved would be:\n" + "\n".join(f"- {each}" for each in approved))
    else:
        said = "1 key" if len(new) == 1 else f"{len(new)} keys"
        say(f"Approved {said} of {issuer}; the operator takes the edit from here.")


def _waiting(read: IssuerObject) -> list[HeldKey]:
    return [
        key
        for key in read.held
        if key.state == "Pending" and key.jwk and key.thumbprint not in {*read.revoked, *read.approved}
    ]


def _chosen(
    read: IssuerObject, thumbprints: tuple[str, ...], *, all_pending: bool, present: bool
) -> tuple[str, ...]:
    """What is to be approved, each once, in the order of the object's keys."""
    wanted = list(thumbprints)
    wanted += [key.thumbprint for key in _waiting(read)] if all_pending else []
    wanted += [key.thumbprint for key in read.held if key.is_trusted] if present else []
    for thumbprint in wanted:
        if thumbprint in read.revoked:
            raise UnusableInput(
                f"{thumbprint} is revoked in spec.revoked of {read.name}, and no approval outweighs that.",
                "Take it out of spec.revoked first, if it was put there by mistake.",
            )
    known = {key.thumbprint for key in read.held}
    for thumbprint in thumbprints:
        if thumbprint not in known:
            warn(f"{thumbprint} is not served by the issuer now; it is approved in advance.")
    return tuple(dict.fromkeys(wanted))


def _served(
    chosen: tuple[str, ...] | None, read: IssuerObject, cluster: str, kubeconfig: str | None
) -> tuple[str, ...]:
    """What was chosen, which the cluster must serve; without a choice, what it serves and no one revoked."""
    data = run_kubectl("get", "--raw=/openid/v1/jwks", context=cluster, kubeconfig=kubeconfig)
    served = {key.thumbprint for key in load_jwks(data).keys}
    if chosen is None:
        return tuple(sorted(served - read.revoked))
    for thumbprint in chosen:
        if thumbprint not in served:
            say(f"{thumbprint} is not among the keys that the cluster of context {cluster} serves.")
            say("Nothing is approved. Find out who serves it: it is not that cluster's key.")
            raise SystemExit(ANSWER_IS_NO)
    return chosen


def _with_room(read: IssuerObject, new: tuple[str, ...]) -> tuple[str, ...]:
    """The whole list; where it is full, approvals of keys that are long gone make room."""
    held = {key.thumbprint for key in read.held}
    kept = list(read.approved)
    for gone in [each for each in read.approved if each not in held]:
        if len(kept) + len(new) <= MAX_APPROVED:
            break
        kept.remove(gone)
        warn(f"the list is full: the approval of {gone}, which is not served any more, is dropped.")
    if len(kept) + len(new) > MAX_APPROVED:
        raise UnusableInput(
            f"spec.rotation.approved of {read.name} holds {len(kept)} keys, all of them served or retiring.",
            f"Take out what is not needed: it holds at most {MAX_APPROVED}.",
        )
    return (*kept, *new)


def _ask(read: IssuerObject, new: tuple[str, ...], *, yes: bool, is_checked: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("There is no one to ask; say --yes once you have compared the thumbprints.")
    checked = "The cluster serves them itself." if is_checked else "Have you compared them with the cluster?"
    which = "this key" if len(new) == 1 else f"these {len(new)} keys"
    if not click.confirm(f"{checked} Approve {which} for {read.name}?", err=True):
        say("Nothing is approved.")
        raise SystemExit(ANSWER_IS_NO)


def _facts(read: IssuerObject, key: HeldKey, now: float) -> dict[str, Any]:
    deadline = approval_deadline(read.issuer.spec.rotation, key, read.revoked)
    return {
        "thumbprint": key.thumbprint,
        "kid": key.kid,
        "algorithm": key.algorithm,
        "since": int(key.since),
        "deadline": None if deadline is None else int(deadline),
        "overdue": deadline is not None and deadline <= now,
    }


def _show(read: IssuerObject, new: tuple[str, ...]) -> None:
    now = time.time()
    waiting = _waiting(read)
    policy = read.issuer.spec.rotation.policy
    if not waiting:
        click.echo(f"No key of {read.name} waits for approval (policy {policy}).")
    for key in waiting:
        facts = _facts(read, key, now)
        due = "none" if facts["deadline"] is None else shown_timestamp(facts["deadline"], now)
        mark = "  OVERDUE" if facts["overdue"] else ""
        click.echo(f"{key.thumbprint}  {key.algorithm}  kid {key.kid}")
        click.echo(f"  waits since {shown_timestamp(key.since, now)}, deadline {due}{mark}")
    if waiting and not new:
        say(f"Compare with the cluster, then: watchword approve {read.name} THUMBPRINT")


def _print_json(
    read: IssuerObject, new: tuple[str, ...], approved: tuple[str, ...], *, is_written: bool
) -> None:
    now = time.time()
    document = {
        "issuer": read.name,
        "policy": read.issuer.spec.rotation.policy,
        "pending": [_facts(read, key, now) for key in _waiting(read)],
        "new": list(new),
        "approved": list(approved),
        "written": is_written,
    }
    click.echo(json.dumps(document, indent=2))
