# SPDX-License-Identifier: Apache-2.0
"""`watchword doctor`: is all well, and if not, what is wrong where, with what would be right.

It asks the cluster what the operator says in the status of each object, and the processes what they say on
/readyz. It judges nothing by itself: a second opinion that differs would be a third thing to explain.
"""

import json
import urllib.error
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

import click

from watchword.cli.doctor_desks import desk_objects, findings_of_desks
from watchword.cli.doctor_grants import findings_of_grants
from watchword.cli.doctor_pods import findings_of_pods
from watchword.cli.doctor_policies import findings_of_policies
from watchword.cli.failures import ANSWER_IS_NO, UnusableInput
from watchword.cli.findings import Finding, Object, where_of
from watchword.cli.kubectl import run_kubectl
from watchword.cli.ops_metrics import open_directly
from watchword.cli.options import option, output_option

# Someone wanted it so, or it is worth knowing and no fault of the object.
_KNOWN: Final = ("Suspended", "AudienceShared", "Reporting", "Ended")
_ASKED_FOR: Final = ("Off", "Previewed", "KeysRetiring", "KeyRotating")
_NOT_INSTALLED: Final = Finding(
    "Watchword",
    "it is not installed in this cluster: the API server knows none of its kinds. Remedy: helm install "
    "watchword charts/watchword --namespace watchword-system --create-namespace (docs/how-to/install.md)",
)
_STALE_SECONDS: Final = 30.0
_KINDS: Final = (
    "clustertrustedissuers.watchword.dev,protectedservices.watchword.dev,trustedworkloads.watchword.dev"
)


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
    """Ask the cluster, through kubectl: the resources' conditions, who leads, and what pods were given.

    Named are pods that ask for a gate or a token and have none, objects with such a label that their pods
    lack, audiences that are someone else's, services whose pods each count usage apart, and who else may
    read a token desk's signing keys.

    \b
    Examples:
      watchword doctor
      watchword doctor --context production -o json
      watchword doctor --ops-url http://127.0.0.1:9090

    Exit codes: 0 all is well; 1 something is not; 2 wrong usage, or no process to ask.
    """
    if ops_urls:
        found = [each for url in ops_urls for each in _ask(url)]
        asked = counted(len(ops_urls), "process", "processes")
    elif (objects := _objects(context)) is None:
        found, asked = [_NOT_INSTALLED], "the cluster"
    else:
        desks = desk_objects(context)
        found = [
            *_of_lease(context, namespace, lease_name),
            *findings_of_policies(context, namespace, lease_name),
            *(each for item in (*objects, *desks) for each in findings_of_object(item)),
            *findings_of_desks(context, desks),
            *findings_of_grants(objects),
            *findings_of_pods(context, objects),
        ]
        asked = counted(len(objects) + len(desks), "object", "objects")
    is_ill = any(each.is_serious for each in found)
    if output == "json":
        click.echo(json.dumps({"healthy": not is_ill, "complaints": [each._asdict() for each in found]}))
    else:
        for each in found:
            color = "red" if each.is_serious else "yellow"
            click.echo(f"{click.style(each.where, fg=color, bold=True)}: {each.what}")
        click.echo(f"Asked {asked}: {_summary(found)}")
    if is_ill:
        raise SystemExit(ANSWER_IS_NO)


def _summary(found: list[Finding]) -> str:
    serious = sum(each.is_serious for each in found)
    if not found:
        return "all is well."
    if not serious:
        return f"all is well; {counted(len(found), 'thing', 'things')} to know."
    rest = f", and {counted(len(found) - serious, 'thing', 'things')} to know" if serious < len(found) else ""
    return f"{counted(serious, 'thing is', 'things are')} not well{rest}."


def counted(number: int, one: str, many: str) -> str:
    """A number with its noun, in the form that it takes."""
    return f"{number} {one if number == 1 else many}"


def _objects(context: str | None) -> list[Object] | None:
    """The objects of our kinds; None where the cluster does not know the kinds."""
    try:
        data = run_kubectl("get", _KINDS, "--all-namespaces", "--output=json", context=context)
    except UnusableInput as problem:
        if "have a resource type" in problem.message:
            return None
        raise
    items: list[Object] = json.loads(data)["items"]
    return items


def findings_of_object(item: Object) -> Iterator[Finding]:
    """What the conditions of one object say that is not well."""
    metadata, status = item["metadata"], item.get("status") or {}
    where = where_of(item)
    conditions = status.get("conditions") or []
    if not any(each["type"] == "Ready" for each in conditions):
        yield Finding(where, "the operator has said nothing of it yet. Remedy: see that one leads")
        return
    for each in conditions:
        if not _is_worth_a_line(each):
            continue
        said = f"{each['type']} is {each['status']} ({each['reason']}): {each.get('message', '')}"
        yield Finding(where, said, each["reason"] not in _KNOWN)
    seen, wanted = status.get("observedGeneration"), metadata.get("generation")
    if seen is not None and wanted is not None and seen < wanted:
        yield Finding(where, "its last edit was not seen yet. Remedy: wait, or see that an operator leads")


def _is_worth_a_line(condition: Object) -> bool:
    """Whether something is wrong: what is not known, or was asked for, is no finding."""
    if condition["type"] == "Ready":
        return bool(condition["status"] != "True")
    if condition["type"] == "ReportOnly":
        # On, it lets everyone in, which someone has to know; off, the field is there to no effect.
        return True
    # Ready says it already, with the same remedy; of pods without a gate `doctor_pods` gives the names.
    is_said = condition["type"] in ("Reachable", "Gated") or condition["reason"] in _ASKED_FOR
    return condition["status"] == "False" and not is_said


def _of_lease(context: str | None, namespace: str, name: str) -> Iterator[Finding]:
    where = f"Lease {namespace}/{name}"
    try:
        lease = json.loads(
            run_kubectl("get", "lease", name, f"--namespace={namespace}", "--output=json", context=context)
        )
    except UnusableInput as problem:
        yield Finding(
            where, f"it cannot be read: {problem.message} Remedy: install the operator, or name its place"
        )
        return
    spec = lease.get("spec") or {}
    holder, renewed = spec.get("holderIdentity"), spec.get("renewTime")
    if not holder or not renewed:
        yield Finding(where, "no operator leads. Remedy: see its pods and their logs")
        return
    age = (datetime.now(UTC) - datetime.fromisoformat(renewed)).total_seconds()
    if age > _STALE_SECONDS:
        yield Finding(where, f"{holder} has not renewed it for {age:.0f} s. Remedy: see the operator's pods")


def _ask(url: str) -> Iterator[Finding]:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UnusableInput(f"--ops-url {url!a} is not a URL.", "Say for example http://127.0.0.1:9090.")
    try:
        with open_directly(f"{url.rstrip('/')}/readyz", 10) as answer:
            document = json.loads(answer.read(65536))
    except urllib.error.HTTPError as error:
        document = _json(error.read(65536)) | {"ready": False}
        error.close()
    except (OSError, ValueError) as error:
        yield Finding(url, f"no answer ({type(error).__name__}). Remedy: see that it runs and is reached")
        return
    if not document.get("ready"):
        remedy = f" Remedy: {document['remedy']}" if document.get("remedy") else ""
        yield Finding(url, f"not ready: {document.get('why', 'it does not say why')}.{remedy}")
    elif document.get("warning"):
        yield Finding(url, str(document["warning"]), is_serious=False)


def _json(data: bytes) -> Object:
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
