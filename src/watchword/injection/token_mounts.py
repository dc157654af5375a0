# SPDX-License-Identifier: Apache-2.0
"""A token in a pod: its projected volume, the mount of it in the author's containers, and their variables."""

import posixpath
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from watchword.injection import names
from watchword.injection.calls import Call
from watchword.injection.exchanges import Exchange
from watchword.injection.pod_form import PodShape
from watchword.injection.refusals import InjectionRefusal, RefusalCode

_CONTAINERS: Final = ("containers", "initContainers", "ephemeralContainers")


class TokenMount(msgspec.Struct, frozen=True):
    """What becomes part of a pod that was given tokens.

    Attributes:
        label: the label that asked for them.
        volume: the volume's name.
        folder: where it is mounted.
        sources: the tokens, each with its audience, its seconds and its file.
        variables: what the containers are told, by the variables' names.
    """

    label: str
    volume: str
    folder: str
    sources: tuple[tuple[str, int, str], ...]
    variables: Mapping[str, str]

    def add_to(self, pod: dict[str, Any], shape: PodShape) -> InjectionRefusal | None:
        """Add the volume, its mounts and the variables to a pod; the refusal where something is there.

        Args:
            pod: the pod, which is changed.
            shape: the pod as its author wrote it.
        """
        taken = taken_volumes(shape, {self.volume}) or self._taken_path(shape)
        if taken is not None:
            return taken
        pod["spec"]["volumes"] = [*(pod["spec"].get("volumes") or []), self._projected()]
        added = {"name": self.volume, "mountPath": self.folder, "readOnly": True}
        for field in _CONTAINERS:
            for container in pod["spec"].get(field) or []:
                if container["name"] == names.GATE_CONTAINER:
                    continue
                container["volumeMounts"] = [*(container.get("volumeMounts") or []), added]
                given = container.get("env") or []
                # What the author wrote stands: the SDK then goes by that.
                there = {each["name"] for each in given}
                wanted = [{"name": k, "value": v} for k, v in self.variables.items() if k not in there]
                if wanted:
                    container["env"] = [*given, *wanted]
        return None

    def _projected(self) -> dict[str, Any]:
        """The projected volume (Kubernetes, "Projected volumes"): one audience a source."""
        sources = [
            {"serviceAccountToken": {"audience": audience, "expirationSeconds": seconds, "path": path}}
            for audience, seconds, path in self.sources
        ]
        return {"name": self.volume, "projected": {"defaultMode": 0o444, "sources": sources}}

    def _taken_path(self, shape: PodShape) -> InjectionRefusal | None:
        for path, container in shape.containers():
            for place, mount in enumerate(container.volume_mounts or ()):
                normal = posixpath.normpath(mount.mount_path)
                # Below it is taken too: a container cannot mount into a volume that is read-only, or would
                # read another file in the token's place.
                if f"{normal}/".startswith(f"{self.folder}/"):
                    detail = f"something is mounted at {self.folder} already"
                    field = f"{path}.volumeMounts[{place}].mountPath"
                    remedy = f"mount it elsewhere, or remove the label {self.label}"
                    return InjectionRefusal(RefusalCode.PATH_TAKEN, field, detail, remedy)
        return None


def mount_of_calls(calls: list[Call]) -> TokenMount:
    """The tokens of a pod that calls services."""
    return TokenMount(
        label=names.CALL_LABEL,
        volume=names.TOKEN_VOLUME,
        folder=names.TOKEN_FOLDER,
        sources=tuple((each.audience, each.seconds, each.path) for each in calls),
        variables={names.TOKEN_VARIABLE: f"{names.TOKEN_FOLDER}/{names.TOKEN_FILE}"},
    )


def mount_of_exchange(exchange: Exchange) -> TokenMount:
    """The token of a pod that exchanges, and where its desk is."""
    return TokenMount(
        label=names.EXCHANGE_LABEL,
        volume=names.DESK_TOKEN_VOLUME,
        folder=names.DESK_TOKEN_FOLDER,
        sources=((exchange.audience, names.TOKEN_SECONDS, names.TOKEN_FILE),),
        variables={
            names.DESK_VARIABLE: exchange.url,
            names.DESK_TOKEN_VARIABLE: f"{names.DESK_TOKEN_FOLDER}/{names.TOKEN_FILE}",
        },
    )


def taken_volumes(shape: PodShape, ours: set[str]) -> InjectionRefusal | None:
    """Why a pod cannot be given volumes of these names; None: it can."""
    for place, volume in enumerate(shape.spec.volumes or ()):
        if volume.name in ours:
            detail = f"a volume is called {volume.name} already"
            field = f"spec.volumes[{place}].name"
            return InjectionRefusal(RefusalCode.NAME_TAKEN, field, detail, "give it another name")
    return None
