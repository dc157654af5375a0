# SPDX-License-Identifier: Apache-2.0
"""Routes drafted from operations: as strict as the document allows, with a note where a person has to choose.

A draft opens nothing by itself: every route has a scope, none is public, and whatever looks like a tenant is
bound, so that a wrong guess is a refusal and not an open door.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from watchword.cli.routes.openapi import Operation, Parameter
from watchword.trust.api.v1alpha1.service import MAX_ROUTES, Route
from watchword.trust.route_templates import Template, covers, flaw_of_template, template_of
from watchword.trust.routes import RouteTable, flaw_of_binding

# What a parameter of an account or a project is called, in lower case with `_` between words.
ACCOUNT_NAMES: Final = tuple(
    name + end
    for name in ("account", "tenant", "org", "organization", "organisation", "customer")
    for end in ("", "_id", "_name", "_slug", "_handle")
)
PROJECT_NAMES: Final = tuple(
    name + end
    for name in ("project", "namespace", "workspace")
    for end in ("", "_id", "_name", "_slug", "_handle")
)
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "QUERY"})
_SCOPE: Final = re.compile(r"[a-z][a-z0-9-]*(:[a-z][a-z0-9-]*){1,2}")
_MAX_SCOPE: Final = 128
_VARIABLE: Final = re.compile(r"\{([^{}]*)\}")
_WORD_STARTS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NO_RESOURCE: Final = re.compile(r"api|rest|v[0-9]+([._-][0-9a-z]+)*")
# What the gate answers itself, before any route; usage as `spec.usage.basePath` is by default.
_OWN: Final = ("/authz", "/api/internal")


class DraftRoute(msgspec.Struct, frozen=True):
    """A route with what a person has to know of it.

    Attributes:
        route: as it would stand in `spec.routes`.
        operations: the names of the operations that it lets through.
        notes: a sentence each.
    """

    route: Route
    operations: tuple[str, ...]
    notes: tuple[str, ...]


class Draft(msgspec.Struct, frozen=True):
    """Routes in the order in which they have to stand, and what was left out, a sentence each."""

    routes: tuple[DraftRoute, ...]
    notes: tuple[str, ...]


class _Template(msgspec.Struct):
    """A path as a route writes it, and what happened to it on the way."""

    path: str
    notes: list[str]


def draft_routes(
    operations: Iterable[Operation],
    *,
    accounts: Sequence[str] = ACCOUNT_NAMES,
    projects: Sequence[str] = PROJECT_NAMES,
) -> Draft:
    """Draft the routes of some operations.

    Args:
        operations: of one API.
        accounts: the names of parameters that are accounts, of paths and queries, in any case.
        projects: those that are projects, where an account is bound as well.
    """
    names = _Names(accounts, projects)
    made: dict[tuple[str, str, str], DraftRoute] = {}
    left_out: list[str] = []
    taken: dict[tuple[str, Template], str] = {}
    for operation in operations:
        found = _draft(operation, names)
        if isinstance(found, str):
            left_out.append(f"{operation.method} {operation.path} is left out: {found}.")
            continue
        route = found.route
        before_it = taken.setdefault((operation.method, template_of(route.path)), operation.path)
        if before_it != operation.path:
            left_out.append(
                f"{operation.method} {operation.path} is left out: its requests are those of {before_it}."
            )
            continue
        key = (route.path, route.scope or "", repr(sorted(route.query.items())))
        before = made.get(key)
        made[key] = found if before is None else _joined(before, found)
    routes: list[DraftRoute] = []
    for each in sorted(made.values(), key=_place):
        template = template_of(each.route.path)
        taker = next((one.route for one in routes if covers(template_of(one.route.path), template)), None)
        if taker is None:
            routes.append(_with_own(each))
            continue
        left_out += [
            f"{name} is left out: {taker.path} takes its paths; give that route its methods."
            for name in each.operations
        ]
    if len(routes) > MAX_ROUTES:
        left_out.append(
            f"There are {len(routes)} routes, and a service has at most {MAX_ROUTES}: join some paths with "
            "{path...}."
        )
    return Draft(tuple(routes), tuple(left_out))


class _Names:
    def __init__(self, accounts: Sequence[str], projects: Sequence[str]) -> None:
        self._accounts = frozenset(map(snake, accounts))
        self._projects = frozenset(map(snake, projects))

    def is_account(self, name: str) -> bool:
        return snake(name) in self._accounts

    def is_project(self, name: str) -> bool:
        return snake(name) in self._projects


def snake(name: str) -> str:
    """A name in lower case with `_` between its words, as captures are written; never empty."""
    words = _WORD_STARTS.sub("_", name).lower()
    plain = re.sub(r"[^a-z0-9]+", "_", words).strip("_")
    return (plain if plain[:1].isalpha() else f"p_{plain}")[:32].rstrip("_")


def _draft(operation: Operation, names: _Names) -> DraftRoute | str:
    template = _template(operation.path, names)
    query, notes = _query(operation.query, template.path, names)
    scope, said = _scope(operation, template.path)
    if not operation.needs_credential:
        said.append(
            "the document asks for no credential here; `public: true` in place of the scope lets everyone in"
        )
    if template.path.endswith("...}"):
        said.append("it takes nothing that the path of a route above it fits, whatever the method")
    flaw = flaw_of_template(template.path) or flaw_of_binding(template.path, query)
    if flaw is None and len(template.path) > 512:
        flaw = "the path has more than 512 characters"
    if flaw is not None:
        return flaw
    route = Route(path=template.path, methods=(operation.method,), scope=scope, query=query)
    RouteTable([route])
    return DraftRoute(route, (operation.name,), (*template.notes, *notes, *said))


def _template(path: str, names: _Names) -> _Template:
    path, mark, _ = path.partition("?")
    made = _Template(path, [])
    if mark:
        made.notes.append("the document has a query in the path, which decides nothing here")
    segments = path.split("/")
    variables = [_VARIABLE.findall(each) for each in segments]
    has_account = any(names.is_account(each) for found in variables for each in found)
    taken: set[str] = set()
    for number, (segment, found) in enumerate(zip(segments, variables, strict=True)):
        if not found:
            continue
        takes_rest = (
            number == len(segments) - 1
            and segment in (f"{{{found[0]}}}",)
            and (found[0][-1:] in ("+", "*") or found[0][:1] == "+")
        )
        written = found[0].strip("+*")
        if segment != f"{{{found[0]}}}":
            made.notes.append(f"`{segment}` is a capture of the whole segment")
            name = "_".join(found)
        elif names.is_account(written) and "account" not in taken and not takes_rest:
            name = "account"
        elif names.is_project(written) and has_account and "project" not in taken and not takes_rest:
            name = "project"
        else:
            name = written
        capture = _free(snake(name), taken)
        if capture in ("account", "project"):
            made.notes.append(
                f"`{{{written}}}` must be granted as {'an account' if capture == 'account' else 'a project'}"
            )
        taken.add(capture)
        segments[number] = f"{{{capture}...}}" if takes_rest else f"{{{capture}}}"
    made.path = "/".join(segments)
    return made


def _free(name: str, taken: set[str]) -> str:
    if name not in taken:
        return name
    return next(free for number in range(2, 1000) if (free := f"{name[:28]}_{number}") not in taken)


def _query(parameters: Sequence[Parameter], path: str, names: _Names) -> tuple[dict[str, Any], list[str]]:
    query: dict[str, Any] = {}
    notes: list[str] = []

    def bind(kind: str, fits: Callable[[str], bool]) -> None:
        found = [each for each in parameters if fits(each.name)]
        if not found or f"{{{kind}}}" in path:
            return
        query[found[0].name] = kind
        if not found[0].is_required:
            notes.append(
                f"`{found[0].name}` may be missing in the document; `{kind}?` lets requests without it "
                f"through, which are then about no {kind}"
            )
        if len(found) > 1:
            others = ", ".join(each.name for each in found[1:])
            notes.append(f"{others} looks like the {kind} as well, and is not bound")

    bind("account", names.is_account)
    if "{account}" in path or query:
        bind("project", names.is_project)
    return query, notes


def _scope(operation: Operation, path: str) -> tuple[str, list[str]]:
    fit = [each for each in operation.scopes if _SCOPE.fullmatch(each) and len(each) <= _MAX_SCOPE]
    if fit:
        rest = [each for each in operation.scopes if each != fit[0]]
        return fit[0], [f"the document requires {', '.join(rest)} as well"] if rest else []
    notes = (
        [f"the document's scope {operation.scopes[0]} is not of the form resource:action"]
        if operation.scopes
        else []
    )
    literals = [
        each for each in path.split("/") if each and "{" not in each and not _NO_RESOURCE.fullmatch(each)
    ]
    named = operation.tag or (literals[0] if literals else "app")
    resource = re.sub(r"[^a-z0-9]+", "-", _WORD_STARTS.sub("-", named).lower()).strip("-")[:60].rstrip("-")
    resource = resource if resource[:1].isalpha() else f"app-{resource}".rstrip("-")
    return f"{resource}:{'read' if operation.method in _READS else 'write'}", notes


def _joined(one: DraftRoute, two: DraftRoute) -> DraftRoute:
    methods = tuple(dict.fromkeys((*one.route.methods, *two.route.methods)))
    return DraftRoute(
        msgspec.structs.replace(one.route, methods=methods),
        (*one.operations, *two.operations),
        tuple(dict.fromkeys((*one.notes, *two.notes))),
    )


def _place(each: DraftRoute) -> tuple[int, ...]:
    """Literal segments before captures, and those before `{path...}`: what is narrower comes first."""
    return tuple(
        2 if segment.endswith("...}") else 1 if segment.startswith("{") else 0
        for segment in each.route.path[1:].split("/")
    )


def _with_own(each: DraftRoute) -> DraftRoute:
    path = each.route.path
    if any(path == own or path.startswith(f"{own}/") for own in _OWN):
        note = "the gate answers this path itself, so this route is never reached"
        return msgspec.structs.replace(each, notes=(*each.notes, note))
    return each
