# SPDX-License-Identifier: Apache-2.0
"""Each cause of a refused write has its own remedy; the messages are those of a real API server."""

from __future__ import annotations

import pytest

from watchword.kube.requests import RefusedError
from watchword.operator.write_refusals import is_immutable, remedy_of

_CREATE = 'configmaps "watchword-bundle-api" is forbidden: '
CAUSES = [
    (
        403,
        _CREATE + "unable to create new content in namespace n1 because it is being terminated",
        "is being deleted",
    ),
    (
        403,
        _CREATE + "exceeded quota: full, requested: configmaps=1, used: configmaps=1",
        "ResourceQuota full",
    ),
    (
        403,
        _CREATE + 'User "system:serviceaccount:s:o" cannot patch resource "configmaps" in API group ""',
        "ClusterRole",
    ),
    (403, 'admission webhook "check.example.com" denied the request: no', "webhook check.example.com"),
    (
        400,
        'admission webhook "check.example.com" denied the request without explanation',
        "check.example.com",
    ),
    (
        422,
        "ValidatingAdmissionPolicy 'deny' with binding 'deny' denied request: not here",
        "ValidatingAdmissionPolicy deny",
    ),
    (
        422,
        'ConfigMap "x" is invalid: data: Forbidden: field is immutable when `immutable` is set',
        "delete that object",
    ),
    (
        422,
        'RoleBinding "x" is invalid: roleRef: Invalid value: {}: cannot change roleRef',
        "delete that object",
    ),
    (404, 'namespaces "n1" not found', "namespace is gone"),
    (413, "Request entity too large: limit is 3145728", "split the service"),
    (418, "something else", "what the API server answered"),
]


@pytest.mark.parametrize(("status", "message", "expected"), CAUSES, ids=[each[1][-40:] for each in CAUSES])
def test_the_remedy_is_that_of_the_cause(status: int, message: str, expected: str) -> None:
    remedy = remedy_of(RefusedError(status, message))
    assert expected in remedy
    assert ("ClusterRole" in remedy) == ("ClusterRole" in expected)


def test_only_an_immutable_object_is_made_again() -> None:
    found = [message for status, message, _ in CAUSES if is_immutable(RefusedError(status, message))]
    assert len(found) == 2
    assert all("immutable" in each or "roleRef" in each for each in found)
