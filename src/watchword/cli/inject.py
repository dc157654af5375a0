# SPDX-License-Identifier: Apache-2.0
"""`watchword inject`: what the webhook does to pods, done to manifests, for clusters without the webhook.

The same code makes the same pod. One object that cannot be injected stops the output: half of a file applied
is a service without its gate.
"""

import copy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from watchword.cli.compile import plain_yaml
from watchword.cli.failures import ANSWER_IS_NO, UnusableInput, os_reason, say, warn
from watchword.cli.folder import read_folder
from watchword.cli.options import EXISTING_FOLDER, option, output_option
from watchword.cli.service_choice import say_problems
from watchword.injection import Injected, InjectionRefusal, InjectionSettings, World, inject
from watchword.trust import Resources, parse_manifests
from watchword.trust.strictyaml import Unreadable, read_documents

Object = dict[str, Any]
# Kind: where its pod template is.
TEMPLATES: Final[dict[str, tuple[str, ...]]] = {
    "Pod": (),
    "Deployment": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}


@click.command("inject", short_help="Add the gate, or a token, to the pods of manifests.")
@click.argument("file", metavar="FILE", type=click.Path(allow_dash=True, dir_okay=False))
@option("--services", type=EXISTING_FOLDER, required=True, metavar="DIR", help="The watchword.dev manifests.")
@option("--namespace", "-n", default="default", show_default=True, help="Of objects that name none.")
@option("--gate-image", metavar="IMAGE", default=InjectionSettings().image, show_default=True)
@output_option("yaml", "json")
def command(*, file: str, services: str, namespace: str, gate_image: str, output: str) -> None:
    """Print the manifests in FILE (- for stdin) with the gate or the tokens that their pods ask for.

    A pod, or a Deployment's template, asks by label: `watchword.dev/gate: enabled` for the gate of the
    ProtectedService that selects it; `watchword.dev/call: NAMESPACE.SERVICE` for a token. Other objects,
    and pods without these labels, are printed as they are.

    \b
    Examples:
      watchword inject deployment.yaml --services manifests/ | kubectl apply -f -
      kustomize build . | watchword inject - --services manifests/ --gate-image REGISTRY/gate@sha256:...

    Exit codes: 0 printed; 1 a pod cannot be injected (nothing is printed); 2 wrong usage or unreadable input.
    """
    manifests = parse_manifests(read_folder(Path(services)))
    say_problems(manifests.problems)
    world, settings = _world_of(manifests.resources), InjectionSettings(image=gate_image)
    refused = 0
    written: list[Object] = []
    for document in _documents(file):
        try:
            written.append(_injected(document, namespace, world, settings))
        except _Refused as problem:
            say(str(problem))
            refused += 1
    if refused or manifests.problems:
        say("Nothing is printed.")
        raise SystemExit(ANSWER_IS_NO)
    if output == "json":
        import json

        click.echo(json.dumps({"apiVersion": "v1", "kind": "List", "items": written}, indent=2))
    else:
        click.echo("---\n".join(plain_yaml(each) for each in written), nl=False)


class _Refused(Exception):
    """A pod that cannot be injected; the message names the object."""


def _world_of(resources: Resources) -> World:
    """What manifests say. Every namespace takes part: the command was typed."""
    names = {each.metadata.namespace for each in resources.services}
    return World.of(resources.services, resources.workloads, names)


def _injected(document: Object, namespace: str, world: World, settings: InjectionSettings) -> Object:
    path = TEMPLATES.get(str(document.get("kind")))
    if path is None:
        return document
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    after = copy.deepcopy(document)
    holder = template = after
    for member in path:
        below = template.get(member)
        if not isinstance(below, dict):
            return document
        holder, template = template, below
    found = inject(template, str(metadata.get("namespace") or namespace), world, settings)
    name = f"{document['kind']} {metadata.get('name', '')}"
    if isinstance(found, InjectionRefusal):
        where = ".".join(path)
        raise _Refused(f"{name}{': ' + where if where else ''}: {found}")
    if not isinstance(found, Injected):
        return document
    for each in found.warnings:
        warn(f"{name}: {each}")
    if not path:
        return found.pod
    holder[path[-1]] = found.pod
    return after


def _documents(file: str) -> Iterator[Object]:
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise UnusableInput(f"{file} cannot be read: {os_reason(error)}.", "Name a readable file.") from None
    documents = read_documents(data)
    if isinstance(documents, Unreadable):
        raise UnusableInput(f"{file}: {documents.detail}.", f"{documents.remedy}.")
    for document in documents:
        if document is None:
            continue
        if not isinstance(document, dict):
            raise UnusableInput(f"{file} holds a document that is no object.", "Write Kubernetes manifests.")
        items = document.get("items") if document.get("kind") == "List" else None
        yield from (
            (each for each in items if isinstance(each, dict)) if isinstance(items, list) else [document]
        )
