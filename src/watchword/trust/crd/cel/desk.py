# SPDX-License-Identifier: Apache-2.0
"""Rules on a TokenDesk and on a DeskClient, and on the fields that name them.

That an admin flag is not lost by leaving it out is a rule on the change and not on the object: only the API
server sees both versions.
"""

from typing import Final

from watchword.identity.jwk import PRIVATE_MEMBERS
from watchword.trust.api.v1alpha1.grammar import (
    ENTRY,
    MAIL_ADDRESS,
    NAMESPACE,
    OBJECT_NAME,
    ORIGIN,
    THUMBPRINT,
)
from watchword.trust.api.v1alpha1.rules.agents import ADDRESS_REMEDY, PROVIDER, PROVIDER_REMEDY
from watchword.trust.api.v1alpha1.rules.desk import (
    ORIGIN_REMEDY,
    RESERVED_CLIENTS,
    RESERVED_PREFIX,
    WAYS_REMEDY,
)
from watchword.trust.crd.cel.rule import Rule, is_whole, named, plain

_NAME_REMEDY: Final = "use lower-case letters, digits, `-` and `.`"
_WHOLE_REMEDY: Final = "name one {}, whole; patterns are not supported"

DESK_RULES: Final = (
    Rule(
        "TokenDesk",
        "self.metadata.name.size() <= 63",
        "the name has more than 63 characters",
        "use at most 63: it is part of other objects' names and the value of a label",
    ),
    Rule("DeskSpec.issuer", is_whole(ORIGIN), "not an https:// origin", ORIGIN_REMEDY),
    Rule(
        "DeskSpec.allowedNamespaces",
        "self.matchLabels.size() > 0",
        "it allows every namespace",
        "name labels; leaving allowedNamespaces out allows no namespace",
        ".matchLabels",
    ),
    Rule(
        "DeskTokens",
        "!has(self.lifetimeSeconds) || !has(self.maxLifetimeSeconds) || "
        "self.lifetimeSeconds <= self.maxLifetimeSeconds",
        "it is more than maxLifetimeSeconds",
        "give at most maxLifetimeSeconds",
        ".lifetimeSeconds",
    ),
    Rule(
        "DeskSigning.revoked[]",
        is_whole(THUMBPRINT),
        "not a thumbprint",
        "use an RFC 7638 thumbprint, as status.keys shows it",
    ),
    named("DeskName.name", OBJECT_NAME, "an object", _NAME_REMEDY),
    named("ServiceSpec.resourceServers[]", OBJECT_NAME, "an object", _NAME_REMEDY),
    Rule(
        "ServiceSpec",
        "!has(self.resourceServers) || self.resourceServers.size() == 0 || has(self.tokenDeskRef)",
        "resource servers are clients of a desk, and the service names none",
        "set tokenDeskRef, or remove resourceServers",
        ".resourceServers",
    ),
    Rule(
        "ClientAuthentication",
        "[has(self.serviceAccount), has(self.jwks), has(self.secretRef), has(self.person)]"
        ".filter(given, given).size() == 1",
        "not exactly one way is given",
        WAYS_REMEDY,
    ),
    Rule(
        "DeskClient",
        f"!(self.metadata.name in {list(RESERVED_CLIENTS)}) && "
        f"!self.metadata.name.startsWith('{RESERVED_PREFIX}')",
        "the name is reserved",
        f"choose another one, without {RESERVED_PREFIX} at its start",
    ),
    Rule(
        "ClientAuthentication",
        "!has(self.jwks) || self.jwks.keys.size() > 0",
        "the list holds no key, so that no one could prove to be the client",
        "give the client's public keys",
        ".jwks.keys",
    ),
    Rule(
        "ClientAuthentication.jwks.keys[]",
        "!(" + " || ".join(f"has(self.{member})" for member in sorted(PRIVATE_MEMBERS)) + ")",
        "the key holds private or secret material",
        "publish the public part only, and replace this key: it has been shown",
    ),
    named("ClientServiceAccount.namespace", NAMESPACE, "a namespace", _WHOLE_REMEDY.format("namespace")),
    named(
        "ClientServiceAccount.name",
        OBJECT_NAME,
        "a ServiceAccount",
        _WHOLE_REMEDY.format("ServiceAccount"),
    ),
    Rule(
        "ClientServiceAccount.name",
        "self != 'default'",
        "every pod of the namespace may have the ServiceAccount `default`",
        "give the client a ServiceAccount of its own",
    ),
    named("ClientSecret.name", OBJECT_NAME, "an object", _NAME_REMEDY),
    named("ClientSecret.key", ENTRY, "an entry", "use letters, digits, `-`, `_` and `.`"),
    named("ServiceReference.namespace", NAMESPACE, "a namespace", _WHOLE_REMEDY.format("namespace")),
    named("ServiceReference.name", OBJECT_NAME, "an object", _NAME_REMEDY),
    Rule(
        "DeskClientSpec",
        "self.type != 'AdminServiceAccount' || !has(self.authentication.secretRef)",
        "an admin client never proves itself by a secret",
        "use serviceAccount, or jwks",
        ".authentication",
    ),
    Rule(
        "DeskClientSpec",
        "self.type == 'AdminPerson' || !has(self.authentication.person)",
        "only an AdminPerson proves itself by signing in",
        "remove it, or use the type AdminPerson",
        ".authentication",
    ),
    Rule(
        "DeskClientSpec",
        "self.type != 'AdminPerson' || has(self.authentication.person)",
        "an AdminPerson proves itself by signing in, and in no other way",
        "give authentication.person with issuer, clientId and address",
        ".authentication",
    ),
    Rule(
        "ClientPerson.issuer",
        f"{is_whole(PROVIDER)} && !self.endsWith('/')",
        "not the URL of a provider",
        PROVIDER_REMEDY,
    ),
    plain("ClientPerson.clientId"),
    Rule("ClientPerson.address", is_whole(MAIL_ADDRESS), "not an address", ADDRESS_REMEDY),
    plain("ClientPerson.subject"),
    Rule(
        "DeskClientSpec",
        "self.type == 'ResourceServer' || !has(self.serviceRefs) || self.serviceRefs.size() == 0",
        "an admin client asks about no service's tokens",
        "remove serviceRefs, or use the type ResourceServer",
        ".serviceRefs",
    ),
    Rule(
        "DeskClientSpec",
        "self.type != 'ResourceServer' || !has(self.adminServiceAccount)",
        "only an AdminServiceAccount or an AdminPerson has this field",
        "remove it, or change the type",
        ".adminServiceAccount",
    ),
    Rule(
        "DeskClientSpec",
        "!has(self.adminServiceAccount) || !self.adminServiceAccount || has(self.grantedBy)",
        "the field is required with adminServiceAccount: true",
        "set your user name",
        ".grantedBy",
    ),
    Rule(
        "DeskClientSpec",
        "!has(oldSelf.adminServiceAccount) || has(self.adminServiceAccount)",
        "a flag that was set is not withdrawn by leaving it out",
        "say adminServiceAccount: false, or delete the object",
        ".adminServiceAccount",
    ),
    plain("DeskClientSpec.grantedBy"),
)
