# SPDX-License-Identifier: Apache-2.0
"""`watchword diff`: show what applying a folder of manifests would change in trust."""

import time
from collections import Counter

import click
import msgspec

from watchword.cli.audience_options import cluster_id_option, offline_rules
from watchword.cli.change import Change
from watchword.cli.failures import ANSWER_IS_NO, UnusableInput, say
from watchword.cli.folder import Folder, open_folder
from watchword.cli.live import live_resources
from watchword.cli.options import EXISTING_FOLDER, option, output_option
from watchword.cli.placeholder_keys import stand_in
from watchword.cli.service_choice import say_problems
from watchword.cli.trust_changes import State, changes_between
from watchword.trust import Problem, Resources, compile_resources

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

    Objects in DIR take the place of those of the same name in the cluster; all others stay, unless --prune.
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
    if against is not None:
        old = _usable(against).resources
        after = new.resources
    else:
        old, broken = live_resources(context)
        say_problems(broken)
        after = new.resources if prune else overlay(old, new.resources)
        after = msgspec.structs.replace(after, namespaces=old.namespaces | new.resources.namespaces)
    states = _state(old, cluster_id), _state(after, cluster_id)
    _say_left_out(new, *states)
    changes = changes_between(*states, time.time())
    click.echo(_json(changes) if output == "json" else _text(changes))
    if changes:
        raise SystemExit(ANSWER_IS_NO)


def overlay(old: Resources, new: Resources) -> Resources:
    """The old resources, with the new ones in place of those of the same kind, namespace and name."""

    def merged(name: str) -> tuple[object, ...]:
        sides = ((each.metadata.namespace, each.metadata.name) for each in getattr(new, name))
        taken = set(sides)
        kept = (
            each for each in getattr(old, name) if (each.metadata.namespace, each.metadata.name) not in taken
        )
        return (*kept, *getattr(new, name))

    return msgspec.structs.replace(
        old,
        issuers=merged("issuers"),
        services=merged("services"),
        workloads=merged("workloads"),
        desks=merged("desks"),
        clients=merged("clients"),
        providers=merged("providers"),
        config_maps=old.config_maps | new.config_maps,
        namespaces=old.namespaces | new.namespaces,
    )


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


def _state(resources: Resources, cluster_id: str | None) -> State:
    complete = stand_in(resources, {})
    compiled = compile_resources(
        complete.resources,
        keys=complete.keys,
        audiences=offline_rules(cluster_id or "offline"),
        now=time.time(),
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
