# SPDX-License-Identifier: Apache-2.0
"""A real desk on a free port, in a thread of its own, with a cluster that signs what a test asks for.

Nothing of the desk is replaced: manifests are compiled as anywhere else, the store is a real one, and
requests come over the network. Only the clock can be moved, and the cluster is a key of the test's.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import msgspec

from testing.manifests import API, desk_client, token_desk
from testing.tokens import Signer, kubernetes, signer, token
from watchword.desk.admin.standing import AdminStanding
from watchword.desk.configuration import Configuration, KeyRecord, public_keys_of
from watchword.desk.desk import Desk
from watchword.desk.minting import SigningKey
from watchword.desk.published import Mark
from watchword.desk.serve import DeskSettings, running
from watchword.desk.sources import ClientVersions, SourceProblem, standing_in
from watchword.trust import Bundle, compile_resources, parse_manifests
from watchword.trust.audience import AudienceRules
from watchword.trust.derived_audience import derived_audience, desk_audience
from watchword.trust.desk_revocations import DeskDocument, read_desk_document
from watchword.trust.desks import DeskKeys

CLUSTER = "dev"
NAMESPACE, SERVICE = "tuist", "tuist-server"
TARGET = f"{NAMESPACE}/{SERVICE}"
TARGET_AUDIENCE = derived_audience(CLUSTER, NAMESPACE, SERVICE)
DESK = ("watchword-desk", "desk")
ISSUER = "https://desk.example.com"
DESK_AUDIENCE = desk_audience(CLUSTER, *DESK)
CLUSTER_URL = "https://kubernetes.default.svc.cluster.local"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
CLIENT_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
GRANTS = [
    {"scopes": ["cache:read", "cache:write"], "accounts": ["acme"], "projects": ["ios", "android"]},
    {"scopes": ["account:usage:read"], "accounts": ["acme"]},
]

Object = dict[str, Any]


def manifest(kind: str, name: str, namespace: str = "", **spec: Any) -> Object:
    """An object of ours."""
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": API, "kind": kind, "metadata": metadata, "spec": spec}


def issuer_object(
    name: str = "atlas-production", *keys: Signer, url: str = CLUSTER_URL, **spec: Any
) -> Object:
    """A ClusterTrustedIssuer with these keys."""
    jwks = {"keys": [each.jwk for each in keys or (signer(),)]}
    return manifest("ClusterTrustedIssuer", name, issuer=url, keys={"inline": jwks}, **spec)


def service_object(name: str = SERVICE, namespace: str = NAMESPACE, **spec: Any) -> Object:
    """A ProtectedService that names the desk."""
    defaults: Object = {
        "selector": {"matchLabels": {"app": name}},
        "port": 8443,
        "upstreamPort": 8080,
        "tokenDeskRef": {"name": DESK[1]},
        "resourceServers": ["cache"],
        "routes": [
            {"path": "/{account}/{project}/cache", "methods": ["GET"], "scope": "cache:read"},
            {
                "path": "/{account}/{project}/warm",
                "methods": ["GET"],
                "scope": "cache:read",
                "purpose": "warm",
            },
            {"path": "/{account}/usage", "methods": ["GET"], "scope": "account:usage:read"},
        ],
    }
    given = {key: value for key, value in (defaults | spec).items() if value is not None}
    return manifest("ProtectedService", name, namespace, **given)


def workload_object(name: str = "atlas", account: str = "atlas", **spec: Any) -> Object:
    """A TrustedWorkload of the service."""
    defaults: Object = {
        "serviceRef": {"name": SERVICE},
        "issuerRef": {"name": "atlas-production"},
        "serviceAccount": {"namespace": "atlas-production", "name": account},
        "grants": GRANTS,
        "purposes": ["warm"],
    }
    return manifest("TrustedWorkload", name, NAMESPACE, **(defaults | spec))


def desk_object(name: str = DESK[1], namespace: str = DESK[0], **spec: Any) -> Object:
    """The TokenDesk."""
    return token_desk(name, namespace, **({"issuer": ISSUER} | spec))


def client_object(name: str = "cache", **spec: Any) -> Object:
    """A DeskClient: a resource server with a ServiceAccount of the same cluster."""
    return desk_client(name, issuer="atlas-production", account=("caches", name), **spec)


def admin_object(name: str = "automation", **spec: Any) -> Object:
    """A DeskClient: an admin service account with a ServiceAccount of the same cluster."""
    default: Object = {
        "type": "AdminServiceAccount",
        "serviceRefs": [],
        "adminServiceAccount": True,
        "grantedBy": "grace",
    }
    given = {key: value for key, value in (default | spec).items() if value is not None}
    return desk_client(name, issuer="atlas-production", account=("automation", name), **given)


def person_object(name: str, issuer: str, address: str, **spec: Any) -> Object:
    """A DeskClient: a person who administers, and signs in at a provider by the client `watchword-cli`."""
    person = {"issuer": issuer, "clientId": "watchword-cli", "address": address}
    person |= {key: spec.pop(key) for key in ("clientId", "subject") if key in spec}
    return admin_object(name, **({"type": "AdminPerson", "authentication": {"person": person}} | spec))


def namespace_object(name: str = NAMESPACE) -> Object:
    """A Namespace that the desk allows."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"desk": "yes"}}}


