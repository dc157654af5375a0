# SPDX-License-Identifier: Apache-2.0
"""Who is calling, as far as signed bytes and the policy prove it."""

import msgspec

from watchword.identity.desk_claims import DeskClaims
from watchword.identity.policy import Grant


class Identity(msgspec.Struct, frozen=True, gc=False):
    """The answer "yes": who is calling, as far as signed bytes and the policy prove it.

    Attributes:
        issuer: the name of the ClusterTrustedIssuer.
        subject: `system:serviceaccount:<namespace>:<name>`.
        workload: `namespace/name` of the TrustedWorkload.
        grants: what it may do.
        token_id: the `jti` of the token that was presented, or the empty string.
        key_thumbprint: RFC 7638 thumbprint of the key that signed.
        pod: the pod's name, or the empty string.
        valid_from: seconds since the epoch; before it, the answer has to be found again.
        valid_until: seconds since the epoch; from then on, the answer has to be found again.
        desk: what the desk token says that was presented: it must allow a request as well. None: it was the
            workload's own token.
    """

    issuer: str
    subject: str
    workload: str
    grants: tuple[Grant, ...]
    token_id: str
    key_thumbprint: str
    pod: str
    valid_from: float
    valid_until: float
    desk: DeskClaims | None = None
