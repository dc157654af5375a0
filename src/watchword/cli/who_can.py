# SPDX-License-Identifier: Apache-2.0
"""`watchword who-can`: list who may call a service with a scope, as its gates decide."""

import time

import click
import msgspec

from watchword.cli.audience_options import cluster_id_option, offline_rules
from watchword.cli.bundle_input import bundle_from_file
from watchword.cli.failures import ANSWER_IS_NO, warn
from watchword.cli.folder import open_folder
from watchword.cli.holders import Holder, holders_of
from watchword.cli.issuer_keys import jwks_option, keys_of, take_desk_keys
from watchword.cli.live import live_bundle, live_bundles
from watchword.cli.narrowing import held_for
from watchword.cli.options import (
    EXISTING_FILE,
    EXISTING_FOLDER,
    NAMESPACED_NAME,
    option,
    output_option,
)
from watchword.cli.placeholder_keys import stand_in
from watchword.cli.requests_of_scope import RequestsOfScope
from watchword.cli.service_choice import choose_service, say_problems
from watchword.cli.similar_names import did_you_mean
from watchword.cli.timestamps import TIMESTAMP
from watchword.kube.names import NamespacedName
from watchword.trust import Bundle, compile_resources
from watchword.trust.grants import USAGE_SCOPES


class Answer(msgspec.Struct, frozen=True, rename="camel"):
    """What is said of one service.

    Attributes:
        service: `namespace/name`.
        scope: the scope that was asked about.
        account: the account, or None.
        project: the project, or None.
        routes: what requires the scope, as `GET /path`.
        can: who may.
        cannot: who holds the scope, and may not.
    """

    service: str
    scope: str
    account: str | None
    project: str | None
    routes: tuple[str, ...]
    can: tuple[Holder, ...]
    cannot: tuple[Holder, ...]


@click.command("who-can", short_help="List who may call a service with a scope.")
@click.argument("scope")
@click.argument("account", required=False)
@option("--project", metavar="NAME", help="One project of ACCOUNT, in place of the account as a whole.")
@option(
    "--service", type=NAMESPACED_NAME, metavar="NS/NAME", help="Only this ProtectedService.  [default: all]"
)
@option("--namespace", "-n", metavar="NS", help="Only services of this namespace of the cluster.")
@option(
    "--context", metavar="NAME", help="Ask the cluster of this kubeconfig context.  [default: the current]"
)
@option("--bundle", type=EXISTING_FILE, metavar="FILE", help="Ask this bundle, in place of a cluster.")
@option(
    "--manifests", type=EXISTING_FOLDER, metavar="DIR", help="Ask these manifests, in place of a cluster."
)
@cluster_id_option
@jwks_option
@option("--at", type=TIMESTAMP, metavar="TIME", help="Judge at this time: RFC 3339 or epoch.  [default: now]")
@output_option("text", "json")
def command(
    *,
    scope: str,
    account: str | None,
    project: str | None,
    service: NamespacedName | None,
    namespace: str | None,
    context: str | None,
    bundle: str | None,
    manifests: str | None,
    cluster_id: str | None,
    jwks_files: tuple[str, ...],
    at: float | None,
    output: str,
) -> None:
    """List the workloads that may call with SCOPE, for ACCOUNT if it is given.

    The answer is that of the gates: it is read from the bundles that they run on, through kubectl and with
    your own rights, or offline from --bundle or --manifests. With ACCOUNT, only grants for the account as a
    whole count, or with --project those for the project. Without, everyone who holds the scope for anything.

    \b
    Examples:
      watchword who-can account:projects:read acme --manifests manifests/quickstart
      watchword who-can account:cache:write --service tuist/tuist-server
      watchword who-can project:builds:read acme --project ios -o json

    Exit codes: 0 at least one can; 1 no one can; 2 wrong usage or unusable input.
    """
    if project is not None and account is None:
        raise click.UsageError("--project needs ACCOUNT: a project is one of an account.")
    if bundle is not None and manifests is not None:
        raise click.UsageError("Give at most one of --bundle FILE and --manifests DIR.")
    if (bundle or manifests) and (context or namespace):
        raise click.UsageError("--context and --namespace belong to a cluster; leave them out, or --bundle.")
    if manifests is None and (cluster_id is not None or jwks_files):
        raise click.UsageError("--cluster-id and --jwks belong to --manifests; leave them out, or give DIR.")
    now = time.time() if at is None else at
    if bundle is not None:
        bundles = [bundle_from_file(bundle)]
    elif manifests is not None:
        bundles = _from_manifests(manifests, cluster_id, keys_of(jwks_files))
    else:
        bundles = [live_bundle(service, context)] if service is not None else live_bundles(namespace, context)
    if service is not None:
        bundles = [choose_service(bundles, service)]
    answers = [_answer(each, scope, account, project, now) for each in bundles]
    _warn_of_scope(scope, bundles)
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode({"answers": answers}), indent=2).decode())
    else:
        click.echo("\n\n".join(_text(each) for each in answers))
    if not any(each.can for each in answers):
        raise SystemExit(ANSWER_IS_NO)


