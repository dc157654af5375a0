# SPDX-License-Identifier: Apache-2.0
"""Rules on a ClusterTrustedIssuer.

Its objects decide whose word counts, and a private key written into one would be read by all who may read the
object; it is refused before it is ever stored.
"""

from typing import Final

from watchword.identity.jwk import PRIVATE_MEMBERS
from watchword.trust.api.v1alpha1.grammar import ENTRY, HTTPS_URL, NAMESPACE, OBJECT_NAME, THUMBPRINT, TIME
from watchword.trust.crd.cel.rule import Rule, is_whole, lacks, named, plain

TIME_REMEDY: Final = "use RFC 3339 with a zone, such as 2027-01-01T00:00:00Z"
# A time that matches the form may still name no day, such as February 30: `timestamp` fails on it.
IS_TIME: Final = f"{is_whole(TIME)} && timestamp(self) > timestamp('0001-01-01T00:00:00Z')"
_NAME_REMEDY: Final = "use lower-case letters, digits, `-` and `.`"
_NAMESPACE_REMEDY: Final = "use lower-case letters, digits and `-`"
_ENTRY_REMEDY: Final = "use letters, digits, `-`, `_` and `.`"
_THUMBPRINT_REMEDY: Final = "use an RFC 7638 thumbprint, as `watchword pin` prints it"
_URL_DETAIL: Final = "keys are fetched over HTTPS only"
_URL_REMEDY: Final = "use an https:// URL with a host, without user or fragment"
_MEMBERS_REMEDY: Final = (
    'quote "n" and "y" in YAML, where they are booleans when bare, or use what `watchword pin` prints'
)

ISSUER_RULES: Final = (
    *(
        Rule(
            place,
            lacks(r"[\p{C}\p{Z}]"),
            "the URL has white space or control characters",
            "write iss exactly as the tokens say it",
        )
        for place in ("IssuerSpec.issuer", "IssuerSpec.additionalIssuers[]")
    ),
    Rule(
        "IssuerSpec",
        "!has(self.additionalIssuers) || !(self.issuer in self.additionalIssuers)",
        "additionalIssuers repeats the issuer",
        "list only other values",
        ".additionalIssuers",
    ),
    Rule(
        "KeySource",
        "[has(self.inline), has(self.configMap), has(self.discovery), has(self.cluster)]"
        ".filter(given, given).size() == 1",
        "not exactly one key source is given",
        "give exactly one of inline, configMap, discovery, cluster",
    ),
    Rule(
        "KeySource.inline.keys[]",
        "!(" + " || ".join(f"has(self.{member})" for member in PRIVATE_MEMBERS) + ")",
        "the key holds private or secret material",
        "publish the public part only, and replace this key: it has been shown",
    ),
    Rule(
        "KeySource.inline.keys[]",
        "!has(self.kty) || self.kty != 'RSA' || (has(self.n) && has(self.e))",
        "an RSA key without n or e",
        _MEMBERS_REMEDY,
    ),
    Rule(
        "KeySource.inline.keys[]",
        "!has(self.kty) || self.kty != 'EC' || (has(self.x) && has(self.y))",
        "an EC key without x or y",
        _MEMBERS_REMEDY,
    ),
    named("ConfigMapKeys.namespace", NAMESPACE, "a namespace", _NAMESPACE_REMEDY),
    named("ConfigMapKeys.name", OBJECT_NAME, "an object", _NAME_REMEDY),
    named("ConfigMapKeys.key", ENTRY, "an entry", _ENTRY_REMEDY),
    named("SecretKey.namespace", NAMESPACE, "a namespace", _NAMESPACE_REMEDY),
    named("SecretKey.name", OBJECT_NAME, "an object", _NAME_REMEDY),
    named("SecretKey.key", ENTRY, "an entry", _ENTRY_REMEDY),
    Rule("DiscoveryKeys.jwksURL", is_whole(HTTPS_URL), _URL_DETAIL, _URL_REMEDY),
    Rule(
        "IssuerSpec",
        "!has(self.keys.discovery) || has(self.keys.discovery.jwksURL) || "
        + is_whole(HTTPS_URL, "self.issuer"),
        _URL_DETAIL,
        f"{_URL_REMEDY}, or give keys.discovery.jwksURL",
        ".issuer",
    ),
    Rule(
        "DiscoveryKeys.caBundle",
        "self == '' || (self.contains('-----BEGIN CERTIFICATE-----') && !self.contains('PRIVATE KEY-----'))",
        "no certificate, or more than certificates",
        "give PEM certificates, and nothing else",
    ),
    Rule(
        "IssuerSpec",
        "self.rotation.policy != 'Pin' || has(self.keys.inline) || "
        "(has(self.rotation.approved) && self.rotation.approved.size() > 0)",
        "Pin trusts approved keys only, and none is approved",
        "list the thumbprints to pin, as `watchword pin` prints them",
        ".rotation.approved",
    ),
    Rule("Rotation.approved[]", is_whole(THUMBPRINT), "not a thumbprint", _THUMBPRINT_REMEDY),
    Rule(
        "IssuerSpec.allowedNamespaces",
        "self.matchLabels.size() > 0",
        "it allows every namespace",
        "name labels, or leave allowedNamespaces out to allow every namespace",
        ".matchLabels",
    ),
    Rule(
        "Revocation",
        "[has(self.tokenId), has(self.podUid), has(self.serviceAccountUid), has(self.issuedBefore), "
        "has(self.keyThumbprint)].filter(given, given).size() == 1",
        "a revocation names one thing",
        "give exactly one of tokenId, podUid, serviceAccountUid, issuedBefore, keyThumbprint",
    ),
    plain("Revocation.tokenId"),
    plain("Revocation.podUid"),
    plain("Revocation.serviceAccountUid"),
    Rule("Revocation.issuedBefore", IS_TIME, "not a time", TIME_REMEDY),
    Rule("Revocation.keyThumbprint", is_whole(THUMBPRINT), "not a thumbprint", _THUMBPRINT_REMEDY),
)
