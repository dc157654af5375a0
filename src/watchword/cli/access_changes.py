# SPDX-License-Identifier: Apache-2.0
"""Find who is let in or refused by other routes alone: each with a request that the gate decides otherwise.

What a grant comes to is compared elsewhere (`trust_changes`); here grants stay, and the routes of both sides
decide on the same requests, by the gate's own route table and its own `authorize`. A caller that may send a
request after and not before is named, even where no single route looks wider: a route that is gone leaves its
requests to a later one. Pure.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal, NamedTuple

from watchword.cli.change import Change, Kind
from watchword.cli.own_endpoints import is_own_path, own_needs
from watchword.cli.probe_requests import Probe, TooManyProbesError, probes_of, unused_name
from watchword.identity import Grant, Identity, Refusal
from watchword.trust import Bundle, RouteTable, authorize
from watchword.trust.path_folding import fold_segment

ANYONE: Final = "anyone, without a token"
_SHOWN: Final = 3
_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_~")


class Caller(NamedTuple):
    """What a caller may do on one side; nothing, where it is not trusted there."""

    grants: tuple[Grant, ...] = ()
    purposes: frozenset[str] = frozenset()


class _Need(NamedTuple):
    """What a request needs: a grant of the scope, for what the request is about."""

    scope: str
    purpose: str | None
    account: str | None
    project: str | None


# What lets a request in: nothing; anything, since it is public; or a grant.
_Needs = None | Literal["public"] | _Need


# An example of each kind of request, by its method and the routes that it has.
_Examples = dict[Kind, dict[tuple[str, str, str], str]]


class _Side:
    """The routes of one side."""

    def __init__(self, bundle: Bundle, *, answers_itself: bool) -> None:
        self._table, self._base_path = RouteTable(bundle.routes), bundle.usage_base_path
        self._answers_itself = answers_itself

    def needs(self, method: str, target: bytes) -> tuple[str, _Needs]:
        """The route of a request, and what the request needs."""
        if self._answers_itself and is_own_path(self._base_path, target):
            own = own_needs(self._base_path, method, target)
            return "", None if isinstance(own, Refusal) else _Need(own.scope, None, own.accounts[-1], None)
        match = self._table.match(method, target)
        if isinstance(match, Refusal):
            return "", None
        if match.is_public:
            return match.path, "public"
        return match.path, _Need(match.scope, match.purpose, match.account, match.project)


class _Difference(NamedTuple):
    """A kind of request that needs something else after than before."""

    routes: tuple[str, str, str]
    probe: Probe
    needs: tuple[_Needs, _Needs]


def access_changes(
    service: str,
    bundles: tuple[Bundle, Bundle],
    callers: Mapping[str, tuple[Caller, Caller]],
    told: frozenset[tuple[str, str]] = frozenset(),
) -> Iterator[Change]:
    """Who gains and who loses requests because routes changed, with examples.

    Args:
        service: `namespace/name`.
        bundles: before and after.
        callers: what each may do before and after, by who it is.
        told: routes, as method and path, of which it is said elsewhere that they became, or are no longer,
            public.
    """
    differences: list[tuple[tuple[_Side, _Side], _Difference]] = []
    try:
        for answers_itself in (False, True):
            if answers_itself and bundles[0].usage_base_path == bundles[1].usage_base_path:
                # Each side answers the same paths itself: no request is decided otherwise by that.
                continue
            sides = (
                _Side(bundles[0], answers_itself=answers_itself),
                _Side(bundles[1], answers_itself=answers_itself),
            )
            differences += ((sides, each) for each in _differences(sides, bundles, told, answers_itself))
    except TooManyProbesError:
        what = "the routes differ in too many ways to try them one by one: take each as wider"
        yield Change("gains", service, "", what)
        return
    by_caller: dict[tuple[Caller, Caller], _Examples] = {}
    literals = _literals(bundles)
    for who, both in callers.items():
        if both not in by_caller:
            by_caller[both] = _found(differences, both, literals)
        yield from _told(service, who, by_caller[both])
    public: _Examples = {"gains": {}, "loses": {}}
    for _, each in differences:
        if "public" in each.needs:
            public["gains" if each.needs[1] == "public" else "loses"].setdefault(
                each.routes, _shown(each.probe, {})
            )
    yield from _told(service, ANYONE, public)


def _differences(
    sides: tuple[_Side, _Side],
    bundles: tuple[Bundle, Bundle],
    told: frozenset[tuple[str, str]],
    answers_itself: bool,
) -> Iterator[_Difference]:
    """One request of each kind that needs something else."""
    seen = set()
    own = _own_probes(bundles) if answers_itself else ()
    for probe in itertools.chain(own, probes_of(*bundles)):
        target = probe.target()
        found = [side.needs(probe.method, target) for side in sides]
        (before, needed), (after, needs) = found
        if needed == needs:
            continue
        place = after if needs == "public" else before
        if "public" in (needed, needs) and (probe.method, place) in told:
            continue
        key = (probe.method, before, after, needed, needs)
        if key not in seen:
            seen.add(key)
            yield _Difference((probe.method, before, after), probe, (needed, needs))


def _own_probes(bundles: tuple[Bundle, Bundle]) -> Iterator[Probe]:
    """Requests for the paths that the gate answers itself."""
    account = f"{unused_name(*bundles)}-account"
    for bundle in bundles:
        base = tuple(bundle.usage_base_path.strip("/").split("/"))
        for end in (("usage", "events"), ("usage",), ("usage", "meters"), ("accounts", account, "usage")):
            for method in ("GET", "POST"):
                yield Probe(method, (*base, *end))


def _found(
    differences: Iterable[tuple[tuple[_Side, _Side], _Difference]],
    both: tuple[Caller, Caller],
    literals: frozenset[str],
) -> _Examples:
    """Examples of what a caller gains and loses by other routes."""
    found: _Examples = {"gains": {}, "loses": {}}
    names = _Names(both, literals)
    for sides, (routes, probe, needs) in differences:
        if all(routes in examples for examples in found.values()):
            continue
        for chosen in names.choices(probe, needs):
            at = tuple(_with_names(each, chosen) for each in needs)
            before, after = _may(both[0], at[0]), _may(both[1], at[1])
            if before == after:
                continue
            # Where the grants of the other side would not do, what is granted changed, and that is told.
            kind: Kind = "gains" if after else "loses"
            if not (_may(both[0], at[1]) if after else _may(both[1], at[0])):
                continue
            if routes not in found[kind] and kind in _decided(sides, both, probe, chosen):
                found[kind][routes] = _shown(probe, chosen)
    return found


def _decided(
    sides: tuple[_Side, _Side], both: tuple[Caller, Caller], probe: Probe, chosen: dict[str, str]
) -> Iterator[Kind]:
    """What the routes themselves say of the request with its names filled in."""
    target = probe.target(chosen)
    before, after = (
        _may(caller, side.needs(probe.method, target)[1]) for caller, side in zip(both, sides, strict=True)
    )
    if before != after:
        yield "gains" if after else "loses"


def _may(caller: Caller, needs: _Needs) -> bool:
    if needs is None or isinstance(needs, str):
        return needs is not None
    if needs.purpose is not None and needs.purpose not in caller.purposes:
        return False
    if not any(needs.scope in grant.scopes for grant in caller.grants):
        return False
    identity = Identity("", "", "", caller.grants, "", "", "", 0, 0)
    return not isinstance(authorize(identity, needs.scope, needs.account, needs.project), Refusal)


def _with_names(needs: _Needs, chosen: Mapping[str, str]) -> _Needs:
    if needs is None or isinstance(needs, str):
        return needs
    account, project = (
        None if name is None else chosen.get(name, name) for name in (needs.account, needs.project)
    )
    return needs._replace(account=account, project=project)


class _Names:
    """The names that grants of a caller tell apart: one of each kind stands for all of it."""

    def __init__(self, both: tuple[Caller, Caller], literals: frozenset[str]) -> None:
        grants = [grant for caller in both for grant in caller.grants]
        self._kinds = (
            _representatives([each.accounts for each in grants], literals),
            _representatives([each.projects for each in grants], literals),
        )

    def choices(self, probe: Probe, needs: tuple[_Needs, _Needs]) -> Iterator[dict[str, str]]:
        """Each choice of names for the open ones of a probe that decide on it."""
        opened = {*probe.segments, *(value for _, value in probe.query)}
        given: dict[str, list[str]] = {}
        for each in needs:
            if isinstance(each, _Need):
                for name, kind in zip((each.account, each.project), self._kinds, strict=True):
                    if name is not None and name in opened:
                        given.setdefault(name, [name]).extend(kind)
        yield from (dict(zip(given, chosen, strict=True)) for chosen in itertools.product(*given.values()))


def _representatives(held: list[tuple[str, ...]], literals: frozenset[str]) -> list[str]:
    """One of all names that the same grants name; of those that a path cannot hold, another."""
    known: dict[tuple[object, ...], str] = {}
    where: dict[str, list[int]] = {}
    for place, names in enumerate(held):
        for name in names:
            where.setdefault(name, []).append(place)
    for name, places in where.items():
        if name != "*":
            literal = fold_segment(name) if fold_segment(name) in literals else ""
            known.setdefault((tuple(dict.fromkeys(places)), _PLAIN.issuperset(name), literal), name)
    return list(known.values())


def _literals(bundles: tuple[Bundle, Bundle]) -> frozenset[str]:
    return frozenset(
        fold_segment(segment)
        for bundle in bundles
        for route in bundle.routes
        for segment in route.path.split("/")
        if segment
    )


def _shown(probe: Probe, chosen: dict[str, str]) -> str:
    return f"{probe.method} {probe.target(chosen).decode()}"


def _told(service: str, who: str, found: _Examples) -> Iterator[Change]:
    for kind, of_kind in found.items():
        # What two pairs of routes decide may be one request.
        examples = list(dict.fromkeys(of_kind.values()))
        if not examples:
            continue
        listed = ", ".join(examples[:_SHOWN])
        if len(examples) > _SHOWN:
            listed += f" and {len(examples) - _SHOWN} more"
        what = f"may send {listed}, refused before" if kind == "gains" else f"may no longer send {listed}"
        yield Change(kind, service, who, what)