def _from_manifests(folder: str, cluster_id: str | None, keys: dict[str, bytes]) -> list[Bundle]:
    found = open_folder(folder)
    desk_keys = take_desk_keys(keys, found.resources)
    complete = stand_in(found.resources, keys)
    compiled = compile_resources(
        complete.resources,
        keys=complete.keys,
        desk_keys=desk_keys,
        audiences=offline_rules(cluster_id or "offline"),
        now=time.time(),
    )
    say_problems((*found.problems, *found.named(compiled.problems)))
    return list(compiled.bundles)


def _answer(bundle: Bundle, scope: str, account: str | None, project: str | None, now: float) -> Answer:
    held = holders_of(bundle, scope, account, project, now)
    routes = tuple(
        f"{', '.join(route.methods)} {route.path}"
        + (f" (by a desk token for the purpose {route.purpose})" if route.purpose else "")
        for route in RequestsOfScope(bundle, scope).routes
    )
    if scope in USAGE_SCOPES:
        routes = (*routes, f"the gate's own {bundle.usage_base_path}/…")
    return Answer(
        f"{bundle.service.namespace}/{bundle.service.name}",
        scope,
        account,
        project,
        routes,
        tuple(each for each in held if each.can),
        tuple(each for each in held if not each.can),
    )


def _warn_of_scope(scope: str, bundles: list[Bundle]) -> None:
    """Say that no route requires the scope: its holders can do nothing with it."""
    routes = (route for bundle in bundles for route in bundle.routes)
    required = {route.scope for route in routes if route.scope is not None} | USAGE_SCOPES
    if scope not in required:
        near = did_you_mean(scope, required)
        warn(f"no route requires the scope {scope!a}{'; ' + near if near else '.'}")


def _text(answer: Answer) -> str:
    about = "anything" if answer.account is None else f"account {answer.account}"
    if answer.project is not None:
        about += f", project {answer.project}"
    number = len(answer.can)
    who = "no workload" if not number else "1 workload" if number == 1 else f"{number} workloads"
    lines = [click.style(answer.service, bold=True), f"  {answer.scope} for {about}: {who}"]
    lines += [f"  required by {each}" for each in answer.routes]
    for each in (*answer.can, *answer.cannot):
        mark, color = ("✓", "green") if each.can else ("✗", "yellow")
        why = "" if each.can else f"  ({each.state or 'not for this'})"
        lines.append(click.style(f"  {mark} {each.workload}", fg=color) + f"  {_caller(each)}{why}")
        lines += [f"      {held_for(grant) or 'for paths without an account'}" for grant in each.grants]
    return "\n".join(lines)


def _caller(holder: Holder) -> str:
    _, _, namespace, name = holder.subject.split(":")
    return f"ServiceAccount {namespace}/{name} of {holder.issuer}"
