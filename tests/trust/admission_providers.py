# SPDX-License-Identifier: Apache-2.0
"""The objects of `admission.py` for AgentProvider."""

from __future__ import annotations

from typing import Any

from testing.manifests import agent_provider

Object = dict[str, Any]
_EC = {"kty": "EC", "crv": "P-256", "x": "x", "y": "y", "kid": "k"}


def provider(**spec: Any) -> Object:
    """An AgentProvider in the namespace of the other objects; a member that is None is left out."""
    made = agent_provider(namespace="tuist", keys=[_EC])
    made["spec"] = {name: value for name, value in (made["spec"] | spec).items() if value is not None}
    return made


def keyed(**keys: Any) -> Object:
    """An AgentProvider with this source of keys."""
    return provider(keys=keys)


_CONTROL = "it holds a character that cannot be seen"
_SOURCES = "not exactly one key source is given"

REFUSED: tuple[tuple[str, str, str, Object], ...] = (
    *(("AgentProviderSpec.issuer", "not an https:// URL", "spec.issuer", provider(issuer=url))
      for url in ("http://idp.example.com", "idp.example.com", "https://", "https://a b", "https://a#b",
                  "https://user@a", "https://a\n", "HTTPS://a", "https://*")),
    *(("AgentProviderSpec.displayName", _CONTROL, "spec.displayName", provider(displayName=text))
      for text in ("Good\nEvil", "Good\u202eliv\u200b", "Good\u00a0Evil", "\u2028", "\x7f", "\ufeff")),
    ("AgentProviderSpec.clientIDs[]", _CONTROL, "spec.clientIDs[0]", provider(clientIDs=["a\n"])),
    ("AgentProviderSpec.audience", _CONTROL, "spec.audience", provider(audience="https://a\n")),
    *(("AgentProviderSpec.emailDomains[]", "not a domain", "spec.emailDomains[0]",
       provider(emailDomains=[name]))
      for name in ("*", "*.example.com", "example", "Example.com", "example.com.", ".example.com",
                   "exämple.com", "a@example.com", "example.com\n", "-a.com", "a..b")),
    ("ProviderKeys", _SOURCES, "spec.keys", keyed()),
    ("ProviderKeys", _SOURCES, "spec.keys", keyed(inline={"keys": [_EC]}, discovery={})),
    ("ProviderKeys", "the list holds no key, so that no assertion could be verified",
     "spec.keys.inline.keys", keyed(inline={"keys": []})),
    *(("ProviderKeys.inline.keys[]", "the key holds private or secret material",
       "spec.keys.inline.keys[0]", keyed(inline={"keys": [_EC | {member: "AQAB"}]})) for member in "dk"),
    ("DeskName.name", "not the name of an object", "spec.deskRef.name", provider(deskRef={"name": "*"})),
)  # fmt: skip

BOUNDED: tuple[tuple[str, str, Object], ...] = (
    *((f"spec.{name}", "Required value", provider(**{name: None}))
      for name in ("issuer", "displayName", "keys", "clientIDs", "deskRef")),
    ("spec.clientIDs", "should have at least 1 items", provider(clientIDs=[])),
    ("spec.clientIDs", "must have at most 16 items", provider(clientIDs=[f"c{n}" for n in range(17)])),
    ("spec.clientIDs[1]", "Duplicate value", provider(clientIDs=["a", "a"])),
    ("spec.clientIDs[0]", "should be at least 1 chars long", provider(clientIDs=[""])),
    ("spec.displayName", "should be at least 1 chars long", provider(displayName="")),
    ("spec.displayName", "may not be more than 64", provider(displayName="a" * 65)),
    ("spec.algorithms", "should have at least 1 items", provider(algorithms=[])),
    *(("spec.algorithms[0]", "Unsupported value", provider(algorithms=[name]))
      for name in ("none", "HS256", "PS256", "rs256", "EdDSA")),
    ("spec.emailDomains", "must have at most 64 items",
     provider(emailDomains=[f"d{n}.example.com" for n in range(65)])),
    ("spec.emailDomains[1]", "Duplicate value", provider(emailDomains=["a.com", "a.com"])),
    ("spec.maxAuthAgeSeconds", "should be greater than or equal to 60", provider(maxAuthAgeSeconds=59)),
    ("spec.maxAuthAgeSeconds", "should be less than or equal to 86400", provider(maxAuthAgeSeconds=86401)),
    ("spec.keys.inline.keys", "must have at most 64 items",
     keyed(inline={"keys": [_EC | {"kid": f"k{n}"} for n in range(65)]})),
    ("spec.keys.discovery.jwksURL", "unknown field", keyed(discovery={"jwksURL": "https://a/b"})),
    ("spec.clientIds", "unknown field", provider(clientIds=["a"])),
    ("spec.trusted", "unknown field", provider(trusted=True)),
)  # fmt: skip

ACCEPTED: dict[str, Object] = {
    "a provider": provider(),
    "a provider by discovery": keyed(discovery={}),
    "a provider that names no one": provider(emailDomains=None),
    "a provider whose issuer ends with a slash": provider(issuer="https://idp.example.com/"),
    "a provider with another script in its name": provider(displayName="Øresund Hjælper 助手"),
    "a provider whose domain is A-labels": provider(emailDomains=["xn--exmple-cua.com"]),
    "a provider with all that it can say": provider(
        algorithms=["RS256", "ES256", "ES384", "ES512"], audience="https://other.example.com/path",
        maxAuthAgeSeconds=60, suspended=True),
}  # fmt: skip
