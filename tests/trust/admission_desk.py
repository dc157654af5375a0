# SPDX-License-Identifier: Apache-2.0
"""The objects of `admission.py` for TokenDesk and DeskClient, and for the fields that name them."""

from __future__ import annotations

from typing import Any

from testing import desk as desks
from testing.manifests import service, workload

Object = dict[str, Any]
THUMBPRINT = "A" * 43
_ROUTE = {"path": "/a", "methods": ["GET"], "scope": "a:b"}
_EC = {"kty": "EC", "crv": "P-256", "x": "x", "y": "y", "kid": "k"}


def desk(**spec: Any) -> Object:
    """A TokenDesk in the namespace of the other objects."""
    return desks.desk(namespace="tuist", **spec)


def client(**spec: Any) -> Object:
    """A DeskClient next to it."""
    made = desks.client(**spec)
    made["metadata"]["namespace"] = "tuist"
    return made


def admin(**spec: Any) -> Object:
    """A DeskClient for automation."""
    return client(**({"type": "AdminServiceAccount", "serviceRefs": []} | spec))


def by(**members: Any) -> Object:
    """A DeskClient that proves itself so."""
    return client(authentication=members)


def account(**members: Any) -> Object:
    """A DeskClient that proves itself as this ServiceAccount."""
    default = {"issuerRef": {"name": "production"}, "namespace": "tuist", "name": "cache"}
    return by(serviceAccount=default | members)


def person(**members: Any) -> Object:
    """A DeskClient for a person."""
    default = {"issuer": "https://idp.example.com", "clientId": "cli", "address": "carol@example.com"}
    given = {name: value for name, value in (default | members).items() if value is not None}
    return admin(type="AdminPerson", authentication={"person": given})


def null(name: str, **spec: Any) -> Object:
    """An admin client with a field that is null, and not left out."""
    made = admin(**spec)
    made["spec"][name] = None
    return made


def named(name: str) -> Object:
    """A DeskClient of this name."""
    made = client()
    made["metadata"]["name"] = name
    return made


def asking(*services: tuple[str, str]) -> Object:
    """A DeskClient that may ask about these services."""
    return client(serviceRefs=[{"namespace": namespace, "name": name} for namespace, name in services])


_NAME = "not the name of an object"
_WAYS = "not exactly one way is given"

