# SPDX-License-Identifier: Apache-2.0
"""A ClusterTrustedIssuer as the cluster has it now, read and edited through kubectl.

What is approved is approved of the very object that was shown: the edit carries its resourceVersion, so a
change in between is a conflict and never a surprise.
"""

import json
from typing import Any, Final

import msgspec

from watchword.cli.failures import UnusableInput
from watchword.cli.kubectl import run_kubectl
from watchword.trust.api.v1alpha1 import ClusterTrustedIssuer
from watchword.trust.issuers import revoked_keys
from watchword.trust.key_rotation.held_keys import HeldKey, held_from_status

RESOURCE: Final = "clustertrustedissuers.watchword.dev"
FIELD_MANAGER: Final = "watchword-cli"
_TRIES: Final = 3


class IssuerObject(msgspec.Struct, frozen=True):
    """An issuer with what its status says.

    Attributes:
        issuer: the object.
        resource_version: of the object as it was read.
        held: the keys that its status names.
        revoked: thumbprints that no policy trusts.
        revocations: `spec.revoked`, as it is written.
    """

    issuer: ClusterTrustedIssuer
    resource_version: str
    held: tuple[HeldKey, ...]
    revoked: frozenset[str]
    revocations: tuple[dict[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """The object's name."""
        return self.issuer.metadata.name

    @property
    def approved(self) -> tuple[str, ...]:
        """The thumbprints that are approved now."""
        return self.issuer.spec.rotation.approved


def read_issuer(name: str, *, context: str | None, kubeconfig: str | None) -> IssuerObject:
    """Read one.

    Raises:
        UnusableInput: kubectl fails, or what it prints is no ClusterTrustedIssuer.
    """
    printed = run_kubectl("get", RESOURCE, name, "--output=json", context=context, kubeconfig=kubeconfig)
    try:
        document: dict[str, Any] = json.loads(printed)
        issuer = msgspec.convert(
            {"metadata": document["metadata"], "spec": document["spec"]}, ClusterTrustedIssuer
        )
        version = str(document["metadata"]["resourceVersion"])
        status = document.get("status") or {}
        held = held_from_status(status.get("keys"))
        revocations = tuple(document["spec"].get("revoked") or ())
        return IssuerObject(issuer, version, held, revoked_keys(issuer.spec), revocations)
    except (ValueError, KeyError, TypeError, AttributeError, msgspec.ValidationError):
        raise UnusableInput(
            f"What the cluster holds as {RESOURCE} {name} is not what this version knows.",
            "Use the watchword that belongs to the cluster's CRDs.",
        ) from None


def write_spec(
    read: IssuerObject, changes: dict[str, Any], *, context: str | None, kubeconfig: str | None
) -> None:
    """Merge changes into `spec`, if it still is what was read; lists are written whole.

    A status that the operator wrote meanwhile is no obstacle: a thumbprint means the same key as before.

    Raises:
        UnusableInput: the spec was changed meanwhile, or kubectl fails.
    """
    manager = f"--field-manager={FIELD_MANAGER}"
    current = read
    for _ in range(_TRIES):
        patch = {"metadata": {"resourceVersion": current.resource_version}, "spec": changes}
        arguments = (RESOURCE, read.name, "--type=merge", f"--patch={json.dumps(patch)}")
        try:
            run_kubectl("patch", *arguments, manager, context=context, kubeconfig=kubeconfig)
        except UnusableInput as failed:
            if "(Conflict)" not in failed.message:
                raise
            current = read_issuer(read.name, context=context, kubeconfig=kubeconfig)
            if (
                current.issuer.spec != read.issuer.spec
                or current.issuer.metadata.uid != read.issuer.metadata.uid
            ):
                break
        else:
            return
    raise UnusableInput(
        f"{read.name} was changed while you looked at it; nothing is written.", "Run the command again."
    )
