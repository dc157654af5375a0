# SPDX-License-Identifier: Apache-2.0
"""An AdmissionReview is answered as Kubernetes reads it, and the patch makes exactly the injected pod."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.injection.pods import SETTINGS, app_pod, caller_pod, world
from tests.webhook.reviews import review
from watchword.injection import Injected, InjectionRefusal, NothingAsked, inject
from watchword.webhook.review import (
    UnreadableReviewError,
    answer,
    is_pod_creation,
    operations,
    read_review,
)


def apply(pod: dict[str, Any], patch: list[dict[str, Any]]) -> dict[str, Any]:
    """RFC 6902 `add` on members of objects, written from the RFC and not from the code under test."""
    pod = copy.deepcopy(pod)
    for each in patch:
        assert each["op"] == "add"
        *folders, last = [
            part.replace("~1", "/").replace("~0", "~") for part in each["path"].removeprefix("/").split("/")
        ]
        place = pod
        for folder in folders:
            place = place[folder]
        place[last] = each["value"]
    return pod


@pytest.mark.parametrize(("pod", "namespace"), [(app_pod(), "tuist"), (caller_pod(), "atlas-production")])
def test_the_patch_makes_the_injected_pod(pod: dict[str, Any], namespace: str) -> None:
    outcome = inject(pod, namespace, world(), SETTINGS)
    assert isinstance(outcome, Injected)
    response = json.loads(answer(read_review(review(pod)), outcome))["response"]
    assert (response["uid"], response["allowed"], response["patchType"]) == ("u-1", True, "JSONPatch")
    assert apply(pod, json.loads(base64.b64decode(response["patch"]))) == outcome.pod


def test_a_refusal_is_told_with_its_sentence() -> None:
    pod = app_pod(spec__hostNetwork=True)
    outcome = inject(pod, "tuist", world(), SETTINGS)
    assert isinstance(outcome, InjectionRefusal)
    response = json.loads(answer(read_review(review(pod)), outcome))["response"]
    assert response["allowed"] is False
    assert response["status"]["message"] == str(outcome)
    assert "patch" not in response


def test_a_pod_that_asks_nothing_passes_untouched() -> None:
    response = json.loads(answer(read_review(review(app_pod())), NothingAsked()))["response"]
    assert response == {"uid": "u-1", "allowed": True}


def test_a_warning_is_cut_where_the_api_server_would_cut_it() -> None:
    outcome = Injected(app_pod(), ("x" * 1000,))
    [warning] = json.loads(answer(read_review(review(app_pod())), outcome))["response"]["warnings"]
    assert len(warning) == 256


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": {"group": "apps", "version": "v1", "kind": "Pod"}},
        {"kind": {"group": "", "version": "v1", "kind": "Service"}},
        {"operation": "UPDATE"},
        {"operation": "DELETE"},
    ],
)
def test_what_is_no_creation_of_a_pod_is_none_of_ours(changes: dict[str, Any]) -> None:
    assert not is_pod_creation(read_review(review(app_pod(), **changes)))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"apiVersion": "admission.k8s.io/v1"}',
        b'{"apiVersion": "admission.k8s.io/v1beta1", "request": {"uid": "u"}}',
        b'{"apiVersion": "admission.k8s.io/v1", "request": {"uid": 1}}',
        b'{"apiVersion": "admission.k8s.io/v1", "request": {"uid": "u", "object": []}}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_review_is_said(body: bytes) -> None:
    with pytest.raises(UnreadableReviewError):
        read_review(body)


members = st.dictionaries(
    st.text(min_size=1, max_size=6), st.integers() | st.lists(st.integers()), max_size=4
)


@given(before=members, after=members)
def test_a_patch_of_any_members_makes_the_other_object(before: dict[str, Any], after: dict[str, Any]) -> None:
    first = {"metadata": before, "spec": before}
    second = {"metadata": {**before, **after}, "spec": {**before, **after}}
    assert apply(first, operations(first, second)) == second
