# SPDX-License-Identifier: Apache-2.0
"""The exact commands that change what a page shows. The console runs none of them.

They reach the cluster that the page is of: the context and the kubeconfig are in them. For a folder there is
no cluster to change, so that it is the file and what to run once it is edited.
"""

import shlex

import msgspec

from watchword.console.model import Item
from watchword.console.source import PLURALS, Source
from watchword.kube.names import NamespacedName


class Command(msgspec.Struct, frozen=True):
    """A change, and the command that makes it.

    Attributes:
        change: what becomes of it, as one says it.
        line: what one types.
    """

    change: str
    line: str


def command(source: Source, *words: str) -> str:
    """A command line for a shell, for the place that is read."""
    return shlex.join([*words, *source.flags])


def kubectl(source: Source, verb: str, kind: str, name: NamespacedName, *more: str) -> str:
    """A command of kubectl on one object."""
    plural = f"{PLURALS[kind]}.watchword.dev"
    where = (f"--namespace={name.namespace}",) if name.namespace else ()
    return command(source, "kubectl", verb, plural, name.name, *where, *more)


def commands_of(source: Source, item: Item) -> list[Command]:
    """What one may do with an object."""
    if not source.is_cluster:
        return _in_folder(source, item)
    kind, name = item.kind, item.name
    found = [Command("Edit it", kubectl(source, "edit", kind, name))]
    if item.workload is not None:
        is_off = item.workload.spec.suspend
        patch = f'--patch={{"spec":{{"suspend":{"false" if is_off else "true"}}}}}'
        change = "Switch its trust on again" if is_off else "Switch its trust off, and keep the object"
        found.append(Command(change, kubectl(source, "patch", kind, name, "--type=merge", patch)))
        found.append(Command("Take its trust away", kubectl(source, "delete", kind, name)))
    if item.client is not None:
        found.append(Command("Take its access away", kubectl(source, "delete", kind, name)))
    found.append(Command("See all of it, with its Events", kubectl(source, "describe", kind, name)))
    return found


def approval(source: Source, issuer: str, thumbprint: str) -> str:
    """The command that approves a key."""
    return command(source, "watchword", "approve", issuer, thumbprint)


def revocation(source: Source, issuer: str, thumbprint: str) -> str:
    """The command that takes a key back."""
    return command(source, "watchword", "revoke", issuer, f"--key={thumbprint}")


def who_can(source: Source, service: NamespacedName, scope: str, account: str) -> str:
    """The command that asks the gates' own rule who may do something at a service."""
    asked = [scope or "SCOPE", *([account] if account else [])]
    if any(each.startswith("-") for each in asked):
        # They come out of the page's address: who wrote a link must not choose an option.
        asked.insert(0, "--")
    words = ["watchword", "who-can", f"--service={service}"]
    if not source.is_cluster:
        return shlex.join([*words, f"--manifests={source.folder}", *asked])
    return _with_kubeconfig(source, words, *asked)


def explanation(source: Source, service: NamespacedName) -> str:
    """The command that judges a token as the page does."""
    if not source.is_cluster:
        words = ["watchword", "verify", "token.txt", f"--manifests={source.folder}", f"--service={service}"]
        return shlex.join(words)
    return _with_kubeconfig(source, ["watchword", "explain", "token.txt", f"--service={service}"])


def apply(source: Source, file: str = "-") -> str:
    """The command that applies a file; `-`: what follows it as a here document."""
    return command(source, "kubectl", "apply", "--server-side", "-f", file)


def _with_kubeconfig(source: Source, words: list[str], *arguments: str) -> str:
    """A command that has no --kubeconfig: kubectl finds the file by its variable."""
    context = [each for each in source.flags if each.startswith("--context=")]
    file = next((each.partition("=")[2] for each in source.flags if each.startswith("--kubeconfig=")), "")
    return (f"KUBECONFIG={shlex.quote(file)} " if file else "") + shlex.join([*words, *context, *arguments])


def _in_folder(source: Source, item: Item) -> list[Command]:
    if not item.source:
        return []
    file = f"{source.folder.rstrip('/')}/{item.source}"
    return [
        Command("See what it would change in a cluster", shlex.join(["watchword", "diff", source.folder])),
        Command(
            f"Once {item.source} is edited, apply it",
            shlex.join(["kubectl", "apply", "--server-side", "-f", file]),
        ),
    ]
