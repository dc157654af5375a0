# SPDX-License-Identifier: Apache-2.0
"""What the fields of an AgentProvider must agree on.

The mistakes to prevent: a private key in an object that many may read, an issuer that two readers spell in
two ways, and a domain that is taken for all of its subdomains.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from watchword.identity.jwk import PRIVATE_MEMBERS
from watchword.identity.jwks import MAX_KEYS
from watchword.trust.api.v1alpha1.agent_provider import AgentProviderSpec, ProviderKeys
from watchword.trust.api.v1alpha1.grammar import HTTPS_URL, MAIL_DOMAIN, is_whole
from watchword.trust.api.v1alpha1.rules.agents import DOMAIN_REMEDY
from watchword.trust.api.v1alpha1.rules.entries import (
    findings_of_name,
    findings_of_repeats,
)
from watchword.trust.api.v1alpha1.validation import Finding

ISSUER_REMEDY: Final = "write iss exactly as its assertions say it: an https:// URL without a fragment"
KEYS_REMEDY: Final = "give exactly one of inline, discovery"
NO_KEYS_DETAIL: Final = "the list holds no key, so that no assertion could be verified"
NO_KEYS_REMEDY: Final = "give the provider's public keys"
PRIVATE_DETAIL: Final = "the key holds private or secret material"
PRIVATE_REMEDY: Final = "publish the public part only, and replace this key: it has been shown"


def findings_of_provider(spec: AgentProviderSpec) -> Iterator[Finding]:
    """What an AgentProvider's fields disagree on."""
    yield from findings_of_name("spec.deskRef.name", spec.desk_ref.name)
    if not is_whole(HTTPS_URL, spec.issuer):
        yield "spec.issuer", "not an https:// URL", ISSUER_REMEDY
    yield from _findings_of_unseen("spec.displayName", [spec.display_name])
    yield from _findings_of_keys(spec.keys)
    yield from _findings_of_unseen("spec.clientIDs", spec.client_ids)
    yield from findings_of_repeats("spec.clientIDs", spec.client_ids)
    yield from findings_of_repeats("spec.algorithms", spec.algorithms or ())
    yield from _findings_of_unseen("spec.audience", filter(None, [spec.audience]))
    yield from findings_of_repeats("spec.emailDomains", spec.email_domains)
    for place, domain in enumerate(spec.email_domains):
        if not is_whole(MAIL_DOMAIN, domain):
            yield f"spec.emailDomains[{place}]", "not a domain", DOMAIN_REMEDY


def _findings_of_unseen(path: str, values: Iterable[str]) -> Iterator[Finding]:
    """Each text that holds what a person would not see, such as a mark that turns the next words around."""
    if not all(each.isprintable() for each in values):
        yield path, "it holds a character that cannot be seen", "write it plainly"


def _findings_of_keys(keys: ProviderKeys) -> Iterator[Finding]:
    given = sum(source is not None for source in (keys.inline, keys.discovery))
    if given != 1:
        yield "spec.keys", f"{given} key sources are given", KEYS_REMEDY
    if keys.inline is None:
        return
    listed, path = keys.inline.get("keys"), "spec.keys.inline.keys"
    if not isinstance(listed, list) or not all(isinstance(jwk, dict) for jwk in listed):
        yield path, "it is not a list of keys", "give the provider's JWKS (RFC 7517, section 5)"
        return
    if len(listed) > MAX_KEYS:
        yield path, f"it has {len(listed)} keys", f"give at most {MAX_KEYS}"
    if not listed:
        yield path, NO_KEYS_DETAIL, NO_KEYS_REMEDY
    for place, jwk in enumerate(listed):
        if not jwk.keys().isdisjoint(PRIVATE_MEMBERS):
            yield f"{path}[{place}]", PRIVATE_DETAIL, PRIVATE_REMEDY