def default_objects() -> list[Object]:
    """One service, one workload, one desk, one resource server."""
    return [
        issuer_object(),
        namespace_object(),
        service_object(),
        workload_object(),
        desk_object(),
        client_object(),
    ]


def subject_token(by: Signer | None = None, header: Mapping[str, Any] | None = None, **changes: Any) -> str:
    """What kube-apiserver signs for a pod, now, for the desk; `...` removes a claim."""
    now = int(time.time())
    claims: Object = {
        "aud": [DESK_AUDIENCE],
        "exp": now + 3000,
        "iat": now - 5,
        "jti": str(uuid.uuid4()),
        "nbf": now - 5,
    }
    return token(by, header=header, **(claims | changes)).decode()


def account_token(namespace: str, name: str, audience: str | Sequence[str] = ISSUER, **changes: Any) -> str:
    """The projected token of a ServiceAccount, by default as a client assertion for the desk."""
    said: Object = {
        "aud": [audience] if isinstance(audience, str) else list(audience),
        "sub": f"system:serviceaccount:{namespace}:{name}",
        "kubernetes.io": kubernetes(
            namespace=namespace,
            pod={"name": f"{name}-0", "uid": f"p-{name}"},
            serviceaccount={"name": name, "uid": f"sa-{name}"},
        ),
    }
    return subject_token(**(said | changes))


def exchange_form(subject: str | None = None, **changes: str | None) -> dict[str, str]:
    """The form of a good exchange, by default of a new token; a parameter that is None is left out."""
    form = {
        "grant_type": EXCHANGE,
        "subject_token": subject_token() if subject is None else subject,
        "subject_token_type": JWT,
        "audience": TARGET,
        "scope": "cache:read",
        "account": "acme",
        "project": "ios",
    } | changes
    return {name: value for name, value in form.items() if value is not None}


class Source:
    """A configuration that a test changes."""

    def __init__(self, *, cluster_id: str = CLUSTER, desk: tuple[str, str] = DESK) -> None:
        self.keys = [KeyRecord(SigningKey.generate())]
        self.objects: list[Object] = []
        self.secrets: dict[tuple[str, str], str] = {}
        self.live_uids: dict[tuple[str, str], str] = {}
        self.bundles: tuple[Bundle, ...] = ()
        self.cluster_id, self.desk = cluster_id, desk
        self.published: Mark | None = None
        self.revocations = DeskDocument()
        self.writes = 0
        self._changed = threading.Event()
        self._versions = ClientVersions()
        self._generation = int(time.time() * 1000)

    def compile(self) -> Configuration | SourceProblem:
        """What the objects come to now."""
        parsed = parse_manifests([("objects.json", "\n---\n".join(map(json.dumps, self.objects)).encode())])
        self._generation += 1
        compiled = compile_resources(
            parsed.resources,
            generation=self._generation,
            live_uids=self.live_uids,
            audiences=AudienceRules(cluster_id=self.cluster_id),
            desk_keys={self.desk: DeskKeys(public_keys_of(self.keys))},
        )
        self.bundles = compiled.bundles
        self.problems = (*parsed.problems, *compiled.problems)
        found = [each for each in parsed.resources.desks if each.metadata.name == self.desk[1]]
        if not found:
            return SourceProblem("no desk", "add one")
        return Configuration(
            desk=found[0],
            cluster_id=self.cluster_id,
            clients=self._versions.of(parsed.resources.clients),
            providers=parsed.resources.providers,
            secrets=dict(self.secrets),
            bundles=tuple(each for each in compiled.bundles if each.desk is not msgspec.UNSET),
            keys=tuple(self.keys),
        )

    async def configurations(self) -> AsyncIterator[Configuration | SourceProblem]:
        """The first configuration; further ones are adopted by the test."""
        yield self.compile()
        await asyncio.Event().wait()

    async def standing(self, client: str) -> AdminStanding:
        """Whether a client is an admin, by the objects as they are now."""
        return standing_in(self.compile(), client)

    async def read(self) -> Mark | None:
        """The mark that was written last."""
        return self.published

    async def write(self, mark: Mark, revocations: bytes) -> None:
        """Note what is published."""
        self.published, self.revocations = mark, read_desk_document(revocations)
        self.writes += 1


