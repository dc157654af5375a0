# SPDX-License-Identifier: Apache-2.0
"""The webhook under the very roles that are installed: nothing denied, and nothing that it may do unused."""

from __future__ import annotations

from pathlib import Path

from testing.controlplane import Cluster
from testing.controlplane.audit import AuditLog, rights
from testing.controlplane.process import reserved_port
from tests.cluster.webhook.conftest import CONFIGURATION, SYSTEM, RunningWebhook, running_webhook
from tests.shipped import rights_of, user

# What the chart gives it besides where there is a desk; test_exchange.py, next to this, needs all of it.
OF_DESKS = rights([{"apiGroups": ["watchword.dev"], "resources": ["tokendesks"], "verbs": ["list", "watch"]}])


def test_it_uses_the_rights_that_it_has_and_asks_for_no_other(
    installed: Cluster, webhook: RunningWebhook, audit_log: AuditLog, tmp_path: Path
) -> None:
    path = f"/api/v1/namespaces/{SYSTEM}/secrets/watchword-webhook-tls"
    secret = installed.request("GET", path)
    installed.request("PUT", path, {**secret, "data": {"tls.crt": "", "tls.key": ""}})
    with reserved_port() as port:
        pass
    with running_webhook(installed, tmp_path, port, name="second"):
        pass
    installed.request("DELETE", path)
    with running_webhook(installed, tmp_path, port, name="third"):
        pass
    requests = list(audit_log.requests(user(CONFIGURATION)))
    assert sorted({str(each.access) for each in requests if each.status in (401, 403)}) == []
    used = {right for request in requests for right in request.uses}
    assert used - OF_DESKS == rights_of(CONFIGURATION)
