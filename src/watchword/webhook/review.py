# SPDX-License-Identifier: Apache-2.0
"""An AdmissionReview in, its answer out: pure (Kubernetes docs, "Dynamic Admission Control").

A review that cannot be read is answered as a refusal where it has a uid: silence would leave the API server
to its failurePolicy, and the person who made the pod without a reason.
"""

import base64
from collections.abc import Callable
from typing import Any, Final

import msgspec

from watchword.injection import Injected, InjectionRefusal, NothingAsked

API_VERSION: Final = "admission.k8s.io/v1"
MAX_REVIEW_BYTES: Final = 3 * 1024 * 1024
# What is parsed weighs by its parts: `[[],[],…` takes twenty times its bytes. A large pod has a few thousand.
MAX_REVIEW_PARTS: Final = 200_000
# The API server cuts each warning at 256 characters, and all of them at 4096.
_WARNING_CHARACTERS: Final = 256
Outcome = Injected | NothingAsked | InjectionRefusal
Decide = Callable[[dict[str, Any], str], Outcome]


class UnreadableReviewError(ValueError):
    """Bytes that are no AdmissionReview; the message says why."""


class _Kind(msgspec.Struct, frozen=True):
    kind: str = ""
    group: str = ""


class Request(msgspec.Struct, frozen=True):
    """What the API server asks.

    Attributes:
        uid: names the request; the answer repeats it.
        namespace: where the object is created.
        kind: what it is.
        operation: CREATE, for all that this webhook is registered for.
        object: the object as it would be stored.
    """

    uid: str
    namespace: str = ""
    kind: _Kind = _Kind()
    operation: str = ""
    object: dict[str, Any] | None = None


class _Review(msgspec.Struct, frozen=True):
    request: Request
    apiVersion: str = ""  # noqa: N815 - Kubernetes' spelling


_decoder: Final = msgspec.json.Decoder(_Review)


def read_review(body: bytes) -> Request:
    """The request in a review.

    Raises:
        UnreadableReviewError: not an AdmissionReview of `admission.k8s.io/v1`.
    """
    if sum(map(body.count, (b",", b"[", b"{"))) > MAX_REVIEW_PARTS:
        raise UnreadableReviewError(
            f"the AdmissionReview has more than {MAX_REVIEW_PARTS} members and elements"
        )
    try:
        review = _decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise UnreadableReviewError("the body is not an AdmissionReview") from None
    if review.apiVersion != API_VERSION:
        raise UnreadableReviewError(f"the AdmissionReview is not of {API_VERSION}")
    return review.request


def is_pod_creation(request: Request) -> bool:
    """Whether there is anything to decide; what is not is let pass: a wrong rule must not stop a cluster."""
    return (request.kind.group, request.kind.kind, request.operation) == ("", "Pod", "CREATE")


def answer(request: Request, outcome: Outcome) -> bytes:
    """The AdmissionReview that answers a request."""
    response: dict[str, Any] = {"uid": request.uid, "allowed": True}
    if isinstance(outcome, InjectionRefusal):
        response["allowed"] = False
        response["status"] = {"code": 422, "reason": "Invalid", "message": str(outcome)}
    elif isinstance(outcome, Injected):
        patch = msgspec.json.encode(operations(request.object or {}, outcome.pod))
        response |= {"patchType": "JSONPatch", "patch": base64.b64encode(patch).decode()}
        if outcome.warnings:
            response["warnings"] = [_short(each) for each in outcome.warnings]
    return msgspec.json.encode({"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response})


def operations(before: dict[str, Any], after: dict[str, Any]) -> list[dict[str, Any]]:
    """The JSON patch (RFC 6902) between two pods that differ in their metadata and spec only.

    Whole members are set: `add` on a member that is there replaces it (section 4.1), and nothing can have
    changed in between, since the API server patches the very object that it sent.
    """
    found = []
    for part in ("metadata", "spec"):
        for name, value in after[part].items():
            if before[part].get(name) != value:
                path = f"/{part}/" + name.replace("~", "~0").replace("/", "~1")
                found.append({"op": "add", "path": path, "value": value})
    return found


def _short(text: str) -> str:
    return text if len(text) <= _WARNING_CHARACTERS else text[: _WARNING_CHARACTERS - 1] + "…"