class RunningDesk:
    """A desk that answers at `url`, and what a test does with it."""

    def __init__(self, url: str, desk: Desk, source: Source, admin_url: str = "") -> None:
        self.url, self.desk, self.source, self.admin_url = url, desk, source, admin_url
        self.http = httpx.Client(base_url=url, timeout=30, trust_env=False)

    def change(self, *objects: Object) -> None:
        """Run on other objects from now on."""
        from watchword.desk.configuration import make_state

        self.source.objects = list(objects)
        configuration = self.source.compile()
        assert isinstance(configuration, Configuration), configuration
        state = self.desk.state
        assert state is not None
        assert self.source.published is not None
        self.desk.state = make_state(
            configuration,
            store_id=self.source.published.store,
            bindings=self.source.published.keys,
            now=time.time(),
        )

    def admin_token(self, client: str = "automation", **parameters: Any) -> httpx.Response:
        """Ask for a token for the admin API, by default as the admin client `automation`."""
        form = {
            "grant_type": "client_credentials",
            "client_assertion": account_token("automation", client),
            "client_assertion_type": CLIENT_ASSERTION,
        } | parameters
        return self.http.post("/oauth2/token", data={k: v for k, v in form.items() if v is not None})

    def admin(self, method: str, path: str, token: str | None = None, **request: Any) -> httpx.Response:
        """Call the admin API, by default with a new token of `automation`."""
        bearer = self.admin_token().json()["access_token"] if token is None else token
        headers = {"Authorization": f"Bearer {bearer}"} | request.pop("headers", {})
        return self.http.request(method, f"{self.admin_url}/admin/v1{path}", headers=headers, **request)

    def begin_sign_in(self) -> Object:
        """What the admin API says of sign-in, with a new ticket."""
        answer = self.http.get(f"{self.admin_url}/admin/v1/sign-in")
        assert answer.status_code == 200, answer.text
        found: Object = answer.json()
        return found

    def sign_in(self, id_token: str, ticket: str, **request: Any) -> httpx.Response:
        """Post a person's sign-in to the admin API."""
        body = request or {"json": {"id_token": id_token, "ticket": ticket}}
        return self.http.post(f"{self.admin_url}/admin/v1/sign-in", **body)

    def exchange(self, token: str | None = None, **parameters: Any) -> httpx.Response:
        """Exchange a token; a parameter that is None is not sent."""
        return self.http.post("/oauth2/token", data=exchange_form(token, **parameters))

    def minted(self, token: str | None = None, **parameters: Any) -> str:
        """A desk token."""
        answer = self.exchange(token, **parameters)
        assert answer.status_code == 200, answer.text
        found: str = answer.json()["access_token"]
        return found

    def introspect(self, token: str, assertion: str | None = None, **parameters: Any) -> httpx.Response:
        """Introspect a token, by default as the resource server `cache`."""
        form = {
            "token": token,
            "client_assertion": account_token("caches", "cache") if assertion is None else assertion,
            "client_assertion_type": CLIENT_ASSERTION,
        } | parameters
        return self.http.post("/oauth2/introspect", data={k: v for k, v in form.items() if v is not None})

    def revoke(self, token: str, **parameters: Any) -> httpx.Response:
        """Revoke a token, by default as its holder."""
        return self.http.post("/oauth2/revoke", data={"token": token} | parameters)


@contextmanager
def running_desk(
    source: Source | None = None, *, store: str = "sqlite:///:memory:", **settings: Any
) -> Iterator[RunningDesk]:
    """Run a desk in a thread until the end of the block."""
    source = source or Source()
    if not source.objects:
        source.objects = default_objects()
    chosen = DeskSettings(
        store=store,
        listen="127.0.0.1:0",
        ops_listen=None,
        **({"addresses_per_second": 0, "subjects_per_second": 0, "shutdown_grace_seconds": 2} | settings),
    )
    started: list[RunningDesk] = []
    failures: list[BaseException] = []
    is_up, stop = threading.Event(), threading.Event()

    async def main() -> None:
        addresses: list[str] = []
        admin: list[str] = []
        async with running(chosen, source, source, addresses.append, on_admin_listening=admin.append) as desk:
            deadline = time.monotonic() + 30
            while desk.state is None and time.monotonic() < deadline:  # noqa: ASYNC110 - no event for it
                await asyncio.sleep(0.005)
            assert desk.state is not None, "the desk took no configuration within 30 s"
            admin_url = f"http://{admin[0]}" if admin else ""
            started.append(RunningDesk(f"http://{addresses[0]}", desk, source, admin_url))
            is_up.set()
            await asyncio.to_thread(stop.wait)

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:  # noqa: BLE001 - told to the test
            failures.append(error)
        finally:
            is_up.set()

    thread = threading.Thread(target=run)
    thread.start()
    is_up.wait()
    try:
        if failures:
            raise failures[0]
        yield started[0]
    finally:
        if started:
            started[0].http.close()
        stop.set()
        thread.join()
