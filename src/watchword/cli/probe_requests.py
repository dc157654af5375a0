# SPDX-License-Identifier: Apache-2.0
"""Requests that two lists of routes may decide differently, made from the templates of both.

A path that two lists decide differently is one of a route that differs, in some form, and maybe one of other
routes as well. So each route that differs is laid over all others: where one captures, the other's text
stands, also in a form that only some servers take for it; where both capture, a name that means nothing to
any route or grant. Pure.
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import quote

import msgspec

from watchword.trust import Bundle
from watchword.trust.api.v1alpha1 import Route
from watchword.trust.path_folding import fold_segment
from watchword.trust.route_templates import REST, Template, fits_in_any_form, folded_path, folded_template
from watchword.trust.route_templates import template_of as _template_of

# The segments of a path; None stands for any name.
_Pattern = tuple[str | None, ...]
MAX_PATTERNS: Final = 20_000
_MAX_WORK: Final = 3_000_000
_MAX_PARAMETERS: Final = 6


class TooManyProbesError(Exception):
    """The lists differ in more ways than can be tried one by one."""


class Probe(msgspec.Struct, frozen=True):
    """A request whose names are open.

    Attributes:
        method: its method.
        segments: of its path; those that are names of `names` may be any.
        query: its parameters, each with a name of `names`.
    """

    method: str
    segments: tuple[str, ...]
    query: tuple[tuple[str, str], ...] = ()

    def target(self, names: dict[str, str] | None = None) -> bytes:
        """The raw request target, with other names in place of the open ones.

        Args:
            names: what stands for an open name; others stay.
        """
        given = names or {}
        path = "/".join(quote(given.get(each, each), safe="") for each in self.segments)
        query = "&".join(f"{name}={quote(given.get(value, value), safe='')}" for name, value in self.query)
        return f"/{path}{'?' if query else ''}{query}".encode()


def probes_of(old: Bundle, new: Bundle) -> Iterator[Probe]:
    """Requests of all kinds that the routes of two bundles of one service may decide differently.

    Raises:
        TooManyProbesError: there are too many kinds.
    """
    routes = (*old.routes, *new.routes)
    templates = list(dict.fromkeys(_template_of(each.path) for each in routes))
    differing = {_template_of(each.path) for each in _differing(old.routes, new.routes)}
    any_name = unused_name(old, new)
    methods = sorted({method for each in routes for method in each.methods})
    bound = [(folded_template(_template_of(each.path)), tuple(each.query)) for each in routes if each.query]
    for pattern in _patterns([each for each in templates if each in differing], templates):
        segments = tuple(
            f"{any_name}-{place}" if each is None else each for place, each in enumerate(pattern)
        )
        folded = folded_path(segments)
        names = sorted(
            {name for template, query in bound if fits_in_any_form(template, folded) for name in query}
        )
        if len(names) > _MAX_PARAMETERS:
            raise TooManyProbesError
        for query in _queries(names, any_name):
            for method in methods:
                yield Probe(method, segments, query)


def unused_name(*bundles: Bundle) -> str:
    """The beginning of names that no route and no grant of the bundles is about."""
    said = {fold_segment(route.path) for bundle in bundles for route in bundle.routes}
    named = {
        fold_segment(name)
        for bundle in bundles
        for row in bundle.grants
        for grant in row
        for name in (*grant.accounts, *grant.projects)
    }
    text = "\n".join((*said, *named))
    numbers = itertools.chain(("",), itertools.count(1))
    return next(each for each in map("any{}".format, numbers) if each not in text)


def _differing(old: tuple[Route, ...], new: tuple[Route, ...]) -> list[Route]:
    """The routes that only one list has; all, where those of both stand in another order."""
    keys = [[_key(each) for each in routes] for routes in (old, new)]
    common = set(keys[0]) & set(keys[1])
    if [each for each in keys[0] if each in common] != [each for each in keys[1] if each in common]:
        return [*old, *new]
    return [each for each in (*old, *new) if _key(each) not in common]


def _key(route: Route) -> bytes:
    methods = tuple(sorted(set(route.methods)))
    return msgspec.json.encode(msgspec.structs.replace(route, methods=methods), order="deterministic")


def _patterns(differing: list[Template], templates: list[Template]) -> list[_Pattern]:
    """The paths to try, each with and without a slash at its end: some servers take one for the other."""
    differing, templates = (list(dict.fromkeys(map(_without_slash, each))) for each in (differing, templates))
    lengths = sorted({len(each) - (each[-1] == REST) for each in templates})
    found: dict[_Pattern, None] = {}
    for template in differing:
        for pattern in _first(template, lengths):
            found.update(dict.fromkeys(_forms(pattern)))
    last = list(found)
    # Twice: a form of a third route's text may be what keeps a path from the second.
    for is_needed in (True, False):
        if len(last) * len(templates) > _MAX_WORK or len(found) > MAX_PATTERNS:
            if is_needed:
                raise TooManyProbesError
            break
        merged = dict.fromkeys(
            each for pattern in last for template in templates for each in _merged(pattern, template)
        )
        last = [each for each in merged if each not in found]
        if len(found) + len(last) > MAX_PATTERNS:
            if is_needed:
                raise TooManyProbesError
            break
        found.update(dict.fromkeys(last))
    return [*found, *((*pattern, "") for pattern in found)]


def _without_slash(template: Template) -> Template:
    return template[:-1] if len(template) > 1 and template[-1] == "" else template


def _first(template: Template, lengths: Iterable[int]) -> Iterator[_Pattern]:
    """The paths of one template; of one that takes any rest, of each length that matters."""
    if template[-1] != REST:
        yield template
        return
    fixed = len(template) - 1
    if fixed:
        # Some servers take the path in front of the rest for it as well.
        yield template[:-1]
    for length in sorted({fixed + 1, fixed + 2, *(each + more for each in lengths for more in (0, 1, 2))}):
        if length > fixed:
            yield (*template[:-1], *([None] * (length - fixed)))


def _forms(pattern: _Pattern) -> Iterator[_Pattern]:
    """A path, and the path with one text of it in another form."""
    yield pattern
    for place, text in enumerate(pattern):
        if text:
            yield (*pattern[:place], _other_form(text), *pattern[place + 1 :])


def _other_form(text: str) -> str:
    """What is not the text, and some server takes for it."""
    return text.upper() if text.upper() != text else text.lower() if text.lower() != text else f"{text}."


def _merged(pattern: _Pattern, template: Template) -> Iterator[_Pattern]:
    """The paths of a pattern that some server could take for a template's too."""
    is_rest = template[-1] == REST
    fixed = template[:-1] if is_rest else template
    if len(pattern) < len(fixed) or (len(pattern) > len(fixed) and not is_rest):
        return
    open_places = []
    for place, (one, two) in enumerate(zip(pattern, fixed, strict=False)):
        if two is None or one == two:
            continue
        if one is None:
            open_places.append(place)
        elif fold_segment(one) != fold_segment(two):
            return
    filled = list(pattern)
    for place in open_places:
        filled[place] = fixed[place]
    if open_places:
        yield tuple(filled)
        for place in open_places:
            if fixed[place]:
                yield (*filled[:place], _other_form(str(fixed[place])), *filled[place + 1 :])


def _queries(names: list[str], any_name: str) -> Iterator[tuple[tuple[str, str], ...]]:
    """Each choice of the parameters that routes of a path bind, also next to what some take for one."""
    for number in range(len(names) + 1):
        for chosen in itertools.combinations(names, number):
            query = tuple((name, f"{any_name}-{name}") for name in chosen)
            yield query
            for name in names:
                yield (*query, (_other_form(name), f"{any_name}-{name}"))
