# SPDX-License-Identifier: Apache-2.0
"""What the fields of a TokenDesk and of a DeskClient must agree on.

A combination that contradicts itself is refused and never repaired: whichever half were taken, its author
would believe that the other one holds.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from watchword.identity import is_namespace_name, is_service_account_name
from watchword.identity.jwk import PRIVATE_MEMBERS
from watchword.trust.api.v1alpha1 import (
    ADMIN_TYPES,
    ClientAuthentication,
    ClientPerson,
    DeskClientSpec,
    DeskSpec,
)
from watchword.trust.api.v1alpha1.grammar import ENTRY, ORIGIN, THUMBPRINT, is_whole
from watchword.trust.api.v1alpha1.rules.agents import (
    ADDRESS_REMEDY,
    PROVIDER,
    PROVIDER_REMEDY,
    findings_of_agents,
    is_address,
)
from watchword.trust.api.v1alpha1.rules.entries import (
    findings_of_labels,
    findings_of_name,
    findings_of_repeats,
)
from watchword.trust.api.v1alpha1.validation import Finding

ORIGIN_REMEDY: Final = (
    "write the origin, such as https://desk.example.com, in lower case and without a slash at its end"
)
# What the audit log, and this program's own callers, are called.
RESERVED_CLIENTS: Final = ("admin", "anonymous", "desk", "holder", "operator", "system")
RESERVED_PREFIX: Final = "watchword-"
NULL_DETAIL: Final = "the field is null"
NULL_REMEDY: Final = "give it a value, or leave it out"
NEVER_NULL: Final = ("adminServiceAccount", "grantedBy")
WAYS_REMEDY: Final = "give exactly one of serviceAccount, jwks, secretRef, person"


def findings_of_client_name(name: str) -> Iterator[Finding]:
    """Why no DeskClient may have a name."""
    if name in RESERVED_CLIENTS or name.startswith(RESERVED_PREFIX):
        remedy = f"choose another one, without {RESERVED_PREFIX} at its start"
        yield "metadata.name", "the name is reserved", remedy


def findings_of_desk(spec: DeskSpec) -> Iterator[Finding]:
    """What a TokenDesk's fields disagree on."""
    if not is_whole(ORIGIN, spec.issuer):
        yield "spec.issuer", "not an https:// origin", ORIGIN_REMEDY
    if spec.allowed_namespaces is not None:
        yield from findings_of_labels("spec.allowedNamespaces", spec.allowed_namespaces)
        if not spec.allowed_namespaces.match_labels:
            remedy = "name labels; leaving allowedNamespaces out allows no namespace"
            yield "spec.allowedNamespaces.matchLabels", "it allows every namespace", remedy
    if spec.tokens.lifetime_seconds > spec.tokens.max_lifetime_seconds:
        remedy = "give at most maxLifetimeSeconds"
        yield "spec.tokens.lifetimeSeconds", "it is more than maxLifetimeSeconds", remedy
    yield from findings_of_repeats("spec.signing.revoked", spec.signing.revoked)
    for place, thumbprint in enumerate(spec.signing.revoked):
        if not is_whole(THUMBPRINT, thumbprint):
            remedy = "use an RFC 7638 thumbprint, as status.keys shows it"
            yield f"spec.signing.revoked[{place}]", "not a thumbprint", remedy
    if spec.agents is not None:
        yield from findings_of_agents(spec.agents)


def findings_of_nulls(spec: Mapping[str, Any]) -> Iterator[Finding]:
    """Which fields of a DeskClient's spec, as it was written, are null: neither said nor left out."""
    for name in NEVER_NULL:
        if name in spec and spec[name] is None:
            yield f"spec.{name}", NULL_DETAIL, NULL_REMEDY


def findings_of_client(spec: DeskClientSpec) -> Iterator[Finding]:
    """What a DeskClient's fields disagree on."""
    yield from findings_of_name("spec.deskRef.name", spec.desk_ref.name)
    yield from _findings_of_authentication(spec.authentication)
    yield from _findings_of_way(spec)
    is_admin = spec.type in ADMIN_TYPES
    if is_admin and spec.service_refs:
        remedy = "remove serviceRefs, or use the type ResourceServer"
        yield "spec.serviceRefs", "an admin client asks about no service's tokens", remedy
    for place, reference in enumerate(spec.service_refs):
        path = f"spec.serviceRefs[{place}]"
        if not is_namespace_name(reference.namespace):
            remedy = "name one namespace, whole; patterns are not supported"
            yield f"{path}.namespace", "not the name of a namespace", remedy
        yield from findings_of_name(f"{path}.name", reference.name)
    named = [f"{each.namespace}/{each.name}" for each in spec.service_refs]
    yield from findings_of_repeats("spec.serviceRefs", named)
    if not is_admin and spec.admin_service_account is not None:
        detail = "only an AdminServiceAccount or an AdminPerson has this field"
        yield "spec.adminServiceAccount", detail, "remove it, or change the type"
    if spec.admin_service_account and spec.granted_by is None:
        yield "spec.grantedBy", "the field is required with adminServiceAccount: true", "set your user name"
    if spec.granted_by is not None and not spec.granted_by.isprintable():
        yield "spec.grantedBy", "it holds a control character, such as a line break", "write it plainly"


