# SPDX-License-Identifier: Apache-2.0
"""The flags of `sidecar` that say which ConfigMap to follow, of which API server and as whom.

In a pod all but the name is where the kubelet puts it. What is said by a flag wins, piece by piece; what is
said without --watch would do nothing, and is refused rather than believed.
"""

import os
from collections.abc import Mapping
from typing import TypedDict

import click

from watchword.cli.failures import UnusableInput
from watchword.gate import FollowedConfigMap
from watchword.kube.names import NamespacedName


class FollowFlags(TypedDict):
    """What click gives for the flags."""

    watch: NamespacedName | None
    api_server: str | None
    api_token_file: str | None
    api_ca_file: str | None
    watch_window_seconds: int


def followed_config_map(
    flags: FollowFlags, environ: Mapping[str, str] = os.environ, folder: str | None = None
) -> FollowedConfigMap | None:
    """The ConfigMap that the flags ask to follow; None when they ask for none.

    Raises:
        click.UsageError: a flag that means nothing without --watch.
        UnusableInput: no API server is named and this is no pod, or its URL is none.
    """
    url, token_file, ca_file = flags["api_server"], flags["api_token_file"], flags["api_ca_file"]
    if flags["watch"] is None:
        given = {"--api-server": url, "--api-token-file": token_file, "--api-ca-file": ca_file}
        if unused := [flag for flag, value in given.items() if value is not None]:
            raise click.UsageError(f"{unused[0]} is given without --watch; say which ConfigMap to follow.")
        return None
    # Imported only here: a gate that follows no API server does not carry what it takes.
    from watchword.kube.watch.endpoint import ACCOUNT_FOLDER, Endpoint, in_cluster

    folder = folder or ACCOUNT_FOLDER
    try:
        url = in_cluster(environ, folder).url if url is None else url
        endpoint = Endpoint(
            url,
            ca_file=ca_file or _mounted(f"{folder}/ca.crt"),
            token_file=token_file or _mounted(f"{folder}/token"),
        )
    except ValueError as error:
        sentence, _, remedy = str(error).partition("; ")
        raise UnusableInput(f"--api-server: {sentence}.", f"{remedy[:1].upper()}{remedy[1:]}.") from None
    namespace, name = flags["watch"]
    return FollowedConfigMap(endpoint, namespace, name, float(flags["watch_window_seconds"]))


def _mounted(path: str) -> str | None:
    return path if os.path.exists(path) else None