REFUSED: tuple[tuple[str, str, str, Object], ...] = (
    ("TokenDesk", "the name has more than 63 characters", "",
     desks.desk("d" * 64, namespace="tuist")),
    *(("DeskSpec.issuer", "not an https:// origin", "spec.issuer", desk(issuer=url))
      for url in ("desk.example.com", "http://desk.example.com", "https://desk.example.com/",
                  "https://desk.example.com/path", "https://Desk.example.com", "https://a@b", "https://a?x",
                  "https://a#x", "https://a b", "https://", "https://a:0", "https://a:999999", "https://-a",
                  "https://a..b", "http://127.0.0.2:1", "https://a\n")),
    ("DeskSpec.allowedNamespaces", "it allows every namespace", "spec.allowedNamespaces.matchLabels",
     desk(allowedNamespaces={"matchLabels": {}})),
    ("DeskTokens", "it is more than maxLifetimeSeconds", "spec.tokens.lifetimeSeconds",
     desk(tokens={"lifetimeSeconds": 901})),
    *(("DeskSigning.revoked[]", "not a thumbprint", "spec.signing.revoked[0]",
       desk(signing={"revoked": [text]})) for text in ("=" * 43, "A" * 42 + "\n")),
    *(("DeskName.name", _NAME, "spec.tokenDeskRef.name", service(tokenDeskRef={"name": name}))
      for name in ("a/b", "A", "*", "a\n")),
    ("DeskName.name", _NAME, "spec.deskRef.name", client(deskRef={"name": "a/b"})),
    ("ServiceSpec.resourceServers[]", _NAME, "spec.resourceServers[0]",
     service(tokenDeskRef={"name": "desk"}, resourceServers=["*"])),
    ("ServiceSpec", "resource servers are clients of a desk, and the service names none",
     "spec.resourceServers", service(resourceServers=["cache"])),
    ("ClientAuthentication", _WAYS, "spec.authentication", by()),
    ("ClientAuthentication", _WAYS, "spec.authentication",
     by(jwks={"keys": [_EC]}, secretRef={"name": "a"})),
    *(("ClientAuthentication.jwks.keys[]", "the key holds private or secret material",
       "spec.authentication.jwks.keys[0]", by(jwks={"keys": [_EC | {member: "AQAB"}]})) for member in "dk"),
    *(("ClientServiceAccount.namespace", "not the name of a namespace",
       "spec.authentication.serviceAccount.namespace",
       account(namespace=name)) for name in ("*", "A", "a.b")),
    *(("ClientServiceAccount.name", "not the name of a ServiceAccount",
       "spec.authentication.serviceAccount.name", account(name=name)) for name in ("*", "c*", "A", "a/b")),
    ("ClientServiceAccount.name", "every pod of the namespace may have the ServiceAccount `default`",
     "spec.authentication.serviceAccount.name", account(name="default")),
    ("ClientSecret.name", _NAME, "spec.authentication.secretRef.name", by(secretRef={"name": "../a"})),
    ("ClientSecret.key", "not the name of an entry", "spec.authentication.secretRef.key",
     by(secretRef={"name": "a", "key": "a/b"})),
    ("ServiceReference.namespace", "not the name of a namespace", "spec.serviceRefs[0].namespace",
     asking(("*", "a"))),
    ("ServiceReference.name", _NAME, "spec.serviceRefs[0].name", asking(("a", "*"))),
    *(("DeskClient", "the name is reserved", "", named(name))
      for name in ("admin", "desk", "system", "watchword-x")),
    ("ClientAuthentication", "the list holds no key, so that no one could prove to be the client",
     "spec.authentication.jwks.keys", by(jwks={"keys": []})),
    ("DeskClientSpec", "an admin client never proves itself by a secret", "spec.authentication",
     admin(authentication={"secretRef": {"name": "a"}})),
    ("DeskClientSpec", "an admin client asks about no service's tokens", "spec.serviceRefs",
     admin(serviceRefs=[{"namespace": "a", "name": "b"}])),
    *(("DeskClientSpec", "only an AdminServiceAccount or an AdminPerson has this field",
       "spec.adminServiceAccount", client(adminServiceAccount=flag, grantedBy="alice"))
      for flag in (True, False)),
    ("DeskClientSpec", "the field is required with adminServiceAccount: true", "spec.grantedBy",
     admin(adminServiceAccount=True)),
    ("DeskClientSpec", "only an AdminPerson proves itself by signing in", "spec.authentication",
     admin(authentication=person()["spec"]["authentication"])),
    ("DeskClientSpec", "an AdminPerson proves itself by signing in, and in no other way",
     "spec.authentication", admin(type="AdminPerson")),
    ("ClientAuthentication", _WAYS, "spec.authentication",
     admin(type="AdminPerson",
           authentication=person()["spec"]["authentication"] | {"secretRef": {"name": "a"}})),
    *(("ClientPerson.issuer", "not the URL of a provider", "spec.authentication.person.issuer",
       person(issuer=url)) for url in ("idp.example.com", "http://idp.example.com", "https://idp.example.com/",
                                       "https://a b", "http://127.0.0.1.evil.example", "https://a\n")),
    ("ClientPerson.clientId", "it holds a control character, such as a line break",
     "spec.authentication.person.clientId", person(clientId="cli\n")),
    *(("ClientPerson.address", "not an address", "spec.authentication.person.address", person(address=text))
      for text in ("carol", "@example.com", "carol@Example.com", "carol@example", "*@example.com*",
                   "Carol <carol@example.com>", "carol@example.com\n", "carol@ex\u00e4mple.com",
                   "a,b@example.com")),
    ("ClientPerson.subject", "it holds a control character, such as a line break",
     "spec.authentication.person.subject", person(subject="c\n")),
    ("DeskClientSpec", "an admin client asks about no service's tokens", "spec.serviceRefs",
     person() | {"spec": person()["spec"] | {"serviceRefs": [{"namespace": "a", "name": "b"}]}}),
    ("DeskClientSpec", "the field is required with adminServiceAccount: true", "spec.grantedBy",
     null("grantedBy", adminServiceAccount=True)),
    ("DeskClientSpec.grantedBy", "it holds a control character, such as a line break", "spec.grantedBy",
     admin(adminServiceAccount=True, grantedBy="alice\n")),
)  # fmt: skip

