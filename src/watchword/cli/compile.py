# SPDX-License-Identifier: Apache-2.0
"""`watchword compile`: what a folder of manifests means, without a cluster.

What it prints is what a gate would run. A folder with a problem is a "no" for CI, and nothing half-right is
written: a NetworkPolicy that lacks one caller is an outage that someone applied on purpose.
"""

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import msgspec

from watchword.cli.audience_options import cluster_id_option, offline_rules
from watchword.cli.failures import ANSWER_IS_NO, UnusableInput, os_reason, say, warn
from watchword.cli.folder import open_folder
from watchword.cli.issuer_keys import jwks_option, keys_of, take_desk_keys
from watchword.cli.lint_rules import scope_warnings
from watchword.cli.options import EXISTING_FOLDER, NAMESPACED_NAME, option, output_option
from watchword.cli.service_choice import choose_service, named, say_problems
from watchword.cli.yaml_output import to_yaml
from watchword.kube.names import NamespacedName
from watchword.trust import Bundle, Problem, compile_resources, encode_bundle

Policy = dict[str, Any]


class ManifestsUnfit(UnusableInput):
    """The wanted service did not come out, and the manifests' own problems say why. Exits with 1."""

    exit_code = ANSWER_IS_NO


@click.command("compile", short_help="Turn manifests into bundles and NetworkPolicies.")
@click.argument("folder", metavar="DIR", type=EXISTING_FOLDER)
@output_option("text", "json", "bundle")
@cluster_id_option
@jwks_option
@option("--service", type=NAMESPACED_NAME, metavar="NS/NAME", help="Only this ProtectedService.")
@option("--out", type=click.Path(file_okay=False), metavar="DIR", help="Write files there; made if missing.")
@option("--keep-going", is_flag=True, help="Print and write what is usable in spite of problems.")
def command(
    *,
    folder: str,
    output: str,
    cluster_id: str | None,
    jwks_files: tuple[str, ...],
    service: NamespacedName | None,
    out: str | None,
    keep_going: bool,
) -> None:
    """Compile the manifests in DIR: ClusterTrustedIssuers, ProtectedServices and TrustedWorkloads.

    Results go to stdout, problems with their remedies to stderr. -o text shows a summary and the
    NetworkPolicies, -o json everything, -o bundle one document for `watchword sidecar --bundle`.
    Each service's own audience is in them with --cluster-id; without, only those that it declares are.
    Keys that only a cluster can read are given with --jwks; `watchword lint` does without.

    \b
    Examples:
      watchword compile manifests/two-clusters --jwks this-cluster=here.json --jwks atlas-production=there.pem
      watchword compile DIR -o bundle --service tuist/tuist-server > bundle.json
      watchword compile DIR --out build/

    Exit codes: 0 compiled; 1 the manifests have problems (nothing is written then, unless
    --keep-going); 2 wrong usage or unreadable input.
    """
    found, keys = open_folder(folder), keys_of(jwks_files)
    desk_keys = take_desk_keys(keys, found.resources)
    compilation = compile_resources(
        found.resources,
        audiences=offline_rules(cluster_id),
        keys=keys,
        desk_keys=desk_keys,
        now=time.time(),
    )
    problems = (*found.problems, *found.named(compilation.problems))
    say_problems(problems)
    for scope_problem in scope_warnings(found.resources):
        warn(scope_problem)
    bundles = compilation.bundles
    if service is not None or output == "bundle":
        try:
            bundles = (choose_service(bundles, service),)
        except UnusableInput as unusable:
            # Where problems were named above, they may be why: the answer is "no", not "wrong usage".
            raise unusable if not problems else ManifestsUnfit(unusable.message, unusable.remedy) from None
    policies = _policies_of(bundles, compilation.network_policies)
    previews = _policies_of(bundles, compilation.previews)
    usable = not problems or keep_going
    if output == "json":
        click.echo(_json(bundles, policies, previews, problems))
    elif output == "bundle" and usable:
        click.echo(encode_bundle(bundles[0]))
    elif output == "text":
        click.echo(_text(bundles, policies, previews))
    if out is not None and usable:
        _write(Path(out), bundles, policies)
    if problems:
        say(f"{len(problems)} problem{'s' if len(problems) > 1 else ''}; see above.")
        raise SystemExit(ANSWER_IS_NO)


def _policies_of(bundles: tuple[Bundle, ...], policies: tuple[Policy, ...]) -> dict[NamespacedName, Policy]:
    """Those of the policies that are of these services."""
    wanted = {named(bundle) for bundle in bundles}
    found = {}
    for policy in policies:
        metadata = policy["metadata"]
        name = NamespacedName(metadata["namespace"], metadata["name"].removeprefix("watchword-"))
        if name in wanted:
            found[name] = policy
    return found


def _json(
    bundles: tuple[Bundle, ...],
    policies: dict[NamespacedName, Policy],
    previews: dict[NamespacedName, Policy],
    problems: tuple[Problem, ...],
) -> str:
    document = {
        "bundles": [msgspec.Raw(encode_bundle(bundle)) for bundle in bundles],
        "networkPolicies": list(policies.values()),
        "networkPolicyPreviews": list(previews.values()),
        "problems": problems,
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def _text(
    bundles: tuple[Bundle, ...],
    policies: dict[NamespacedName, Policy],
    previews: dict[NamespacedName, Policy],
) -> str:
    lines = []
    for bundle in bundles:
        issuers = {place: issuer.name for place, issuer in enumerate(bundle.issuers)}
        lines += [
            click.style(f"{bundle.service.namespace}/{bundle.service.name}", bold=True),
            f"  digest     {bundle.digest}",
            f"  audiences  {', '.join(bundle.audiences)}",
            f"  issuers    {', '.join(issuers.values()) or 'none: every token is refused'}",
            f"  routes     {len(bundle.routes)}",
            f"  meters     {', '.join(meter.name for meter in bundle.meters) or 'none'}",
            f"  workloads  {len(bundle.workloads) or 'none: every caller is refused'}",
        ]
        for workload in bundle.workloads:
            suspended = "  (suspended)" if workload.suspended else ""
            subject = f"{workload.namespace}/{workload.service_account} of {issuers[workload.issuer]}"
            lines.append(f"    {workload.name}: {subject}{suspended}")
        policy, preview = policies.get(named(bundle)), previews.get(named(bundle))
        if policy:
            lines.append("  NetworkPolicy")
        elif preview:
            lines.append("  NetworkPolicy, as a preview: its mode is Preview, and nothing applies it")
        else:
            lines.append("  NetworkPolicy: none (its mode is Off)")
        lines += [
            f"    {line}" for line in to_yaml(policy or preview or {}).splitlines() if policy or preview
        ]
    return "\n".join(lines) if lines else "No usable ProtectedService."


def _write(out: Path, bundles: tuple[Bundle, ...], policies: dict[NamespacedName, Policy]) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        for bundle in bundles:
            name = named(bundle)
            stem = f"{name.namespace}.{name.name}"
            write_atomically(out / f"{stem}.bundle.json", encode_bundle(bundle))
            if name in policies:
                write_atomically(out / f"{stem}.networkpolicy.yaml", to_yaml(policies[name]).encode())
    except OSError as error:
        raise UnusableInput(
            f"--out {out} cannot be written: {os_reason(error)}.", "Name a folder that you may write to."
        ) from None
    say(f"Wrote {len(bundles)} bundle(s) and {len(policies)} NetworkPolicy(s) to {out}.")


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part of it.

    Raises:
        OSError: the folder cannot be written to.
    """
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files that only their owner reads; a bundle holds public keys and no secret.
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
