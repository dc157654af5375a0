# SPDX-License-Identifier: Apache-2.0
"""`watchword inject`: what the webhook does to pods, done to manifests, for clusters without the webhook.

The same code makes the same pod. One object that cannot be injected stops the output: half of a file applied
is a service without its gate.
"""

import copy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from watchword.cli.audience_options import cluster_id_option
from watchword.cli.failures import ANSWER_IS_NO, UnusableInput, os_reason, say, warn
from watchword.cli.manifest_files import read_folder
from watchword.cli.options import EXISTING_FOLDER, option, output_option
from watchword.cli.pod_templates import items_of, pod_templates, unanswered
from watchword.cli.service_choice import say_problems
from watchword.cli.yaml_output import to_yaml
from watchword.injection import Injected, InjectionRefusal, InjectionSettings, World, inject
from watchword.trust import Resources, parse_manifests
from watchword.trust.strict_yaml import Unreadable, read_documents

Object = dict[str, Any]


@click.command("inject", short_help="Add the gate, or a token, to the pods of manifests.")
@click.argument("file", metavar="FILE", type=click.Path(allow_dash=True, dir_okay=False))
@option("--services", type=EXISTING_FOLDER, required=True, metavar="DIR", help="The watchword.dev manifests.")
@option("--namespace", "-n", default="default", show_default=True, help="Of objects that name none.")
@cluster_id_option
@option("--gate-image", metavar="IMAGE", default=InjectionSettings().image, show_default=True)
@output_option("yaml", "json")
def command(
    *, file: str, services: str, namespace: str, cluster_id: str | None, gate_image: str, output: str
) -> None:
    """Print the manifests in FILE (- for stdin) with the gate or the tokens that their pods ask for.

    A pod, or the pod template of an object of any kind, asks by label: `watchword.dev/gate: enabled` for the
    gate of the ProtectedService that selects it; `watchword.dev/call: NAMESPACE.SERVICE` for a token, and
    `watchword.dev/exchange: NAMESPACE.DESK` for one to exchange; both need --cluster-id. Other objects, and
    pods without these labels, are printed as they are. A label where no pod would have it is an error:
    nothing that asks is left unprotected in silence.

    \b
    Examples:
      watchword inject deployment.yaml --services DIR | kubectl apply -f -
      kustomize build . | watchword inject - --services DIR --gate-image REGISTRY/gate@sha256:...

    Exit codes: 0 printed; 1 a pod cannot be injected (nothing is printed); 2 wrong usage or unreadable input.
    """
    manifests = parse_manifests(read_folder(Path(services)))
    say_problems(manifests.problems)
    world, settings = _world_of(manifests.resources, cluster_id or ""), InjectionSettings(image=gate_image)
    refused = 0
    written: list[Object] = []
    for document in _documents(file):
        try:
            written.append(_injected(document, namespace, world, settings))
        except _RefusedError as problem:
            say(str(problem))
            refused += 1
    if refused or manifests.problems:
        say("Nothing is printed.")
        raise SystemExit(ANSWER_IS_NO)
    if output == "json":
        import json

        click.echo(json.dumps({"apiVersion": "v1", "kind": "List", "items": written}, indent=2))
    else:
        click.echo("---\n".join(to_yaml(each) for each in written), nl=False)


class _RefusedError(Exception):
    """A pod that cannot be injected; the message names the object."""


def _world_of(resources: Resources, cluster_id: str) -> World:
    """What manifests say. Every namespace takes part: the command was typed."""
    names = {each.metadata.namespace for each in resources.services}
    return World.of(resources.services, resources.workloads, names, cluster_id, desks=resources.desks)


def _injected(document: Object, namespace: str, world: World, settings: InjectionSettings) -> Object:
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    after = copy.deepcopy(document)
    where = str(metadata.get("namespace") or namespace)
    name = f"{document.get('kind')} {metadata.get('name', '')}"
    for template in pod_templates(after):
        found = inject(template.pod, where, world, settings, replicas=template.replicas)
        if isinstance(found, InjectionRefusal):
            raise _RefusedError(f"{name}{': ' + template.path if template.path else ''}: {found}")
        if isinstance(found, Injected):
            for each in found.warnings:
                warn(f"{name}: {each}")
            template.pod.clear()
            template.pod.update(found.pod)
    for ask in unanswered(after):
        if ask.is_harmless:
            warn(f"{name}: {ask.path}[{ask.label}] asks for nothing: an object of this kind makes no pods.")
            continue
        raise _RefusedError(
            f"{name}: {ask.path}[{ask.label}]: no pod that this object makes would have the label, and so "
            f"none would be given what it asks for. Remedy: {ask.remedy}."
        )
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
        try:
            yield from items_of(document)
        except ValueError as problem:
            raise UnusableInput(f"{file}: {problem}.", "Write Kubernetes manifests.") from None
