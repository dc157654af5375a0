# SPDX-License-Identifier: Apache-2.0
"""The pages: what each reads, and what its template is given. A GET changes nothing, here or anywhere."""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from watchword.console import commands
from watchword.console.callers import Caller, callers_of, declared_caller, holds
from watchword.console.exposure import exposures_of, routes_of
from watchword.console.filters import BadQueryError, Query, matches, page_of, read_query
from watchword.console.keys import key_source, keys_of_desk, keys_of_issuer, overdue, waiting_keys
from watchword.console.model import Gap, Item, Items, Snapshot, State
from watchword.console.snapshots import Snapshots
from watchword.console.source import Gates, Source
from watchword.identity import is_namespace_name, is_service_account_name
from watchword.kube.names import NamespacedName

# Of a list that is no table of its own, so many are shown.
SHOWN: Final = 20
STATES: Final = ("ready", "not-ready")


class Pages:
    """Makes pages of a source."""

    def __init__(self, source: Source, snapshots: Snapshots, render: Callable[..., str]) -> None:
        """Show what a source holds."""
        self._source, self._snapshots, self._render = source, snapshots, render

    async def overview(self, request: Request) -> Response:
        """What there is, and what wants a person."""
        query = read_query(request.scope["query_string"], ())
        shot = await self._snapshots.current()
        waiting = [(item, keys) for item in shot.issuers.values() if (keys := waiting_keys(item))]
        kinds = (shot.services, shot.issuers, shot.desks, shot.clients, shot.providers, shot.workloads)
        now = time.time()
        ill = [
            (each, state)
            for items in kinds
            for each in items.values()
            for state in (each.state, *(exposures_of(each, None, now) if each.service is not None else ()))
            if state.tone == "bad" or (state is each.state and state.tone == "warn")
        ]
        return self._page(
            request,
            "overview.html",
            shot,
            query,
            counts=_counts(shot),
            waiting=waiting[:SHOWN],
            waiting_number=sum(len(keys) for _, keys in waiting),
            approve=lambda item, key: commands.approval(self._source, item.name.name, key.thumbprint),
            overdue=overdue,
            ill=ill[:SHOWN],
            ill_number=len(ill),
        )

    async def services(self, request: Request) -> Response:
        """All services."""
        query = _listing(request, ("q", "namespace", "state", "page"))
        shot = await self._snapshots.current()
        declared: dict[NamespacedName, int] = {}
        for each in shot.workloads.values():
            if each.workload is not None:
                place = NamespacedName(each.name.namespace, each.workload.spec.service_ref.name)
                declared[place] = declared.get(place, 0) + 1
        now = time.time()
        rows = [
            each
            for each in _filtered(shot.services, query)
            if matches(query["q"], str(each.name), *(each.service.spec.audiences if each.service else ()))
        ]
        return self._page(
            request,
            "services.html",
            shot,
            query,
            page=page_of(rows, query),
            total=len(shot.services),
            declared=declared,
            exposures=lambda item: exposures_of(item, None, now),
        )

    async def service(self, request: Request) -> Response:
        """One service: who may call it with what, its routes and its conditions."""
        allowed = ("q", "issuer", "scope", "account", "state", "page", "routes")
        query = read_query(request.scope["query_string"], allowed)
        shot = await self._snapshots.current()
        item = _named(shot.services, request, "ProtectedService")
        bundle = await asyncio.to_thread(self._source.bundle, item.name)
        gap, known = (bundle, None) if isinstance(bundle, Gap) else (None, bundle)
        now = time.time()
        callers = callers_of(known, shot.workloads_of(item.name), now)
        rows = [each for each in callers if _is_asked_for(each, query)]
        spec = item.service.spec if item.service is not None else None
        return self._page(
            request,
            "service.html",
            shot,
            query,
            item=item,
            spec=spec,
            bundle=known,
            exposures=exposures_of(item, known, now),
            page=page_of(rows, query),
            total=len(callers),
            may_call=sum(each.state.word == "May call" for each in callers),
            states=sorted({each.state.word for each in callers}),
            issuers=sorted({each.issuer for each in callers if each.issuer}),
            routes=page_of(routes_of(item, known), query, "routes"),
            is_other_routes=spec is not None and spec.routes != routes_of(item, known),
            commands=commands.commands_of(self._source, item),
            who_can=commands.who_can(self._source, item.name, query["scope"], query["account"]),
            more_gaps=[gap] if gap is not None else [],
        )

    async def workloads(self, request: Request) -> Response:
        """All TrustedWorkloads, as they are declared."""
        query = _listing(
            request, ("q", "namespace", "service", "issuer", "scope", "account", "state", "page")
        )
        shot = await self._snapshots.current()
        now = time.time()
        rows = [
            (item, caller)
            for item in shot.workloads.values()
            for caller in [declared_caller(item, now, is_bundle_known=False)]
            if _fits(item, caller.state, query)
            and _is_asked_for(caller, Query({name: query[name] for name in query if name != "state"}))
            and query["service"] in ("", _service_of(item))
        ]
        issuers = sorted(
            {each.workload.spec.issuer_ref.name for each in shot.workloads.values() if each.workload}
        )
        return self._page(
            request,
            "workloads.html",
            shot,
            query,
            page=page_of(rows, query),
            total=len(shot.workloads),
            issuers=issuers,
        )

    async def workload(self, request: Request) -> Response:
        """One TrustedWorkload."""
        query = read_query(request.scope["query_string"], ())
        shot = await self._snapshots.current()
        item = _named(shot.workloads, request, "TrustedWorkload")
        caller = declared_caller(item, time.time(), is_bundle_known=False)
        return self._page(
            request,
            "workload.html",
            shot,
            query,
            item=item,
            caller=caller,
            spec=item.workload.spec if item.workload is not None else None,
            service=NamespacedName(item.name.namespace, _service_of(item)),
            commands=commands.commands_of(self._source, item),
        )

    async def issuers(self, request: Request) -> Response:
        """All issuers, those with keys that wait first."""
        query = _listing(request, ("q", "state", "page"))
        shot = await self._snapshots.current()
        rows = [
            each
            for each in _filtered(shot.issuers, query)
            if matches(query["q"], each.name.name, each.issuer.spec.issuer if each.issuer else "")
        ]
        rows.sort(key=lambda each: not waiting_keys(each))
        return self._page(
            request,
            "issuers.html",
            shot,
            query,
            page=page_of(rows, query),
            total=len(shot.issuers),
            keys_of=keys_of_issuer,
            waiting_of=waiting_keys,
            key_source=key_source,
        )

    async def issuer(self, request: Request) -> Response:
        """One issuer: its keys, what waits for approval, and who relies on it."""
        query = read_query(request.scope["query_string"], ())
        shot = await self._snapshots.current()
        item = _named(shot.issuers, request, "ClusterTrustedIssuer")
        relying = [each.name for each in shot.workloads.values() if _issuer_of(each) == item.name.name]
        return self._page(
            request,
            "issuer.html",
            shot,
            query,
            item=item,
            spec=item.issuer.spec if item.issuer is not None else None,
            keys=keys_of_issuer(item),
            waiting=waiting_keys(item),
            source_of_keys=key_source(item),
            relying=relying[:SHOWN],
            relying_number=len(relying),
            approve=lambda key: commands.approval(self._source, item.name.name, key.thumbprint),
            revoke=lambda key: commands.revocation(self._source, item.name.name, key.thumbprint),
            commands=commands.commands_of(self._source, item),
            now=time.time(),
        )

    async def desks(self, request: Request) -> Response:
        """Token desks, their clients, and the providers of their agents."""
        query = read_query(request.scope["query_string"], ("q", "page"))
        shot = await self._snapshots.current()
        text = query["q"]
        clients = [each for each in shot.clients.values() if matches(text, str(each.name))]
        naming: dict[str, list[NamespacedName]] = {}
        for each in shot.services.values():
            if each.service is not None and each.service.spec.token_desk_ref is not None:
                naming.setdefault(each.service.spec.token_desk_ref.name, []).append(each.name)
        return self._page(
            request,
            "desks.html",
            shot,
            query,
            desks=[each for each in shot.desks.values() if matches(text, str(each.name))][:SHOWN],
            desk_number=len(shot.desks),
            page=page_of(clients, query),
            total=len(shot.clients),
            providers=[each for each in shot.providers.values() if matches(text, str(each.name))][:SHOWN],
            provider_number=len(shot.providers),
            naming=naming,
            keys_of=keys_of_desk,
            commands_of_item=lambda item: commands.commands_of(self._source, item),
        )

    async def refusals(self, request: Request) -> Response:
        """What gates refused, by reason and by caller."""
        query = read_query(request.scope["query_string"], ("service", "reason", "caller"))
        shot = await self._snapshots.current()
        names = shot.service_names
        asked = query["service"] or (str(names[0]) if len(names) == 1 else "")
        namespace, _, name = asked.partition("/")
        item = shot.services.get(NamespacedName(namespace, name))
        gates, exposures = Gates(), []
        if item is not None and item.service is not None:
            bundle = await asyncio.to_thread(self._source.bundle, item.name)
            known = None if isinstance(bundle, Gap) else bundle
            exposures = exposures_of(item, known, time.time())
            labels = item.service.spec.selector.match_labels
            gates = await asyncio.to_thread(self._source.gates, item.name, labels)
        reasons, callers = _tables(gates, query)
        return self._page(
            request,
            "refusals.html",
            shot,
            query,
            asked=asked,
            item=item,
            services=names[:SHOWN],
            service_number=len(names),
            gates=gates,
            reasons=reasons,
            callers=callers[:200],
            caller_number=len(callers),
            more_gaps=gates.gaps,
            exposures=[each for each in exposures if each.tone == "bad"],
        )

    def _page(self, request: Request, template: str, shot: Snapshot, query: Query, **values: Any) -> Response:
        values.setdefault("more_gaps", ())
        text = self._render(
            template,
            source=self._source,
            apply=commands.apply(self._source),
            apply_file=lambda name: commands.apply(self._source, name),
            shot=shot,
            query=query,
            path=request.url.path,
            section="/" + request.url.path.split("/")[1],
            **values,
        )
        return HTMLResponse(text)


