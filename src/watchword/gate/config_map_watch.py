# SPDX-License-Identifier: Apache-2.0
"""The watch of one ConfigMap that a gate reads: the bundle's, and that of the revocations next to it."""

from typing import Final

from watchword.gate.settings import FollowedConfigMap
from watchword.kube.watch import ObjectMeta, Part, Resource, Watch

# A list as well, now and then: should a watch ever leave something out, it is not for good.
RELIST_SECONDS: Final = 600.0


class ConfigMap(Part, frozen=True, gc=False):
    """As much of a ConfigMap as a gate reads."""

    metadata: ObjectMeta
    data: dict[str, str] | None = None
    binary_data: dict[str, bytes] | None = None


def config_map_watch(followed: FollowedConfigMap, name: str) -> Watch[ConfigMap]:
    """A watch, not yet begun, of one ConfigMap in the namespace that is followed.

    Args:
        followed: by which API server, in which namespace, and for how many seconds a watch may be silent.
        name: the ConfigMap's name.
    """
    return Watch(
        followed.endpoint,
        Resource.one("configmaps", followed.namespace, name),
        ConfigMap,
        _itself,
        window_seconds=followed.window_seconds,
        relist_seconds=RELIST_SECONDS,
        is_relisted_after_failure=True,
    )


def _itself(found: ConfigMap) -> ConfigMap:
    return found
