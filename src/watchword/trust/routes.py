# SPDX-License-Identifier: Apache-2.0
"""Which route a request is: the first whose template and method match the raw request target.

A path that some app could serve as an earlier route's is never a later route's.
"""

from collections.abc import Iterable, Mapping
from typing import Final, Protocol

import msgspec

from watchword.identity import Reason, Refusal
from watchword.trust.form_bodies import FormFlaw
from watchword.trust.path_folding import fold_segment
from watchword.trust.query_binding import AmbiguousQueryError, QueryBinding, flaw_of_query
from watchword.trust.route_templates import (
    CAPTURE,
    REST,
    AmbiguousTargetError,
    Template,
    fits,
    fits_exactly,
    fits_in_any_form,
    fits_rest,
    flaw_of_template,
    folded_path,
    folded_template,
    in_one_case,
    is_likeness,
    split_rest,
    split_target,
    template_of,
)

# Targets that were matched last, up to so many and so long: 1 MiB at most.
_MAX_KNOWN: Final = 1024
_MAX_KNOWN_BYTES: Final = 512


class RouteLike(Protocol):
    """What a route has, wherever it comes from."""

    @property
    def path(self) -> str:
        """The template."""

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods."""

    @property
    def scope(self) -> str | None:
        """The scope; None: it is public."""

    @property
    def public(self) -> bool:
        """Whether it needs no token."""

    @property
    def query(self) -> Mapping[str, str]:
        """Query parameters by name, with `account` or `project`, and a `?` where it may be missing."""

    @property
    def purpose(self) -> str | None:
        """The purpose of the desk tokens that it is for; None: of none."""


class RouteMatch(msgspec.Struct, frozen=True):
    """The route of one request.

    Attributes:
        path: the route's template.
        scope: the scope that it requires; empty where it is public.
        account: the account that the path or the query names, or None.
        project: the project that one of them names, or None.
        purpose: the purpose that it is for, or None.
        is_public: it needs no token.
    """

    path: str
    scope: str
    account: str | None
    project: str | None
    purpose: str | None = None
    is_public: bool = False


def flaw_of_public(route: RouteLike) -> str | None:
    """What is wrong with a route's word on who may use it, or None."""
    if route.public and route.scope is not None:
        return "a public route has no scope: it needs no token"
    if route.public and route.query:
        return "a public route binds nothing from the query: nothing is decided"
    if route.public and route.purpose is not None:
        return "a public route has no purpose: it needs no token"
    if route.public and split_rest(route.path)[1] and split_rest(route.path)[0] == "/x":
        return "all paths would be public"
    return "a route needs a scope, or public: true" if not route.public and route.scope is None else None


def names_project(route: RouteLike) -> bool:
    """Whether each request that a route takes is about a project."""
    return "{project}" in route.path or "project" in route.query.values()


def is_of_previous_release(route: RouteLike) -> bool:
    """Whether gates of release 0.1.0 know all that a route says."""
    return not (route.public or route.query or split_rest(route.path)[1])


def flaw_of_binding(path: str, query: Mapping[str, str] | None = None) -> str | None:
    """What is wrong with what a route of a well-formed path binds, or None."""
    # One name may be a project of two accounts: a decision on the name alone would be about both.
    if "{project}" in path and "{account}" not in path and not query:
        return "it binds {project} without {account}"
    return flaw_of_query(query, path) if query else None


class _Compiled(msgspec.Struct, frozen=True):
    place: int
    path: str
    segments: Template
    folded: Template
    names: tuple[tuple[int, str], ...]
    methods: frozenset[str]
    scope: str
    purpose: str | None
    is_public: bool
    query: QueryBinding | None
    # Earlier routes whose literals it captures: it takes no path that is theirs in another spelling.
    likenesses: "tuple[_Compiled, ...]" = ()


