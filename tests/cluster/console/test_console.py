# SPDX-License-Identifier: Apache-2.0
"""The console on a real API server with a real operator: what it shows, whom it tells what, what it costs."""

from __future__ import annotations

import html
import json
import re
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from testing.controlplane import Cluster, wait_until
from testing.controlplane.process import running
from testing.logs import log_lines
from testing.tokens import Signer
from testing.unavailable import skip_or_fail
from tests.cluster.console.conftest import Place
from tests.cluster.console.kubelet import serving_log
from tests.cluster.keys.contexts import write_contexts
from tests.console.running import Console, active_elements, console_of
from tests.console.test_pages import row, shown
from watchword.cli.failures import UnusableInput
from watchword.console.cluster import ClusterSource
from watchword.trust.timestamps import rfc3339

READ = {"apiGroups": ["watchword.dev"], "resources": ["*"], "verbs": ["get", "list"]}
PAGES = ("/", "/services", "/workloads", "/issuers", "/refusals", "/token", "/desks")


def commands_of(page: str) -> list[str]:
    return [
        html.unescape(each) for each in re.findall(r"<pre[^>]*><code>(.*?)</code></pre>", page, re.DOTALL)
    ]


def eventually(console: Console, path: str, *said: str) -> str:
    """The page, once it says all of this."""
    wait_until(
        lambda: all(each in shown(console.page(path)) for each in said),
        what=f"{path} says {said}",
        timeout_seconds=180,
    )
    return console.page(path)


def run(command: str) -> None:
    """Run what a page shows, as a person pastes it."""
    words = shlex.split(command)
    if words[0] == "watchword":
        words = [sys.executable, "-m", "watchword.cli.main", *words[1:], "--yes"]
    subprocess.run(words, check=True, capture_output=True, timeout=120)


def test_the_page_of_a_service_says_what_its_gates_run_on(place: Place) -> None:
    with console_of(place.admin()) as console:
        page = console.page(f"/services/{place.name}")
        atlas = row(page, "atlas")
        assert "May call" in atlas
        assert "projects:read for account acme" in atlas
        assert f"ServiceAccount {place.namespace}/atlas of here" in atlas
        assert f"/{place.namespace}/api" in shown(page).partition("Who may call it")[0]
        assert "Published" in page
        for each in PAGES:
            assert active_elements(console.page(each)) == []


def test_the_command_that_a_page_shows_makes_the_change(place: Place) -> None:
    with console_of(place.admin()) as console:
        shown_commands = commands_of(console.page(f"/workloads/{place.name.replace('/api', '/atlas')}"))
        [suspend] = [each for each in shown_commands if '"suspend":true' in each]
        run(suspend)
        page = eventually(console, f"/services/{place.name}", "0 workloads may call")
        assert "Suspended" in row(page, "atlas")
        page = eventually(console, f"/workloads/{place.namespace}/atlas", "Switch its trust on again")
        [resume] = [each for each in commands_of(page) if '"suspend":false' in each]
        run(resume)
        eventually(console, f"/services/{place.name}", "1 workload may call")
        [delete] = [each for each in shown_commands if " delete " in each]
        run(delete)
        eventually(console, f"/services/{place.name}", "No one may call it yet")


def test_a_service_that_only_reports_is_shown_as_letting_everyone_in(place: Place) -> None:
    label = {"watchword.dev/report-only": "allowed"}
    metadata = {"name": place.namespace, "labels": label}
    place.operated.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    until = rfc3339(time.time() + 24 * 3600)
    spec = {**place.service["spec"], "reportOnlyUntil": until}
    place.operated.apply({**place.service, "spec": spec})
    with console_of(place.admin()) as console:
        page = eventually(console, f"/services/{place.name}", f"Until {until}")
        assert "Only reports" in shown(page)
        for path in ("/", "/services"):
            eventually(console, path, "Only reports")
        token = place.operated.cluster.token(place.namespace, "atlas")
        answer = console.post("/token", {"service": place.name, "token": token})
        assert "Passes all the same" in shown(answer.text)
        assert f"only report until {until}" in shown(answer.text)
    place.operated.apply({**place.service, "spec": place.service["spec"]})
    with console_of(place.admin()) as console:
        eventually(console, f"/services/{place.name}", "1 workload may call")
        wait_until(
            lambda: "Only reports" not in console.page(f"/services/{place.name}"),
            what="the service enforces again",
            timeout_seconds=120,
        )


