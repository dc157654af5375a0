# SPDX-License-Identifier: Apache-2.0
"""`watchword doctor`: is all well, and if not, what is wrong where, with what would be right.

It asks the cluster what the operator says in the status of each object, and the processes what they say on
/readyz. It judges nothing by itself: a second opinion that differs would be a third thing to explain.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import click
import msgspec

from watchword.cli.failures import ANSWER_IS_NO, UnusableInput
from watchword.cli.kubectl import run_kubectl
from watchword.cli.options import option, output_option

Object = dict[str, Any]
# Healthy is not always True: an object that nobody narrowed is fine.
_BAD_STATUS: Final = ("False", "Unknown")
_STALE_SECONDS: Final = 30.0
_KINDS: Final = (
    "clustertrustedissuers.watchword.dev,protectedservices.watchword.dev,trustedworkloads.watchword.dev"
)


class Complaint(msgspec.Struct, frozen=True):
    """One thing that is not well.

    Attributes:
        where: the object or the address.
        what: what is wrong, with its remedy.
        is_serious: whether it makes the answer a no; else it is worth knowing.
    """

    where: str
    what: str
    is_serious: bool = True


@click.command("doctor", short_help="Say what is not well, and what would help.")
@option("--context", metavar="NAME", help="Ask the cluster of this kubeconfig context, through kubectl.")
@option(
    "--namespace", "-n", default="watchword-system", show_default=True, metavar="NS", help="Of the operator."
)
@option(
    "--lease-name", default="watchword-operator", show_default=True, metavar="NAME", help="Of the operator."
)
@option(
    "--ops-url",
    "ops_urls",
    multiple=True,
    metavar="URL",
    help="Ask /readyz of a gate, an operator or a webhook instead; may be given again.",
)
@output_option("text", "json")
def command(
    *, context: str | None, namespace: str, lease_name: str, ops_urls: tuple[str, ...], output: str
) -> None:
    """Ask the cluster, through kubectl: the resources' conditions, and who leads.

    \b
    Examples:
      watchword doctor
      watchword doctor --context production -o json
      watchword doctor --ops-url http://127.0.0.1:9090

    Exit codes: 0 all is well; 1 something is not; 2 wrong usage, or nobody to ask.
    """
    if ops_urls:
        found = [complaint for url in ops_urls for complaint in _ask(url)]
        asked = f"{len(ops_urls)} processes"
    else:
        objects = _objects(context)
        found = [
            *_of_lease(context, namespace, lease_name),
            *(each for item in objects for each in _of(item)),
        ]
        asked = f"{len(objects)} objects"
    is_ill = any(each.is_serious for each in found)
    if output == "json":
        click.echo(
            json.dumps({"healthy": not is_ill, "complaints": [msgspec.to_builtins(each) for each in found]})
        )
    else:
        for each in found:
            color = "red" if each.is_serious else "yellow"
            click.echo(f"{click.style(each.where, fg=color, bold=True)}: {each.what}")
        click.echo(f"{asked} asked: {'all is well.' if not found else f'{len(found)} to look at.'}")
    if is_ill:
        raise SystemExit(ANSWER_IS_NO)


def _objects(context: str | None) -> list[Object]:
    items: list[Object] = json.loads(
        run_kubectl("get", _KINDS, "--all-namespaces", "--output=json", context=context)
    )["items"]
    return items


def _of(item: Object) -> Iterator[Complaint]:
    metadata, status = item["metadata"], item.get("status") or {}
    place = f"{metadata['namespace']}/" if metadata.get("namespace") else ""
    where = f"{item['kind']} {place}{metadata['name']}"
    conditions = status.get("conditions") or []
    if not any(each["type"] == "Ready" for each in conditions):
        yield Complaint(where, "the operator has said nothing of it yet. Remedy: see that one leads")
        return
    for each in conditions:
        if each["status"] in _BAD_STATUS:
            is_serious = each["type"] == "Ready" or each["status"] == "False"
            said = f"{each['type']} is {each['status']} ({each['reason']}): {each.get('message', '')}"
            yield Complaint(where, said, is_serious and each["reason"] != "Suspended")
    seen, wanted = status.get("observedGeneration"), metadata.get("generation")
    if seen is not None and wanted is not None and seen < wanted:
        yield Complaint(where, "its last edit was not seen yet. Remedy: wait, or see that an operator leads")


def _of_lease(context: str | None, namespace: str, name: str) -> Iterator[Complaint]:
    where = f"Lease {namespace}/{name}"
    try:
        lease = json.loads(
            run_kubectl("get", "lease", name, f"--namespace={namespace}", "--output=json", context=context)
        )
    except UnusableInput as problem:
        yield Complaint(
            where, f"it cannot be read: {problem.message} Remedy: install the operator, or name its place"
        )
        return
    spec = lease.get("spec") or {}
    holder, renewed = spec.get("holderIdentity"), spec.get("renewTime")
    if not holder or not renewed:
        yield Complaint(where, "no operator leads. Remedy: see its pods and their logs")
        return
    age = (datetime.now(UTC) - datetime.fromisoformat(renewed)).total_seconds()
    if age > _STALE_SECONDS:
        yield Complaint(
            where, f"{holder} has not renewed it for {age:.0f} s. Remedy: see the operator's pods"
        )


def _ask(url: str) -> Iterator[Complaint]:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UnusableInput(f"--ops-url {url!a} is not a URL.", "Say for example http://127.0.0.1:9090.")
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/readyz", timeout=10) as answer:  # noqa: S310 - checked above
            document = json.loads(answer.read(65536))
    except urllib.error.HTTPError as error:
        document = _json(error.read(65536)) | {"ready": False}
        error.close()
    except (OSError, ValueError) as error:
        yield Complaint(url, f"no answer ({type(error).__name__}). Remedy: see that it runs and is reached")
        return
    if not document.get("ready"):
        remedy = f" Remedy: {document['remedy']}" if document.get("remedy") else ""
        yield Complaint(url, f"not ready: {document.get('why', 'it does not say why')}.{remedy}")
    elif document.get("warning"):
        yield Complaint(url, str(document["warning"]), is_serious=False)


def _json(data: bytes) -> Object:
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
