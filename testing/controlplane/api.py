# SPDX-License-Identifier: Apache-2.0
"""A small client of the Kubernetes API on plain `httpx`: requests, errors as values one can compare, apply.

Not the `kubernetes` package: the tests of the gate must not bring in what the gate itself may never import,
and raw requests show what was really sent.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from testing.controlplane.process import wait_until

Json = dict[str, Any]
_APPLY = "application/apply-patch+yaml"  # JSON is YAML


class ApiError(Exception):
    """The API server refused: its HTTP status, the reason of its `Status` object, and its message."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class ApiClient:
    """Speaks to one API server, TLS verified against the cluster's own authority."""

    def __init__(self, url: str, authority: Path, bearer: str) -> None:
        self.url = url
        # Environment proxies have no business between a test and 127.0.0.1.
        self._client = httpx.Client(
            base_url=url,
            verify=ssl.create_default_context(cafile=str(authority)),
            headers={"Authorization": f"Bearer {bearer}"},
            timeout=30.0,
            trust_env=False,
        )
        self._plurals: dict[tuple[str, str], tuple[str, bool]] = {}

    def __repr__(self) -> str:
        return f"ApiClient(url={self.url!r})"

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def is_ready(self) -> bool:
        """Whether `/readyz` says so."""
        try:
            return self._client.get("/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def request(
        self,
        method: str,
        path: str,
        json: Json | None = None,
        *,
        parameters: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        bearer: str | None = None,
    ) -> Json:
        """Send one request and return the JSON object of the answer.

        `bearer` replaces the administrator's token, to ask as somebody else. Raises `ApiError` for a status
        of 400 and up.
        """
        headers = {"Content-Type": content_type} if json is not None else {}
        if bearer is not None:
            headers["Authorization"] = f"Bearer {bearer}"
        answer = self._client.request(method, path, json=json, params=parameters, headers=headers)
        body = answer.json() if "json" in answer.headers.get("Content-Type", "") else {"message": answer.text}
        if answer.is_error:
            raise ApiError(
                answer.status_code, body.get("reason", answer.reason_phrase), body.get("message", "")
            )
        if not isinstance(body, dict):
            raise ApiError(
                answer.status_code, "NotAnObject", f"{method} {path} answered with a JSON {type(body)}"
            )
        return body

    def apply(self, manifest: Json, *, field_manager: str = "watchword-tests") -> Json:
        """Server-side apply one object, taking over fields of other managers; return it as stored.

        After a CustomResourceDefinition it waits until the new resource is served. Raises `ApiError` when
        admission refuses it and `LookupError` for a kind that is not served.
        """
        stored = self.request(
            "PATCH",
            self.path_of(manifest),
            manifest,
            parameters={"fieldManager": field_manager, "force": "true"},
            content_type=_APPLY,
        )
        if manifest["kind"] == "CustomResourceDefinition":
            self._wait_until_served(stored)
        return stored

    def path_of(self, manifest: Json) -> str:
        """The URL path of the object that a manifest describes, as discovery says. Raises `LookupError`."""
        version, kind, metadata = manifest["apiVersion"], manifest["kind"], manifest["metadata"]
        plural, is_namespaced = self._resource(version, kind)
        place = f"/namespaces/{quote(metadata.get('namespace', 'default'), safe='')}" if is_namespaced else ""
        return f"{_group_path(version)}{place}/{plural}/{quote(metadata['name'], safe='')}"

    def _resource(self, version: str, kind: str) -> tuple[str, bool]:
        if (version, kind) not in self._plurals:
            for resource in self._served(version):
                if "/" not in resource["name"]:
                    self._plurals[version, resource["kind"]] = (resource["name"], resource["namespaced"])
        try:
            return self._plurals[version, kind]
        except KeyError:
            raise LookupError(f"{version} {kind} is not served here: apply its CRD first") from None

    def _served(self, version: str) -> list[Json]:
        try:
            resources: list[Json] = self.request("GET", _group_path(version))["resources"]
        except ApiError as error:
            if error.status == httpx.codes.NOT_FOUND:
                return []
            raise
        return resources

    def _wait_until_served(self, definition: Json) -> None:
        specification = definition["spec"]
        plural = specification["names"]["plural"]
        for version in specification["versions"]:
            if version["served"]:
                name = f"{specification['group']}/{version['name']}"

                def is_served(name: str = name) -> bool:
                    return any(resource["name"] == plural for resource in self._served(name))

                wait_until(is_served, what=f"{plural} of {name} served")


def _group_path(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"