def test_a_key_that_waits_is_shown_with_the_command_that_approves_it(place: Place) -> None:
    first, second = Signer("first"), Signer("second")
    name = f"approve-{place.namespace}"

    def serve(*keys: Signer) -> None:
        place.operated.apply(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"namespace": place.namespace, "name": "keys"},
                "data": {"jwks.json": json.dumps({"keys": [each.jwk for each in keys]})},
            }
        )

    serve(first)
    source = {"configMap": {"namespace": place.namespace, "name": "keys"}}
    rotation = {"policy": "Approve", "approved": [first.key.thumbprint]}
    issuer = place.operated.trusted_issuer(
        name=name, issuer=f"https://{name}.example", keys=source, rotation=rotation
    )
    place.operated.apply(issuer)
    place.operated.wait_for(issuer, "Ready/KeysTrusted")
    with console_of(place.admin()) as console:
        assert name not in shown(console.page("/")).partition("What is not well")[0]
        serve(first, second)
        page = eventually(console, f"/issuers/{name}", "1 key waits for approval")
        assert "Pending" in row(page, second.key.thumbprint)
        assert "Active" in row(page, first.key.thumbprint)
        [approve] = [each for each in commands_of(page) if " approve " in each]
        assert approve in commands_of(console.page("/"))
        assert second.key.thumbprint in approve
        run(approve)
        wait_until(
            lambda: "Active" in row(console.page(f"/issuers/{name}"), second.key.thumbprint),
            what="the approved key is active",
            timeout_seconds=180,
        )


def test_a_real_token_is_judged_by_the_published_bundle(place: Place) -> None:
    token = place.operated.token(place.namespace)
    with console_of(place.admin()) as console:
        asked = {"service": place.name, "token": token, "method": "GET", "path": "/projects/acme"}
        assert f"Accepted as {place.namespace}/atlas" in shown(console.post("/token", asked).text)
        refused = shown(console.post("/token", {**asked, "path": "/projects/globex"}).text)
        assert "Refused: account_not_granted" in refused


def test_a_person_with_few_rights_sees_those_objects_and_is_told_what_the_rest_needs(place: Place) -> None:
    few = [{"apiGroups": ["watchword.dev"], "resources": ["protectedservices"], "verbs": ["get", "list"]}]
    source = place.person("few", few)
    with console_of(source) as console:
        text = shown(console.page("/services"))
        assert place.name in text
        assert "you may not list protectedservices.watchword.dev in the whole cluster" in text
        assert f"Shown is {place.namespace} alone" in text
        assert f"you may not list trustedworkloads.watchword.dev in the namespace {place.namespace}" in text
        assert "you may not list clustertrustedissuers.watchword.dev in the whole cluster" in text
        text = shown(console.page(f"/services/{place.name}"))
        assert (
            f"you may not get the ConfigMap watchword-bundle-api in the namespace {place.namespace}" in text
        )
        # Nothing is said about who may call, where neither the bundle nor the workloads are known.
        assert "may call, by the bundle" not in text
        text = shown(console.page(f"/refusals?service={place.name}"))
        assert f"you may not list pods in the namespace {place.namespace}" in text
        asked = {"service": place.name, "token": "a.b.c"}
        assert "you may not get the ConfigMap" in shown(console.post("/token", asked).text)


