# SPDX-License-Identifier: Apache-2.0
"""`watchword routes`: print a first draft of a service's routes from its OpenAPI document."""

from typing import Any, Final

import click
import msgspec

from watchword.cli.failures import UnusableInput, os_reason, say
from watchword.cli.options import option, output_option
from watchword.cli.routes.draft import ACCOUNT_NAMES, PROJECT_NAMES, Draft, DraftRoute, draft_routes
from watchword.cli.routes.openapi import MAX_FILE_BYTES, Document, OpenApiError, read_openapi
from watchword.cli.yaml_output import quoted, scalar

_WIDTH: Final = 100


@click.command("routes", short_help="Draft routes from an OpenAPI document.")
@option(
    "--from",
    "source",
    required=True,
    metavar="FILE",
    type=click.Path(allow_dash=True),
    help="OpenAPI 3.0 to 3.2 or Swagger 2.0, YAML or JSON; - for standard input.",
)
@option(
    "--base-path",
    metavar="PATH",
    help="What stands before each path; default: the path of the document's first server.",
)
@option(
    "--account-parameter",
    "accounts",
    multiple=True,
    metavar="NAME",
    help="A parameter that names an account, in any case; repeat it for several. Default: account, tenant, "
    "org, organization, customer, and with _id, _name, _slug, _handle.",
)
@option(
    "--project-parameter",
    "projects",
    multiple=True,
    metavar="NAME",
    help="The same for projects. Default: project, namespace, workspace.",
)
@output_option("yaml", "json")
def command(
    *, source: str, base_path: str | None, accounts: tuple[str, ...], projects: tuple[str, ...], output: str
) -> None:
    """Print a first draft of a ProtectedService's routes from an OpenAPI document.

    The draft opens nothing by itself: each route has a scope (the document's own where it names one, else
    TAG:read or TAG:write), no route is public, and what looks like an account or a project must be granted.
    A comment says what each route lets through, and where you have to choose. Review it, then make it part of
    your ProtectedService, or patch one:

    \b
      watchword routes --from openapi.yaml > routes.yaml
      kubectl -n shop patch protectedservice orders --type merge --patch-file routes.yaml
      watchword lint DIR

    \b
    Examples:
      watchword routes --from manifests/openapi/orders.yaml
      watchword routes --from manifests/openapi/orders.yaml --account-parameter shop -o json

    Exit codes: 0 printed; 2 wrong usage, or a document that no routes can be read from.
    """
    if base_path is not None and not base_path.startswith("/"):
        raise UnusableInput(
            f"--base-path is {base_path!r}, which does not start with a slash.",
            "Say for example --base-path /api/v1.",
        )
    try:
        document = read_openapi(_bytes_of(source), base_path)
    except OpenApiError as error:
        raise UnusableInput(f"--from {source}: {error.detail}", error.remedy) from None
    draft = draft_routes(
        document.operations, accounts=accounts or ACCOUNT_NAMES, projects=projects or PROJECT_NAMES
    )
    if not draft.routes:
        raise UnusableInput(
            f"--from {source}: it has no operation that a route can be made of.",
            " ".join((*document.notes, *draft.notes)) or "Write operations below `paths`.",
        )
    click.echo(_json(document, draft) if output == "json" else _yaml(document, draft), nl=False)
    for note in (*document.notes, *draft.notes):
        say(f"Note: {_printable(note)}")
    marked = sum(1 for each in draft.routes if each.notes)
    said = f", {marked} with a note for you" if marked else ""
    say(f"{len(document.operations)} operations, {len(draft.routes)} routes{said}.")


def _bytes_of(source: str) -> bytes:
    try:
        with click.open_file(source, "rb") as file:
            data: bytes = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UnusableInput(
            f"--from {source} cannot be read: {os_reason(error)}.", "Name a readable OpenAPI document."
        ) from None
    return data


def _yaml(document: Document, draft: Draft) -> str:
    lines = [
        f"# A draft from {_printable(document.title)}, for you to review: no route is public.",
        "spec:",
        "  routes:",
    ]
    for each in draft.routes:
        lines += [f"    # {_printable(name)}" for name in _folded(each.operations)]
        lines += [f"    # Note: {_printable(note)}." for note in each.notes]
        lines += _route_lines(each)
    return "\n".join(lines) + "\n"


def _route_lines(each: DraftRoute) -> list[str]:
    route = each.route
    members = [
        f"path: {_scalar_in_flow(route.path)}",
        f"methods: [{', '.join(map(scalar, route.methods))}]",
        f"scope: {_scalar_in_flow(route.scope or '')}",
    ]
    if route.query:
        bound = ", ".join(f"{_scalar_in_flow(name)}: {kind}" for name, kind in route.query.items())
        members.append(f"query: {{{bound}}}")
    whole = f"    - {{{', '.join(members)}}}"
    if len(whole) <= _WIDTH:
        return [whole]
    return [f"    {'- ' if not number else '  '}{member}" for number, member in enumerate(members)]


def _scalar_in_flow(text: str) -> str:
    return scalar(text) if text.isalnum() else quoted(text)


def _folded(names: tuple[str, ...]) -> list[str]:
    lines: list[str] = []
    for name in names:
        if lines and len(lines[-1]) + len(name) + 2 <= _WIDTH - 6:
            lines[-1] += f", {name}"
        else:
            lines.append(name)
    return lines


def _json(document: Document, draft: Draft) -> str:
    said = [
        {
            "path": each.route.path,
            "scope": each.route.scope,
            "operations": each.operations,
            "notes": each.notes,
        }
        for each in draft.routes
    ]
    whole: dict[str, Any] = {
        "title": document.title,
        "spec": {"routes": [each.route for each in draft.routes]},
        "routes": said,
        "notes": (*document.notes, *draft.notes),
    }
    return msgspec.json.format(msgspec.json.encode(whole), indent=2).decode() + "\n"


def _printable(text: str) -> str:
    """Text of the document's writer on one line, which is no terminal's command."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )
