# SPDX-License-Identifier: Apache-2.0
"""Requests through the `kubernetes` package's pooled client, with its credentials and plain bytes as bodies.

Its typed models are left alone: they would cost memory for each object and know nothing of our kinds.
"""

from typing import Any

import urllib3

from watchword.operator.apply import Answer
from watchword.operator.election import WRITE_TIMEOUT_SECONDS


class KubernetesTransport:
    """One request at a time for each calling thread."""

    def __init__(self, client: Any) -> None:
        """Use a `kubernetes.client.ApiClient`."""
        self._client = client

    def __call__(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> Answer:
        """Make one request. Raises OSError when there is no answer."""
        client = self._client
        client.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        url = client.configuration.host + path
        try:
            answer = client.rest_client.pool_manager.request(
                method,
                url,
                body=body,
                headers=headers,
                timeout=urllib3.Timeout(total=WRITE_TIMEOUT_SECONDS),
                retries=False,
                redirect=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise OSError(type(error).__name__) from None
        return Answer(answer.status, answer.data)
