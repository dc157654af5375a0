# SPDX-License-Identifier: Apache-2.0
"""Why the API server refuses a write of the operator's, and what a person can do about that cause.

One HTTP status stands for many causes: 403 is a missing right, a full quota, a webhook's no and a namespace
that is being deleted. A remedy for the wrong one sends its reader to the ClusterRole for nothing.
"""

import re
from typing import Final

from watchword.kube.requests import RefusedError

_TERMINATING: Final = re.compile(r"because it is being terminated")
_QUOTA: Final = re.compile(r"exceeded quota: ([a-z0-9.-]{1,253})")
_WEBHOOK: Final = re.compile(r'admission webhook "([a-z0-9.-]{1,253})" denied the request')
_POLICY: Final = re.compile(r"ValidatingAdmissionPolicy '([a-z0-9.-]{1,253})'.{0,300} denied request")
_RIGHT: Final = re.compile(r"cannot (?:patch|create|update|get|delete|list|watch) resource")
_IMMUTABLE: Final = re.compile(
    r"is immutable when `?immutable`? is set|cannot change roleRef|field is immutable"
)


def is_immutable(refused: RefusedError) -> bool:
    """Whether an object was refused because what is to be changed of it cannot be changed any more."""
    return refused.status == 422 and _IMMUTABLE.search(refused.message) is not None


def remedy_of(refused: RefusedError) -> str:
    """What to do about a refusal, by what the API server said."""
    said = refused.message
    if refused.status == 404:
        return "the namespace is gone or going; there is nothing to do"
    if _TERMINATING.search(said):
        return (
            "the namespace is being deleted, and this object with it; there is nothing to do, and deleting "
            "the bundle's ConfigMap ends the trust sooner"
        )
    if is_immutable(refused):
        return "delete that object (and its finalizers, if it stays): the operator makes it again"
    if found := _QUOTA.search(said):
        return f"raise the ResourceQuota {found[1]} of the namespace, or delete objects that it counts"
    if found := _WEBHOOK.search(said):
        return f"let the admission webhook {found[1]} allow the operator's writes of its own objects"
    if found := _POLICY.search(said):
        return f"let the ValidatingAdmissionPolicy {found[1]} allow the operator's writes of its own objects"
    if refused.status in (401, 403) and _RIGHT.search(said):
        return (
            "install the operator's ClusterRole of its release: the right that the message names is missing"
        )
    if refused.status == 413 or "Too long" in said:
        return "split the service, or trust fewer workloads with it: the object is too large"
    return (
        "see what the API server answered; an admission plugin or policy of this cluster is the likely cause"
    )
