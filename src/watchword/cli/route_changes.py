# SPDX-License-Identifier: Apache-2.0
"""Compare the routes of two bundles of one service: what a request needs before and after.

A request is a method and a path; the first route that has both decides. Pure.
"""

from collections.abc import Iterator

import msgspec

from watchword.cli.change import Change, Kind
from watchword.trust import Bundle
from watchword.trust.api.v1alpha1 import Route

_Key = tuple[str, str]


def route_changes(service: str, old: Bundle, new: Bundle) -> Iterator[Change]:
    """Everything that differs, by method and path.

    Args:
        service: `namespace/name`.
        old: before.
        new: after.
    """
    before, after = _by_request(old), _by_request(new)
    for key in sorted(before.keys() | after.keys()):
        kind, what = _of_route(f"{key[0]} {key[1]}", before.get(key), after.get(key))
        if what:
            yield Change(kind, service, "", what)
    kept = [[key for key in _order(each) if key in before and key in after] for each in (old, new)]
    if kept[0] != kept[1]:
        yield Change("changes", service, "", "routes are in another order: the first that matches decides")


def public_changes(old: Bundle, new: Bundle) -> frozenset[_Key]:
    """The methods and paths of which `route_changes` says that they became public, or no longer are."""
    before, after = _by_request(old), _by_request(new)
    return frozenset(
        key
        for key in before.keys() | after.keys()
        if (key in before and before[key].public) != (key in after and after[key].public)
    )


def needs_of(route: Route) -> str:
    """What a request of a route needs, as `requires a:read for the account that the query's x names`."""
    if route.public:
        return "is public: no token is needed"
    bound = ", ".join(
        f"{kind.removesuffix('?')} from the query's {name}"
        + (" where it is given" if kind[-1] == "?" else "")
        for name, kind in sorted(route.query.items())
    )
    purpose = f" and a desk token for the purpose {route.purpose}" if route.purpose is not None else ""
    return f"requires {route.scope}{purpose}{f' for the {bound}' if bound else ''}"


def _of_route(name: str, old: Route | None, new: Route | None) -> tuple[Kind, str]:
    if old is None and new is not None:
        return "gains" if new.public else "changes", f"the route {name} is new, and {needs_of(new)}"
    if new is None and old is not None:
        kind: Kind = "loses" if old.public else "changes"
        return kind, f"the route {name} is gone: its requests are refused, or fall to a later route"
    assert old is not None  # noqa: S101 - for the type checker
    assert new is not None  # noqa: S101 - for the type checker
    if needs_of(old) == needs_of(new):
        return "changes", ""
    alike = msgspec.structs.replace(old, scope=new.scope)
    if not new.public and needs_of(alike) == needs_of(new):
        return "changes", f"the route {name} requires {new.scope}, before {old.scope}"
    return _direction(old, new), f"the route {name} {needs_of(new)}; before, it {needs_of(old)}"


def _direction(old: Route, new: Route) -> Kind:
    """Who may use it: more callers, fewer, or others."""
    if old.public != new.public:
        return "gains" if new.public else "loses"
    if (old.scope, old.purpose) != (new.scope, new.purpose):
        return "changes"
    # A bound account must be granted as well. A project asks for another kind of grant.
    bound = [frozenset(each.query.items()) for each in (old, new)]
    if any("project" in kind for each in bound for _, kind in each):
        return "changes"
    if bound[0] < bound[1]:
        return "loses"
    return "gains" if bound[1] < bound[0] else "changes"


def _by_request(bundle: Bundle) -> dict[_Key, Route]:
    return {(method, route.path): route for route in reversed(bundle.routes) for method in route.methods}


def _order(bundle: Bundle) -> list[_Key]:
    return [(method, route.path) for route in bundle.routes for method in sorted(route.methods)]