def test_without_the_bundle_no_workload_is_said_to_be_let_in(place: Place) -> None:
    with console_of(place.person("reader", [READ])) as console:
        page = console.page(f"/services/{place.name}")
        assert "May call" not in page
        assert "what is declared, and not who is let in" in shown(page)
        assert "Ready" in row(page, "atlas")


def test_with_no_right_at_all_every_kind_is_named_and_no_page_fails(place: Place) -> None:
    source = place.person("nothing", [], place.namespace)
    with console_of(source) as console:
        for path in PAGES:
            assert console.get(path).status == 200
        text = shown(console.page("/"))
    for kind in (
        "protectedservices",
        "trustedworkloads",
        "clustertrustedissuers",
        "tokendesks",
        "deskclients",
        "agentproviders",
    ):
        assert f"you may not list {kind}.watchword.dev" in text


def test_a_namespace_that_is_not_read_is_not_shown(place: Place) -> None:
    other = place.operated.new_namespace()
    place.operated.apply(place.operated.service(other, "elsewhere"))
    with console_of(place.admin(place.namespace)) as console:
        assert f"{other}/elsewhere" not in console.page("/services")
        assert console.get(f"/services/{other}/elsewhere").status == 404


def test_a_page_costs_a_fixed_number_of_requests_however_much_there_is(place: Place) -> None:
    for number in range(30):
        grants = [{"scopes": ["projects:read"], "accounts": [f"account-{number}"]}]
        place.operated.apply(place.operated.workload(place.namespace, f"more-{number}", grants=grants))
    source = place.admin()
    with console_of(source) as console:
        for path, most in (
            # One for each kind.
            ("/services", 6),
            ("/workloads", 6),
            (f"/services/{place.name}", 7),
            ("/issuers/here", 6),
        ):
            # A first reading may still run behind; what is counted is one page after all is quiet.
            before = source.calls
            console.page(path)
            assert source.calls - before <= most, path


def test_no_page_holds_a_credential_of_the_cluster(place: Place) -> None:
    source = place.person("secretive", [READ])
    config = json.loads((place.folder / "secretive-kubeconfig").read_text())
    token = config["users"][0]["user"]["token"]
    with console_of(source) as console:
        answers = [console.get(path) for path in (*PAGES, f"/services/{place.name}", "/issuers/here")]
    for each in answers:
        assert token not in each.text + json.dumps(dict(each.headers))
        assert token.rpartition(".")[2] not in each.text


def test_a_cluster_without_watchword_is_told_so(
    other_cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    write_contexts(tmp_path / "kubeconfig", {"there": other_cluster})
    with console_of(ClusterSource("there", str(tmp_path / "kubeconfig"), ())) as console:
        text = shown(console.page("/services"))
    assert "the cluster does not know protectedservices.watchword.dev" in text
    assert "docs/how-to/install.md" in text


def test_a_cluster_that_does_not_answer_is_said_at_the_start_and_on_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "x", "cluster": {"server": f"https://127.0.0.1:{taken.getsockname()[1]}"}}],
            "contexts": [{"name": "x", "context": {"cluster": "x"}}],
            "current-context": "x",
        }
        (tmp_path / "kubeconfig").write_text(json.dumps(config))
        source = ClusterSource(None, str(tmp_path / "kubeconfig"), ())
        with pytest.raises(UnusableInput, match="kubectl get failed"):
            source.read()
        with console_of(source) as console:
            answer = console.get("/services")
            assert (answer.status, "Nothing can be read" in answer.text) == (502, True)


