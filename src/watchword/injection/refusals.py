# SPDX-License-Identifier: Apache-2.0
"""Why a pod cannot be injected, as a value: a code that stays, what is wrong, and what would be right."""

from enum import StrEnum

import msgspec


class RefusalCode(StrEnum):
    """Why not."""

    BAD_LABEL = "BadLabel"
    NAMESPACE_NOT_ENABLED = "NamespaceNotEnabled"
    NO_SERVICE = "NoService"
    SEVERAL_SERVICES = "SeveralServices"
    SERVICE_NOT_FOUND = "ServiceNotFound"
    DESK_NOT_FOUND = "DeskNotFound"
    AUDIENCE_NOT_PUBLISHED = "AudienceNotPublished"
    CLUSTER_UNKNOWN = "ClusterUnknown"
    SEVERAL_REPLICAS = "SeveralReplicas"
    LIFETIME_TOO_SHORT = "LifetimeTooShort"
    PORT_TAKEN = "PortTaken"
    NAME_TAKEN = "NameTaken"
    PATH_TAKEN = "PathTaken"
    HOST_NETWORK = "HostNetwork"
    NOT_LINUX = "NotLinux"
    NOT_A_POD = "NotAPod"


class InjectionRefusal(msgspec.Struct, frozen=True):
    """One reason for which a pod is refused.

    Attributes:
        code: why, as a stable code.
        field: the path of the field at fault.
        detail: what is wrong.
        remedy: what would be right.
    """

    code: RefusalCode
    field: str
    detail: str
    remedy: str

    def __str__(self) -> str:
        what = f"Watchword cannot inject this pod ({self.code})"
        return f"{what}: {self.field}: {self.detail}. Remedy: {self.remedy}."