def _listing(request: Request, allowed: tuple[str, ...]) -> Query:
    """The query of a list that is filtered by a state.

    Raises:
        BadQueryError: it is not a query of this page, or asks for a state that there is not.
    """
    query = read_query(request.scope["query_string"], allowed)
    if query["state"] not in ("", *STATES):
        detail = f"{query['state'][:40]!a} is no state"
        raise BadQueryError("state", detail, f"Use one of {', '.join(STATES)}.")
    return query


def _filtered(items: Items, query: Query) -> Iterable[Item]:
    """The objects of a namespace and a state, where the query names these."""
    return (item for item in items.values() if _fits(item, item.state, query))


def _fits(item: Item, state: State, query: Query) -> bool:
    """Whether an object in this state is in the namespace, and is well or not, as the query asks."""
    asked = query["state"]
    if query["namespace"] not in ("", item.name.namespace):
        return False
    return not asked or (state.tone in {"warn", "bad"}) == (asked == "not-ready")


def _is_asked_for(caller: Caller, query: Query) -> bool:
    return (
        matches(query["q"], caller.workload.name, caller.account)
        and query["issuer"] in ("", caller.issuer)
        and query["state"] in ("", caller.state.word)
        and (
            not (query.get("scope") or query.get("account"))
            or holds(caller.grants, query["scope"], query["account"])
        )
    )


