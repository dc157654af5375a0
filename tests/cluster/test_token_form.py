# SPDX-License-Identifier: Apache-2.0
"""The short way through a payload is the one that real tokens take; a release that changes it fails here."""

from collections.abc import Callable

import msgspec

from testing.controlplane import Cluster
from watchword.identity.claims import _decode, _encode  # the private pair is the subject
from watchword.identity.encoding import decode_base64url


def test_a_projected_token_is_read_in_one_typed_pass(
    cluster: Cluster, new_namespace: Callable[..., str]
) -> None:
    namespace = new_namespace(cluster)
    cluster.create_service_account(namespace, "caller")
    cluster.create_pod(namespace, "caller-0", "caller")
    token = cluster.token(namespace, "caller", ["some-service"], pod="caller-0")
    payload = decode_base64url(token.encode().split(b".")[1])
    assert msgspec.json.decode(payload)["sub"] == f"system:serviceaccount:{namespace}:caller"
    assert _encode(_decode(payload)) == payload
