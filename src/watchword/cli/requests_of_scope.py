# SPDX-License-Identifier: Apache-2.0
"""The requests at a service that take a scope, found by asking the route table itself.

A route may stand behind a public one, or below a path that the gate answers itself, so that no request ever
reaches it. So each kind of request is made, and the gate's own table says which route it has.
"""

import itertools
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

from watchword.cli.failures import UnusableInput
from watchword.cli.own_endpoints import is_own_path
from watchword.identity import Refusal
from watchword.trust import Bundle, RouteMatch, RouteTable
from watchword.trust.api.v1alpha1 import Route
from watchword.trust.grants import USAGE_SCOPES

_BOUND: Final = ("account", "project")
# A capture of a well-formed template; one that takes any rest is one segment here.
_CAPTURE: Final = re.compile(r"\{([a-z][a-z0-9_]*)(?:\.\.\.)?\}")


class RequestsOfScope:
    """Which requests at a service take one scope.

    Attributes:
        any_name: a name that no route and no grant is about: it stands for every one.
    """

    def __init__(self, bundle: Bundle, scope: str) -> None:
        """Look at the routes of a bundle for a scope.

        Raises:
            UnusableInput: a route is one that no gate takes.
        """
        self._scope, self._base_path = scope, bundle.usage_base_path
        try:
            self._table = RouteTable(bundle.routes)
        except ValueError as flaw:
            service = f"{bundle.service.namespace}/{bundle.service.name}"
            raise UnusableInput(
                f"The bundle of {service} has a route that no gate takes: {flaw}.",
                "Compile it again, with the release that its gates run.",
            ) from None
        self._routes = [each for each in bundle.routes if each.scope == scope]
        self.any_name = _unused(bundle)
        self._known: dict[tuple[str | None, str | None], frozenset[str | None]] = {}

    @property
    def routes(self) -> list[Route]:
        """The routes that some request reaches, in order."""
        names = (None, self.any_name)
        return [
            route
            for route in self._routes
            if any(
                match.path == route.path
                for account, project in itertools.product(names, names)
                for match in self._matches(route, account, project)
            )
        ]

    def purposes_of(self, account: str | None, project: str | None) -> frozenset[str | None]:
        """The purposes for which a request about this account and project takes the scope.

        Args:
            account: the account that it is about; None: none.
            project: the project; None: none.

        Returns:
            None among them: a token without a purpose passes. Empty: no such request takes the scope.
        """
        key = (account, project)
        if key not in self._known:
            self._known[key] = frozenset(self._purposes(account, project))
        return self._known[key]

    def _purposes(self, account: str | None, project: str | None) -> Iterator[str | None]:
        if self._scope in USAGE_SCOPES:
            # The gate's own usage endpoints, whatever routes there are; about accounts as a whole.
            if project is None:
                yield None
        elif not self._routes:
            # The app decides by itself, from what /authz says is granted.
            yield None
        for route in self._routes:
            for match in self._matches(route, account, project):
                yield match.purpose

    def _matches(self, route: Route, account: str | None, project: str | None) -> Iterator[RouteMatch]:
        """How a request of a route about this account and project is decided, where it takes the scope."""
        target = self._target(route, {"account": account, "project": project})
        if target is None or is_own_path(self._base_path, target):
            return
        for method in route.methods:
            match = self._table.match(method, target)
            if isinstance(match, Refusal) or match.is_public or match.scope != self._scope:
                continue
            if (match.account, match.project) == (account, project):
                yield match

    def _target(self, route: Route, given: dict[str, str | None]) -> bytes | None:
        """The request target of a route that is about exactly what is given; None: there is none."""
        in_path = {name for name in _BOUND if f"{{{name}}}" in route.path}
        kinds = {name: kind.removesuffix("?") for name, kind in route.query.items()}
        needed = in_path | {kinds[name] for name, kind in route.query.items() if not kind.endswith("?")}
        named = {name for name in _BOUND if given[name] is not None}
        if not needed <= named <= in_path | set(kinds.values()):
            return None
        path = _CAPTURE.sub(lambda found: quote(given.get(found[1]) or self.any_name, safe=""), route.path)
        query = {name: given[kind] for name, kind in kinds.items() if given[kind] is not None}
        parts = "&".join(f"{name}={quote(value or '', safe='')}" for name, value in query.items())
        return f"{path}?{parts}".encode() if parts else path.encode()


def _unused(bundle: Bundle) -> str:
    """A name that is in no route and no grant."""
    said = "\n".join(route.path.casefold() for route in bundle.routes)
    named = {name for row in bundle.grants for grant in row for name in (*grant.accounts, *grant.projects)}
    names = (f"any-{number}" for number in itertools.count(1))
    return next(each for each in names if each not in said and each not in named)
