# SPDX-License-Identifier: Apache-2.0
"""Whether the MutatingWebhookConfiguration is there, where someone else keeps the webhook's certificate.

Without it no API server asks, and pods that want a gate are given none: a webhook that says it is ready then
hides that. Where the webhook keeps its own certificate, `certificate_rotation` looks at it anyway.
"""

import asyncio
from typing import Final

from watchword.kube.requests import ApiClient, UnavailableError
from watchword.kube.watch import Backoff
from watchword.process.logs import LOGGER

CONFIGURATIONS: Final = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
CHECK_SECONDS: Final = 60.0
_TIMEOUT_SECONDS: Final = 10.0


def no_configuration(name: str) -> str:
    """What to say of a configuration that is not there."""
    return (
        f"there is no MutatingWebhookConfiguration {name}; install the chart's, or name yours with "
        "--configuration"
    )


class ConfigurationCheck:
    """Looks every minute whether a MutatingWebhookConfiguration is there.

    Attributes:
        is_served: it has looked once, whatever came of it: the certificate was loaded before.
        is_configured: the configuration was there when that was last known.
        problem: what is wrong, for readiness; None when all is well.
    """

    def __init__(self, client: ApiClient, configuration: str) -> None:
        """Look for the configuration of this name."""
        self._client, self._name = client, configuration
        self.is_served, self.is_configured = False, True
        self.problem: str | None = "the webhook's configuration was not looked for yet"

    async def run(self) -> None:
        """Look until cancelled."""
        backoff = Backoff()
        while True:
            was = self.problem
            await self.check()
            if self.problem is None:
                backoff.reset()
                await asyncio.sleep(CHECK_SECONDS)
                continue
            if self.problem != was:
                LOGGER.warning(
                    "the webhook's configuration is not as it should be", extra={"detail": self.problem}
                )
            await asyncio.sleep(backoff.next())

    async def check(self) -> None:
        """Look once. What cannot be seen changes nothing, and is said."""
        await self._look()
        self.is_served = True

    async def _look(self) -> None:
        path = f"{CONFIGURATIONS}/{self._name}"
        try:
            found = await self._client.request("GET", path, timeout_seconds=_TIMEOUT_SECONDS)
        except UnavailableError as away:
            self.problem = f"the MutatingWebhookConfiguration {self._name} cannot be looked at: {away}"
            return
        if found.status == 200:
            self.is_configured, self.problem = True, None
        elif found.status == 404:
            self.is_configured, self.problem = False, no_configuration(self._name)
        else:
            self.problem = (
                f"the MutatingWebhookConfiguration {self._name} cannot be looked at: the API server answers "
                f"{found.status}; let the webhook `get` it, as the chart does"
            )
