# SPDX-License-Identifier: Apache-2.0
"""What the fields of a ClusterTrustedIssuer must agree on.

Two key sources are the mistake to prevent here: whichever won, someone would believe that the other one did.
"""

from collections.abc import Iterator

from watchword.identity import is_namespace_name
from watchword.trust.api.v1alpha1 import (
    ConfigMapKeys,
    DiscoveryKeys,
    IssuerSpec,
    KeySource,
    Revocation,
    SecretKey,
)
from watchword.trust.api.v1alpha1.grammar import ENTRY, HTTPS_URL, THUMBPRINT, is_whole
from watchword.trust.api.v1alpha1.rules.entries import (
    findings_of_labels,
    findings_of_name,
    findings_of_repeats,
)
from watchword.trust.api.v1alpha1.rules.times import TIME_REMEDY, parse_time
from watchword.trust.api.v1alpha1.validation import Finding

_KEYS_PATH = "spec.keys"


def findings_of_issuer(spec: IssuerSpec) -> Iterator[Finding]:
    """What a ClusterTrustedIssuer's fields disagree on."""
    for place, url in enumerate([spec.issuer, *spec.additional_issuers]):
        path = "spec.issuer" if place == 0 else f"spec.additionalIssuers[{place - 1}]"
        if " " in url or not url.isprintable():
            detail = "the URL has white space or control characters"
            yield path, detail, "write iss exactly as the tokens say it"
    yield from findings_of_repeats("spec.additionalIssuers", [spec.issuer, *spec.additional_issuers])
    yield from findings_of_repeats("spec.algorithms", spec.algorithms or ())
    yield from _findings_of_keys(spec.keys)
    if spec.keys.discovery is not None and spec.keys.discovery.jwks_url is None:
        yield from _findings_of_url("spec.issuer", spec.issuer)
    yield from _findings_of_rotation(spec)
    if spec.allowed_namespaces is not None:
        yield from findings_of_labels("spec.allowedNamespaces", spec.allowed_namespaces)
        if not spec.allowed_namespaces.match_labels:
            remedy = "name labels, or leave allowedNamespaces out to allow every namespace"
            yield "spec.allowedNamespaces.matchLabels", "it allows every namespace", remedy
    for place, revocation in enumerate(spec.revoked):
        yield from _findings_of_revocation(f"spec.revoked[{place}]", revocation)


def _findings_of_keys(keys: KeySource) -> Iterator[Finding]:
    given = sum(source is not None for source in (keys.inline, keys.config_map, keys.discovery, keys.cluster))
    if given != 1:
        remedy = "give exactly one of inline, configMap, discovery, cluster"
        yield _KEYS_PATH, f"{given} key sources are given", remedy
    if keys.config_map is not None:
        yield from _findings_of_entry(f"{_KEYS_PATH}.configMap", keys.config_map)
    if keys.discovery is not None:
        yield from _findings_of_discovery(f"{_KEYS_PATH}.discovery", keys.discovery)


def _findings_of_discovery(path: str, discovery: DiscoveryKeys) -> Iterator[Finding]:
    if discovery.jwks_url is not None:
        yield from _findings_of_url(f"{path}.jwksURL", discovery.jwks_url)
    bundle = discovery.ca_bundle
    if bundle and ("-----BEGIN CERTIFICATE-----" not in bundle or "PRIVATE KEY-----" in bundle):
        remedy = "give PEM certificates, and nothing else"
        yield f"{path}.caBundle", "no certificate, or more than certificates", remedy
    if discovery.credential_secret_ref is not None:
        yield from _findings_of_entry(f"{path}.credentialSecretRef", discovery.credential_secret_ref)


def _findings_of_url(path: str, url: str) -> Iterator[Finding]:
    if not is_whole(HTTPS_URL, url):
        remedy = "use an https:// URL with a host, without user or fragment"
        yield path, "keys are fetched over HTTPS only", remedy


def _findings_of_entry(path: str, entry: ConfigMapKeys | SecretKey) -> Iterator[Finding]:
    if not is_namespace_name(entry.namespace):
        yield f"{path}.namespace", "not the name of a namespace", "use lower-case letters, digits and `-`"
    yield from findings_of_name(f"{path}.name", entry.name)
    if not is_whole(ENTRY, entry.key):
        yield f"{path}.key", "not the name of an entry", "use letters, digits, `-`, `_` and `.`"


def _findings_of_rotation(spec: IssuerSpec) -> Iterator[Finding]:
    approved = spec.rotation.approved
    yield from findings_of_repeats("spec.rotation.approved", approved)
    for place, thumbprint in enumerate(approved):
        if not is_whole(THUMBPRINT, thumbprint):
            remedy = "use an RFC 7638 thumbprint, as `watchword pin` prints it"
            yield f"spec.rotation.approved[{place}]", "not a thumbprint", remedy
    if spec.rotation.policy == "Pin" and not approved and spec.keys.inline is None:
        remedy = "list the thumbprints to pin, as `watchword pin` prints them"
        yield "spec.rotation.approved", "Pin trusts approved keys only, and none is approved", remedy


def _findings_of_revocation(path: str, revocation: Revocation) -> Iterator[Finding]:
    values = [
        revocation.token_id,
        revocation.pod_uid,
        revocation.service_account_uid,
        revocation.issued_before,
        revocation.key_thumbprint,
    ]
    if sum(value is not None for value in values) != 1:
        remedy = "give exactly one of tokenId, podUid, serviceAccountUid, issuedBefore, keyThumbprint"
        yield path, "a revocation names one thing", remedy
    if revocation.issued_before is not None and parse_time(revocation.issued_before) is None:
        yield f"{path}.issuedBefore", "not a time", TIME_REMEDY
    if revocation.key_thumbprint is not None and not is_whole(THUMBPRINT, revocation.key_thumbprint):
        remedy = "use an RFC 7638 thumbprint, as `watchword pin` prints it"
        yield f"{path}.keyThumbprint", "not a thumbprint", remedy
