# SPDX-License-Identifier: Apache-2.0
"""`watchword diff`: show what applying a folder of manifests would change in trust."""

import json
import time
from collections import Counter
from collections.abc import Iterable

import click
import msgspec

from watchword.cli.applied import Named, Object, objects_after
from watchword.cli.audience_options import cluster_id_option, offline_rules
from watchword.cli.change import Change, written_keys
from watchword.cli.failures import ANSWER_IS_NO, UnusableInput, say
from watchword.cli.folder import Folder, open_folder
from watchword.cli.live import live_objects
from watchword.cli.options import EXISTING_FOLDER, option, output_option
from watchword.cli.placeholder_keys import stand_in
from watchword.cli.service_choice import say_problems
from watchword.cli.trust_changes import State, changes_between
from watchword.trust import Manifests, Problem, Resources, compile_resources, parse_manifests
from watchword.trust.api.v1alpha1.rules import parse_time
from watchword.trust.key_rotation.held_keys import HeldKey, held_from_status, held_key, trusted_jwks
from watchword.trust.manifest_files import objects_of

Held = dict[str, tuple[HeldKey, ...]]
_MARKS = {"gains": ("+", "green"), "loses": ("-", "red"), "changes": ("~", "yellow")}


@click.command("diff", short_help="Show what applying manifests would change in trust.")
@click.argument("folder", metavar="DIR", type=EXISTING_FOLDER)
@option(
    "--against",
    type=EXISTING_FOLDER,
    metavar="DIR",
    help="Compare with another folder, which DIR replaces as a whole, in place of a cluster.",
)
@option("--context", metavar="NAME", help="The cluster of this kubeconfig context.  [default: the current]")
@option("--prune", is_flag=True, help="Let objects of the cluster that DIR does not hold be gone.")
@cluster_id_option
@output_option("text", "json")
def command(
    *,
    folder: str,
    against: str | None,
    context: str | None,
    prune: bool,
    cluster_id: str | None,
    output: str,
) -> None:
    """Show who gains and who loses what if the manifests in DIR are applied, and how NetworkPolicies change.

    Objects of the cluster become what `kubectl apply` makes of them: what DIR does not say stays, unless it
    was applied before. All others stay, unless --prune; new ones are younger than those that are there.
    With --against, two folders are compared and no cluster is asked: the two sides of a merge request. Grants
    are compared by what they come to, not by how they are written. Keys are not fetched.

    \b
    Examples:
      watchword diff DIR
      watchword diff manifests/quickstart --against manifests/two-clusters
      watchword diff DIR --prune --context production -o json

    Exit codes: 0 nothing changes; 1 something does; 2 wrong usage, or manifests with problems.
    """
    if against is not None and (context is not None or prune):
        raise click.UsageError("--context and --prune belong to a cluster; leave them out, or --against.")
    new = _usable(folder)
    held: tuple[Held, Held] = ({}, {})
    if against is not None:
        old = _usable(against).resources
        after = new.resources
    else:
        live = live_objects(context)
        before = _parsed(("cluster", each) for each in live)
        say_problems(before.problems)
        old, after = before.resources, _after(live, new, prune=prune)
        held = _held(old, live), _held(after, live)
    # In a cluster, an issuer that is not there is nowhere else; of folders, one that the other has is gone.
    known = (_issuers(after), _issuers(old)) if against is not None else (_named(old), _named(after))
    states = tuple(
        _state(resources, cluster_id, keys, others)
        for resources, keys, others in zip((old, after), held, known, strict=True)
    )
    _say_left_out(new, states[0], states[1])
    changes = changes_between(states[0], states[1], time.time())
    click.echo(_json(changes) if output == "json" else _text(changes))
    if changes:
        raise SystemExit(ANSWER_IS_NO)


def _parsed(objects: Iterable[Named]) -> Manifests:
    return parse_manifests((source, json.dumps(each).encode()) for source, each in objects)


def _after(live: list[Object], new: Folder, *, prune: bool) -> Resources:
    """What the cluster holds once the manifests are applied.

    Raises:
        UnusableInput: some of it would not be valid; that is printed.
    """
    written = list(objects_of(new.files.items()))
    found = _parsed(objects_after(live, written, time.time(), prune=prune))
    broken = tuple(each for each in found.problems if each.source != "cluster")
    if broken:
        say_problems(broken)
        raise UnusableInput(
            "The manifests do not fit what is in the cluster: `kubectl apply` keeps fields that it did not "
            "write.",
            "Say what they should be, with null for a field that should go, or use `kubectl replace`.",
        )
    return found.resources