def _findings_of_way(spec: DeskClientSpec) -> Iterator[Finding]:
    """Whether the way in which a client proves itself is one of its type."""
    path, by = "spec.authentication", spec.authentication
    if spec.type == "AdminServiceAccount" and by.secret_ref is not None:
        remedy = "use serviceAccount, or jwks"
        yield f"{path}.secretRef", "an admin client never proves itself by a secret", remedy
    if spec.type != "AdminPerson" and by.person is not None:
        detail = "only an AdminPerson proves itself by signing in"
        yield f"{path}.person", detail, "remove it, or use the type AdminPerson"
    if spec.type == "AdminPerson" and by.person is None:
        detail = "an AdminPerson proves itself by signing in, and in no other way"
        yield f"{path}.person", detail, "give issuer, clientId and address"


def _findings_of_person(person: ClientPerson) -> Iterator[Finding]:
    path = "spec.authentication.person"
    plain = "it holds a control character, such as a line break"
    if not is_whole(PROVIDER, person.issuer) or person.issuer.endswith("/"):
        yield f"{path}.issuer", "not the URL of a provider", PROVIDER_REMEDY
    if not person.client_id.isprintable():
        yield f"{path}.clientId", plain, "write it plainly"
    if not is_address(person.address):
        yield f"{path}.address", "not an address", ADDRESS_REMEDY
    if person.subject is not None and not person.subject.isprintable():
        yield f"{path}.subject", plain, "write it plainly, as the provider's tokens say sub"


def _findings_of_authentication(given: ClientAuthentication) -> Iterator[Finding]:
    path = "spec.authentication"
    ways = [given.service_account, given.jwks, given.secret_ref, given.person]
    number = sum(way is not None for way in ways)
    if number != 1:
        yield path, f"{number} ways are given", WAYS_REMEDY
    if given.person is not None:
        yield from _findings_of_person(given.person)
    if given.service_account is not None:
        account = given.service_account
        yield from findings_of_name(f"{path}.serviceAccount.issuerRef.name", account.issuer_ref.name)
        if not is_namespace_name(account.namespace):
            remedy = "name one namespace, whole; patterns are not supported"
            yield f"{path}.serviceAccount.namespace", "not the name of a namespace", remedy
        if not is_service_account_name(account.name):
            remedy = "name one ServiceAccount, whole; patterns are not supported"
            yield f"{path}.serviceAccount.name", "not the name of a ServiceAccount", remedy
        if account.name == "default":
            detail = "every pod of the namespace may have the ServiceAccount `default`"
            yield f"{path}.serviceAccount.name", detail, "give the client a ServiceAccount of its own"
    keys = given.jwks.get("keys") if given.jwks is not None else []
    if not isinstance(keys, list) or not all(isinstance(jwk, dict) for jwk in keys):
        yield f"{path}.jwks.keys", "it is not a list of keys", "give the client's JWKS (RFC 7517, section 5)"
    elif given.jwks is not None and not keys:
        detail = "the list holds no key, so that no one could prove to be the client"
        yield f"{path}.jwks.keys", detail, "give the client's public keys"
    for place, jwk in enumerate(keys if isinstance(keys, list) else ()):
        if isinstance(jwk, dict) and not jwk.keys().isdisjoint(PRIVATE_MEMBERS):
            remedy = "publish the public part only, and replace this key: it has been shown"
            yield f"{path}.jwks.keys[{place}]", "the key holds private or secret material", remedy
    if given.secret_ref is not None:
        yield from findings_of_name(f"{path}.secretRef.name", given.secret_ref.name)
        if not is_whole(ENTRY, given.secret_ref.key):
            remedy = "use letters, digits, `-`, `_` and `.`"
            yield f"{path}.secretRef.key", "not the name of an entry", remedy