def _named(items: Items, request: Request, kind: str) -> Item:
    """The object that the path names."""
    namespace, name = request.path_params.get("namespace", ""), request.path_params["name"]
    # A name that is none never becomes a part of another path.
    is_fit = is_service_account_name(name) and (not namespace or is_namespace_name(namespace))
    item = items.get(NamespacedName(namespace, name)) if is_fit else None
    if item is None:
        where = f"{namespace}/{name}" if namespace else name
        raise HTTPException(404, f"There is no {kind} {where[:200]} among what you may read.")
    return item


def _service_of(item: Item) -> str:
    return item.workload.spec.service_ref.name if item.workload is not None else ""


def _issuer_of(item: Item) -> str:
    return item.workload.spec.issuer_ref.name if item.workload is not None else ""


def _counts(shot: Snapshot) -> dict[str, int]:
    return {
        "services": len(shot.services),
        "workloads": len(shot.workloads),
        "issuers": len(shot.issuers),
        "desks": len(shot.desks),
    }


class CallerRefusals(msgspec.Struct):
    """How often one caller was refused for one reason, in the part of the logs that was read."""

    caller: str
    issuer: str
    reason: str
    number: int
    last: float
    pod: str
    detail: str


def _tables(gates: Gates, query: Query) -> tuple[list[tuple[str, int]], list[CallerRefusals]]:
    """Decisions by reason, most first, and refusals by caller and reason, most first."""
    reasons: dict[str, int] = {}
    callers: dict[tuple[str, str, str], CallerRefusals] = {}
    for reading in gates.readings:
        for reason, number in (reading.decisions or {}).items():
            reasons[reason] = reasons.get(reason, 0) + number
        for each in reading.refused or ():
            if query["reason"] not in ("", each.reason) or not matches(query["caller"], each.caller):
                continue
            key = (each.caller, each.issuer, each.reason)
            row = callers.setdefault(key, CallerRefusals(*key, 0, 0.0, "", ""))
            row.number += 1
            if each.at >= row.last:
                row.last, row.pod, row.detail = each.at, each.caller_pod, each.detail
    return (
        sorted(reasons.items(), key=lambda each: (each[0] == "allowed", -each[1], each[0])),
        sorted(callers.values(), key=lambda each: (-each.number, each.caller, each.reason)),
    )