def _usable(folder: str) -> Folder:
    """A folder without problems of its own: half of it compared would say the wrong thing.

    Raises:
        UnusableInput: there are problems; they are printed.
    """
    found = open_folder(folder)
    if found.problems:
        say_problems(found.problems)
        number = len(found.problems)
        raise UnusableInput(
            f"The manifests in {folder} have {number} problem{'s' if number > 1 else ''}.",
            "Fix what is named above; `watchword lint` checks them.",
        )
    return found


def _held(resources: Resources, live: list[Object]) -> Held:
    """Since when issuers hold their keys: who held one first keeps it.

    It is in their status. An issuer without one holds the keys that it names since it is there, and one that
    has a status holds those that are new to it from now on.
    """
    found: Held = {}
    for each in live:
        status = each.get("status")
        if each.get("kind") == "ClusterTrustedIssuer" and isinstance(status, dict):
            found[each["metadata"]["name"]] = held_from_status(status.get("keys"))
    for issuer in resources.issuers:
        name = issuer.metadata.name
        known = found.get(name, ())
        created = parse_time(issuer.metadata.creation_timestamp or "")
        since = time.time() if known or created is None else created
        thumbprints = {key.thumbprint for key in known}
        written = (key for key in written_keys(issuer.spec.keys.inline) if key.thumbprint not in thumbprints)
        found[name] = (*known, *(held_key(key, "Active", since) for key in written))
    return found


def _issuers(resources: Resources) -> frozenset[str]:
    return frozenset(each.metadata.name for each in resources.issuers)


def _named(resources: Resources) -> frozenset[str]:
    """The names of issuers that workloads refer to."""
    return frozenset(each.spec.issuer_ref.name for each in resources.workloads)


def _state(resources: Resources, cluster_id: str | None, held: Held, absent: frozenset[str]) -> State:
    """A state of trust.

    Args:
        resources: the objects.
        cluster_id: of the cluster.
        held: what is known of the keys of issuers.
        absent: issuers for which nothing stands in where they are not among the objects.
    """
    known = {name: trusted_jwks(keys) for name, keys in held.items()}
    complete = stand_in(
        resources, {name: jwks for name, jwks in known.items() if jwks is not None}, issuers=absent
    )
    compiled = compile_resources(
        complete.resources,
        keys=complete.keys,
        audiences=offline_rules(cluster_id or "offline"),
        now=time.time(),
        held=held,
    )
    return State(compiled, resources)


def _say_left_out(new: Folder, before: State, after: State) -> None:
    """Print why objects do not count after all: those of the folder, and those that counted before."""
    known = {_without_source(each) for each in before.compiled.problems}
    written = {
        (type(each).__name__, each.metadata.namespace, each.metadata.name)
        for name in ("issuers", "services", "workloads", "desks", "clients", "providers")
        for each in getattr(new.resources, name)
    }
    say_problems(
        new.named(
            tuple(
                each
                for each in after.compiled.problems
                if (each.kind, each.namespace, each.name) in written or _without_source(each) not in known
            )
        )
    )


def _without_source(problem: Problem) -> Problem:
    return msgspec.structs.replace(problem, source="")


def _text(changes: list[Change]) -> str:
    if not changes:
        return "Nothing changes in who is trusted with what."
    lines: list[str] = []
    where = ""
    for each in changes:
        if each.where != where:
            where = each.where
            lines += ["", click.style(where, bold=True)] if lines else [click.style(where, bold=True)]
        mark, color = _MARKS[each.kind]
        who = f"{each.who}: " if each.who else ""
        lines.append(click.style(f"  {mark} {who}{each.what}", fg=color))
    counts = Counter(each.kind for each in changes)
    say(f"{counts['gains']} wider, {counts['loses']} narrower, {counts['changes']} other.")
    return "\n".join(lines)


def _json(changes: list[Change]) -> str:
    return msgspec.json.format(msgspec.json.encode({"changes": changes}), indent=2).decode()