class RouteTable:
    """A service's routes, ready to match. The first that matches wins.

    Attributes:
        has_public: some route needs no token.
    """

    def __init__(self, routes: Iterable[RouteLike]) -> None:
        """Compile routes whose templates are well-formed; raises ValueError for others."""
        self._by_length: dict[int, list[_Compiled]] = {}
        # Those that take any rest; and all, by the length of their paths without a slash at the end.
        self._rests: list[_Compiled] = []
        self._folded: dict[int, list[_Compiled]] = {}
        self.has_public = False
        # Requests that were matched last, of routes that bind nothing from the query.
        self._known: dict[tuple[str, bytes], RouteMatch] = {}
        earlier: list[_Compiled] = []
        for place, route in enumerate(routes):
            flaw = (
                flaw_of_template(route.path)
                or (flaw_of_query(route.query, route.path) if route.query else None)
                or flaw_of_public(route)
            )
            if flaw:
                raise ValueError(f"{route.path}: {flaw}")
            compiled = _compiled(place, route, earlier)
            earlier.append(compiled)
            self.has_public = self.has_public or route.public
            if compiled.segments[-1] == REST:
                self._rests.append(compiled)
            else:
                self._by_length.setdefault(len(compiled.segments), []).append(compiled)
                self._folded.setdefault(len(compiled.folded), []).append(compiled)

    def scopes(self) -> list[str]:
        """The scopes that routes require, sorted."""
        return sorted({route.scope for route in self._all() if not route.is_public})

    def match(self, method: str, target: bytes, *, form_flaw: FormFlaw | None = None) -> RouteMatch | Refusal:
        """Find the route of a request (check 16).

        Args:
            method: as sent, in capitals.
            target: the raw request target.
            form_flaw: why its body could be read as a form (`form_bodies`); None: it could not.

        Returns:
            The route, or `no_route`, or `ambiguous_query`.
        """
        known = self._known.get((method, target))
        if known is not None:
            return known
        try:
            segments = split_target(target)
        except AmbiguousTargetError as problem:
            hint = "Send the plain path, each segment encoded once and without ; or dot segments."
            return Refusal(Reason.NO_ROUTE, f"The path is ambiguous: {problem}.", hint)
        route = self._find(method, segments)
        if route is None:
            return self._no_route(method, segments)
        captures = {name: segments[place] for place, name in route.names}
        if route.query is not None:
            if form_flaw is not None:
                return Refusal(Reason.AMBIGUOUS_QUERY, form_flaw.detail, form_flaw.hint)
            try:
                captures |= route.query.read(target)
            except AmbiguousQueryError as problem:
                return Refusal(Reason.AMBIGUOUS_QUERY, f"The query is ambiguous: {problem}.")
        account, project = captures.get("account"), captures.get("project")
        match = RouteMatch(
            route.path, route.scope, account, project, route.purpose, is_public=route.is_public
        )
        if route.query is None and len(target) <= _MAX_KNOWN_BYTES:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[method, target] = match
        return match

    def _find(self, method: str, segments: tuple[str, ...]) -> _Compiled | None:
        exact = next(
            (
                route
                for route in self._by_length.get(len(segments), ())
                if method in route.methods and self._takes(route, segments)
            ),
            None,
        )
        for route in self._rests:
            if exact is not None and route.place > exact.place:
                break
            if method in route.methods and self._takes(route, segments):
                return route
        return exact

    def _takes(self, route: _Compiled, segments: tuple[str, ...]) -> bool:
        """Whether a path is a route's own: it fits, and no app could serve it as an earlier route's."""
        if route.segments[-1] == REST:
            return fits_rest(route.segments, segments) and not self._is_of_earlier(route, segments)
        if not fits(route.segments, segments):
            return False
        if not route.likenesses:
            return True
        folded = folded_path(segments)
        return not any(
            fits_in_any_form(each.folded, folded) and not fits_exactly(each.segments, segments)
            for each in route.likenesses
        )

    def _is_of_earlier(self, route: _Compiled, segments: tuple[str, ...]) -> bool:
        """Whether a path is one of an earlier route's, whatever the method, case or slash at the end."""
        folded = folded_path(segments)
        earlier = (*self._folded.get(len(folded), ()), *self._rests)
        return any(each.place < route.place and fits_in_any_form(each.folded, folded) for each in earlier)

    def _no_route(self, method: str, segments: tuple[str, ...]) -> Refusal:
        """Why nothing matches, and what nearly does: asked by a workload that is trusted already."""
        if not self._by_length and not self._rests:
            hint = "The service's owner adds routes to spec.routes of the ProtectedService."
            return Refusal(Reason.NO_ROUTE, "The service has no routes, so no request is let in.", hint)
        methods = self._methods_of(segments)
        if method != method.upper() and method.upper() in methods:
            hint = f"Methods are compared with their case (RFC 9110, section 9.1): send {method.upper()}."
            return Refusal(Reason.NO_ROUTE, "The method is not written in capitals.", hint)
        if methods:
            detail = f"The path has {_some(methods)}, and not the method of this request."
            hint = (
                "Send one of these methods. If the other one is right, the service's owner adds it to the "
                "route in spec.routes of the ProtectedService."
            )
            return Refusal(Reason.NO_ROUTE, detail, hint)
        if segments[-1] == "" and self._methods_of(segments[:-1]):
            hint = "Send the path without the slash at its end."
            return Refusal(Reason.NO_ROUTE, "Without the trailing slash there is a route.", hint)
        if segments[-1] != "" and self._methods_of((*segments, "")):
            return Refusal(
                Reason.NO_ROUTE,
                "With a trailing slash there is a route.",
                "Send the path with a slash at its end.",
            )
        if self._methods_of(segments, ignores_case=True):
            hint = "Paths are compared with their case: write it as the route in spec.routes is written."
            return Refusal(Reason.NO_ROUTE, "A route has this path in another case.", hint)
        folded = folded_path(segments)
        if any(
            len(folded) < len(each.folded) and fits_in_any_form(each.folded, folded) for each in self._rests
        ):
            detail = "The path ends where the last segment of a route that takes any rest would begin."
            hint = (
                "Send the path with what follows. If it is right without, the service's owner adds a route "
                "for it to spec.routes of the ProtectedService, in front of later ones."
            )
            return Refusal(Reason.NO_ROUTE, detail, hint)
        return Refusal(Reason.NO_ROUTE)

    def _methods_of(self, segments: tuple[str, ...], *, ignores_case: bool = False) -> frozenset[str]:
        """The methods of the routes whose own a path is, or whose path it is in another case."""
        named = tuple(map(fold_segment, segments))
        found: set[str] = set()
        for route in (*self._by_length.get(len(named), ()), *self._rests):
            if ignores_case:
                is_it = fits_exactly(in_one_case(route.segments), named)
                is_it = is_it and not fits_exactly(route.segments, segments)
            else:
                is_it = self._takes(route, segments)
            if is_it:
                found |= route.methods
        return frozenset(found)

    def _all(self) -> list[_Compiled]:
        return [*(route for routes in self._by_length.values() for route in routes), *self._rests]


def _compiled(place: int, route: RouteLike, earlier: Iterable[_Compiled]) -> _Compiled:
    segments = template_of(route.path)
    folded = folded_template(segments)
    parts = [CAPTURE.fullmatch(segment) for segment in route.path[1:].split("/")]
    return _Compiled(
        place=place,
        path=route.path,
        segments=segments,
        folded=folded,
        names=tuple((number, part[1]) for number, part in enumerate(parts) if part),
        methods=frozenset(route.methods),
        scope=route.scope or "",
        purpose=route.purpose,
        is_public=route.public,
        query=QueryBinding(route.query) if route.query else None,
        likenesses=tuple(each for each in earlier if is_likeness(each.folded, folded)),
    )


def _some(names: frozenset[str]) -> str:
    named = sorted(names)
    return ", ".join(named[:-1]) + (" and " if len(named) > 1 else "") + named[-1]