BOUNDED: tuple[tuple[str, str, Object], ...] = (
    ("spec.issuer", "Required value", desk(issuer=None)),
    ("spec.tokens.lifetimeSeconds", "should be greater than or equal to 60",
     desk(tokens={"lifetimeSeconds": 59})),
    ("spec.tokens.maxLifetimeSeconds", "should be less than or equal to 3600",
     desk(tokens={"maxLifetimeSeconds": 3601})),
    ("spec.signing.rotateSeconds", "should be greater than or equal to 3600",
     desk(signing={"rotateSeconds": 3599})),
    ("spec.signing.algorithm", "Unsupported value", desk(signing={"algorithm": "RS256"})),
    ("spec.signing.revoked", "must have at most 64 items",
     desk(signing={"revoked": [f"{n}".rjust(43, "_") for n in range(65)]})),
    ("spec.agent", "unknown field", desk(agent={})),
    ("spec.tokenDeskRef.namespace", "unknown field",
     service(tokenDeskRef={"name": "desk", "namespace": "mallory"})),
    ("spec.resourceServers[1]", "Duplicate value",
     service(tokenDeskRef={"name": "desk"}, resourceServers=["a", "a"])),
    ("spec.resourceServers", "must have at most 16 items",
     service(tokenDeskRef={"name": "desk"}, resourceServers=[f"a{n}" for n in range(17)])),
    ("spec.routes[0].purpose", "should match", service(routes=[_ROUTE | {"purpose": "Cache"}])),
    ("spec.routes[0].purpose", "should match", service(routes=[_ROUTE | {"purpose": ""}])),
    ("spec.routes[0].purpose", "should match", service(routes=[_ROUTE | {"purpose": "a\n"}])),
    ("spec.purposes", "should have at least 1 items", workload(purposes=[])),
    ("spec.purposes", "must have at most 32 items", workload(purposes=[f"p{n}" for n in range(33)])),
    ("spec.purposes[1]", "Duplicate value", workload(purposes=["a", "a"])),
    ("spec.purposes[0]", "should match", workload(purposes=["*"])),
    ("spec.type", "Unsupported value", client(type="Public")),
    ("spec.authentication", "Required value", client(authentication=None)),
    ("spec.authentication", "Required value", null("authentication")),
    ("spec.adminServiceAccount", "Unsupported value: null", null("adminServiceAccount")),
    ("spec.adminServiceAccount", "Unsupported value: null", null("adminServiceAccount", grantedBy="alice")),
    ("spec.authentication.person.address", "Required value", person(address=None)),
    ("spec.authentication.person.clientId", "Required value", person(clientId=None)),
    ("spec.authentication.person.clientId", "should be at least 1 chars long", person(clientId="")),
    ("spec.authentication.person.subject", "should be at least 1 chars long", person(subject="")),
    ("spec.authentication.person.email", "unknown field", person(email="a@example.com")),
    ("spec.serviceRefs", "must have at most 64 items", asking(*(("a", f"s{n}") for n in range(65)))),
    ("spec.serviceRefs[1]", "Duplicate value", asking(("a", "b"), ("a", "b"))),
    ("spec.grantedBy", "should be at least 1 chars long",
     admin(adminServiceAccount=True, grantedBy="")),
)  # fmt: skip

ACCEPTED: dict[str, Object] = {
    "a desk": desk(),
    "a desk that no namespace may name": desk(allowedNamespaces=None),
    "a desk on a port": desk(issuer="https://desk.example.com:8443"),
    "a desk on an address": desk(issuer="https://[2001:db8::1]"),
    "a desk on this machine": desk(issuer="http://127.0.0.1:8090"),
    "a desk with all that it can say": desk(
        tokens={"lifetimeSeconds": 60, "maxLifetimeSeconds": 60},
        signing={"algorithm": "ES256", "rotateSeconds": 3600, "revoked": [THUMBPRINT, "_" * 43]}),
    "a client": client(),
    "a client by its keys": by(jwks={"keys": [_EC]}),
    "a client by a secret": by(secretRef={"name": "a.b", "key": ".sha256"}),
    "an admin client": admin(),
    "an admin client with the flag": admin(adminServiceAccount=True, grantedBy="alice@example.com"),
    "an admin person": person(),
    "an admin person with the flag": person() | {
        "spec": person()["spec"] | {"adminServiceAccount": True, "grantedBy": "alice"}},
    "an admin person whose subject is pinned": person(subject="2f0c-\u00e4"),
    "an admin person at a provider on this machine": person(issuer="http://127.0.0.1:8080/realms/staff"),
    "an admin client without it": admin(adminServiceAccount=False),
    "a service with a desk": service(
        tokenDeskRef={"name": "desk"}, resourceServers=["cache", "a.b"],
        routes=[_ROUTE | {"purpose": "cache-read"}]),
    "a workload with purposes": workload(purposes=["cache-read", "0", "-"]),
    "the largest client": asking(*((f"n{n}".ljust(63, "x"), f"s{n}".ljust(63, "x")) for n in range(64))),
}  # fmt: skip