def own_address() -> str:
    """An address of this machine that is not loopback: an API server passes on to no other."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError as error:
            skip_or_fail(
                "refusals of a gate", f"no address: {error}", required_by="WATCHWORD_REQUIRE_CLUSTER"
            )
        return str(probe.getsockname()[0])


def node_at(place: Place, address: str, port: int) -> str:
    """A node whose kubelet is at an address."""
    name = f"node-{place.namespace}"
    place.operated.cluster.create_node(name)
    endpoints = {"kubeletEndpoint": {"Port": port}}
    status = {"addresses": [{"type": "InternalIP", "address": address}], "daemonEndpoints": endpoints}
    place.operated.merge(f"/api/v1/nodes/{name}/status", {"status": status})
    return name


def gate_pod(place: Place, node: str, address: str, port: int) -> dict[str, Any]:
    """A pod of the service, behind which the gate at this address is."""
    arguments = [f"--ops-listen=0.0.0.0:{port}"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": place.namespace, "name": "api-0", "labels": {"app": "api"}},
        "spec": {
            "serviceAccountName": "atlas",
            "nodeName": node,
            "containers": [{"name": "watchword-gate", "image": "registry.invalid/gate:1", "args": arguments}],
        },
        "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
    }


def test_refusals_are_read_from_a_real_gate_through_the_api_server(place: Place, tmp_path: Path) -> None:
    address = own_address()
    bundle = tmp_path / "bundle.json"
    stored = place.operated.config_map(place.namespace)
    assert stored is not None
    bundle.write_text(stored["data"]["bundle.v2.json"])
    log = tmp_path / "gate.log"
    flags = [
        "--bundle",
        str(bundle),
        "--usage-dsn",
        "sqlite:///:memory:",
        "--listen",
        "127.0.0.1:0",
        "--ops-listen",
        f"{address}:0",
    ]
    command = [sys.executable, "-m", "watchword.cli.main", "sidecar", *flags]

    def listening() -> dict[str, Any] | None:
        return next(iter(log_lines(log, "listening")), None)

    with (
        running(command, log=log, is_ready=lambda: listening() is not None, timeout_seconds=60.0),
        serving_log(address, log, tmp_path / "kubelet") as kubelet,
    ):
        found = listening()
        assert found is not None
        gate, ops = found["listen"], found["ops_listen"]
        token = place.operated.token(place.namespace)
        for path, header in (
            ("/projects/globex", token),
            ("/projects/globex", token),
            ("/projects/acme", "a.b.c"),
        ):
            ask(gate, path, header)
        node = node_at(place, address, kubelet.port)
        pod = gate_pod(place, node, address, int(ops.rpartition(":")[2]))
        place.operated.apply(pod)
        place.operated.merge(
            f"/api/v1/namespaces/{place.namespace}/pods/api-0/status", {"status": pod["status"]}
        )
        with console_of(place.admin()) as console:
            page = console.page(f"/refusals?service={place.name}")
            assert row(page, "account_not_granted") == "account_not_granted 2"
            assert row(page, "malformed_token") == "malformed_token 1"
            caller = row(page, f"{place.namespace}/atlas")
            assert "account_not_granted" in caller
            assert " 2 " in caller
            assert row(page, "not proven").startswith("not proven malformed_token")
            filtered = console.page(f"/refusals?service={place.name}&reason=malformed_token")
            assert "not proven" in shown(filtered)
            assert place.namespace + "/atlas" not in shown(filtered).partition("By caller")[2]
            assert token.rpartition(".")[2] not in page
        assert kubelet.targets[0].startswith(f"/containerLogs/{place.namespace}/api-0/watchword-gate?")
        assert "tailLines=1000" in kubelet.targets[0]
        reader = place.person(
            "watcher", [READ, {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]
        )
        with console_of(reader) as console:
            text = shown(console.page(f"/refusals?service={place.name}"))
            assert f"you may not get pods/proxy in the namespace {place.namespace}" in text
            assert f"you may not get pods/log in the namespace {place.namespace}" in text
            assert "No gate's counters were read" in text


def ask(gate: str, path: str, token: str) -> None:
    """Ask a gate about a request, as nginx does."""
    import http.client

    host, _, port = gate.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    headers = {
        "Authorization": f"Bearer {token}",
        "X-Original-Method": "GET",
        "X-Original-URI": path,
    }
    connection.request("GET", "/authz/nginx", headers=headers)
    connection.getresponse().read()
    connection.close()
