# SPDX-License-Identifier: Apache-2.0
"""Each input from the field, as it stands: the right value, or a sentence that says what to do."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from cryptography.hazmat.primitives import serialization

from testing import tokens
from testing.framing.run import Lab, lab
from testing.gate_process import Gate, running_gate, write_bundle
from testing.manifests import issuer, service, workload
from testing.unavailable import needed_program
from tests.field.reading import INPUTS, gate_of, injected, run
from tests.memory import MIB, memory_of

HERE = Path(__file__).parent
PATIENCE_SECONDS = 60.0
PIN = ("--issuer", "https://a.example", "--name", "a", "-o", "json")


def test_every_input_is_run() -> None:
    """By its whole name, in one of the two files that run them."""
    runners = (HERE / "test_inputs.py", HERE.parent / "cluster/test_field_inputs.py")
    text = "\n".join(path.read_text() for path in runners)
    inputs = [path.name for path in INPUTS.iterdir() if path.name != "README.md"]
    assert len(inputs) >= 23
    assert sorted(name for name in inputs if f'"{name}"' not in text) == []


# Keys.


def pinned(name: str) -> tuple[list[dict[str, Any]], str]:
    done = run("pin", "--jwks", str(INPUTS / name), *PIN)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)["spec"]["keys"]["inline"]["keys"], done.stderr


def test_a_key_that_is_there_twice_is_one_and_its_neighbour_is_kept() -> None:
    given = json.loads((INPUTS / "jwks-same-key-twice.json").read_text())["keys"]
    keys, _ = pinned("jwks-same-key-twice.json")
    assert len(given) == 3
    assert len(keys) == 2
    assert {each["kid"] for each in keys} == {each["kid"] for each in given}


def test_a_modulus_with_a_leading_zero_is_taken_with_a_note() -> None:
    [key], note = pinned("jwks-leading-zero.json")
    modulus = base64.urlsafe_b64decode(key["n"] + "==")
    assert modulus[0] != 0
    assert "leading zero" in note or "zero byte" in note or "sign byte" in note, note


def test_a_byte_order_mark_before_keys_changes_nothing() -> None:
    given = json.loads((INPUTS / "jwks-byte-order-mark.json").read_text(encoding="utf-8-sig"))["keys"]
    keys, _ = pinned("jwks-byte-order-mark.json")
    assert [each["x"] for each in keys] == [each["x"] for each in given]


def test_utf16_is_refused_by_its_name() -> None:
    done = run("pin", "--jwks", str(INPUTS / "jwks-utf16.json"), *PIN)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "UTF-16" in done.stderr


def test_a_public_key_gets_the_kid_that_kube_apiserver_gives_it() -> None:
    key = serialization.load_pem_public_key((INPUTS / "sa.pub").read_bytes())
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    # serviceaccount/jwt.go, keyIDFromPublicKey: the unpadded base64url of SHA-256 of the key's DER.
    kid = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()
    [found], _ = pinned("sa.pub")
    assert found["kid"] == kid


# Events.


@pytest.mark.parametrize("name", ["events-byte-order-mark.ndjson", "events-from-a-spreadsheet.csv"])
def test_events_are_read_whole(tmp_path: Path, name: str) -> None:
    store = f"sqlite:///{tmp_path / 'usage.db'}"
    done = run("usage", "import", str(INPUTS / name), "--usage-dsn", store)
    assert done.exit_code == 0, done.output
    out = tmp_path / "out.ndjson"
    assert run("usage", "export", str(out), "--usage-dsn", store).exit_code == 0
    stored = [json.loads(line) for line in out.read_text().splitlines()]
    given = (INPUTS / name).read_text(encoding="utf-8-sig").strip().splitlines()
    wanted = len(given) - (1 if name.endswith(".csv") else 0)
    assert wanted >= 2
    assert sorted(each["id"] for each in stored) == [str(number) for number in range(wanted)]
    assert {each["data"]["bytes"] for each in stored} == {5}


# Pods.


def only(name: str, folder: Path) -> dict[str, Any]:
    done = injected(name, folder)
    assert done.exit_code == 0, done.output
    [document] = yaml.safe_load_all(done.stdout)
    return dict(document)


def test_every_kind_that_asks_is_injected_or_refused(tmp_path: Path) -> None:
    name = "kinds-that-ask-for-a-gate.yaml"
    done = injected(name, tmp_path)
    assert (done.exit_code, done.stdout) == (1, "")
    # The one that asks where no pod has it is named, by its field; and with it out, all others are injected.
    assert "on-top" in done.stderr
    assert "metadata.labels[watchword.dev/gate]" in done.stderr
    documents = (INPUTS / name).read_text().split("---\n")
    (tmp_path / "rest.yaml").write_text("---\n".join(documents[:-1]))
    flags = (
        "--services",
        str(tmp_path / "services"),
        "-n",
        "shop",
        "--gate-image",
        "registry.invalid/gate:1",
    )
    done = run("inject", str(tmp_path / "rest.yaml"), *flags)
    assert done.exit_code == 0, done.output
    made = list(yaml.safe_load_all(done.stdout))
    templates = [
        item["spec"]["template"]["spec"] for each in made for item in each.get("items", [each]) if item
    ]
    assert len(templates) == 3
    assert all(gate_of(each)["image"] == "registry.invalid/gate:1" for each in templates)


def test_a_guaranteed_pod_stays_guaranteed_and_is_told(tmp_path: Path) -> None:
    pod = only("pod-guaranteed-qos.yaml", tmp_path)
    gate = gate_of(pod["spec"])["resources"]
    assert gate["requests"] == gate["limits"]
    assert set(gate["limits"]) == {"cpu", "memory"}
    assert pod["spec"]["imagePullSecrets"] == [{"name": "tenant-registry"}]
    assert "Guaranteed" in injected("pod-guaranteed-qos.yaml", tmp_path).stderr


def test_a_gate_takes_no_part_of_its_own_where_the_pod_has_resources(tmp_path: Path) -> None:
    pod = only("pod-level-resources.yaml", tmp_path)
    assert not gate_of(pod["spec"]).get("resources")
    assert pod["spec"]["resources"]["limits"] == {"cpu": "1", "memory": "1Gi"}


def test_probes_that_only_the_gate_can_answer_are_warned_of_and_rewritten_where_asked(tmp_path: Path) -> None:
    name = "pod-with-probes.yaml"
    done = injected(name, tmp_path)
    assert done.exit_code == 0, done.output
    said = " ".join(done.stderr.split())
    assert "readinessProbe" in said
    assert "livenessProbe" in said
    assert "watchword.dev/gate-rewrite-probes" in said
    document = yaml.safe_load((INPUTS / name).read_text())
    document["metadata"]["annotations"] = {"watchword.dev/gate-rewrite-probes": "enabled"}
    (tmp_path / "asked.yaml").write_text(json.dumps(document))
    flags = ("--services", str(tmp_path / "services"), "-n", "shop")
    done = run("inject", str(tmp_path / "asked.yaml"), *flags)
    assert done.exit_code == 0, done.output
    [app] = yaml.safe_load(done.stdout)["spec"]["containers"]
    for probe in ("readinessProbe", "livenessProbe"):
        assert app[probe]["httpGet"]["path"].startswith("/app-probes/")


def test_a_pod_for_windows_is_refused_with_what_would_be_right(tmp_path: Path) -> None:
    done = injected("pod-for-windows.yaml", tmp_path)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "spec.nodeSelector[kubernetes.io/os]: Watchword's image is for Linux" in done.stderr
    assert "Remedy: remove Watchword's labels" in done.stderr


def test_a_service_of_long_names_is_called_by_annotation(tmp_path: Path) -> None:
    name = "long-names.yaml"
    namespace, made = yaml.safe_load_all((INPUTS / name).read_text())
    where = f"{namespace['metadata']['name']}.{made['metadata']['name']}"
    assert len(where) > 63
    folder = tmp_path / "services"
    folder.mkdir()
    (folder / name).write_bytes((INPUTS / name).read_bytes())
    caller = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "caller",
            "namespace": "shop",
            "annotations": {"watchword.dev/calls": where.replace(".", "/")},
        },
        "spec": {
            "serviceAccountName": "caller",
            "containers": [{"name": "app", "image": "registry.invalid/c:1"}],
        },
    }
    cluster = ("--cluster-id", "5f6f7d0c-7a0e-4d0b-9d0e-0a4e0c2b8f11")
    arguments = ("inject", str(tmp_path / "caller.json"), "--services", str(folder), "-n", "shop", *cluster)
    # The annotation alone is refused, and never ignored.
    (tmp_path / "caller.json").write_text(json.dumps(caller))
    done = run(*arguments)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "watchword.dev/call: enabled" in " ".join(done.stderr.split())
    caller["metadata"]["labels"] = {"watchword.dev/call": "enabled"}  # type: ignore[index]
    (tmp_path / "caller.json").write_text(json.dumps(caller))
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    assert f"watchword.dev/services/{cluster[1]}/{where.replace('.', '/')}" in done.stdout


# Requests.


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A gate with `--upstream`, and a recording app behind it."""
    with lab(tmp_path_factory.mktemp("field")) as running:
        yield running


def connect(gate: Gate) -> socket.socket:
    host, _, port = gate.address.rpartition(":")
    return socket.create_connection((host, int(port)), PATIENCE_SECONDS)


def read_answer(link: socket.socket) -> tuple[int, bytes]:
    """The status of one answer, and its body."""
    came = b""
    while b"\r\n\r\n" not in came:
        data = link.recv(65536)
        assert data, came
        came += data
    head, _, rest = came.partition(b"\r\n\r\n")
    length = re.search(rb"(?im)^content-length: *(\d+)", head)
    while length and len(rest) < int(length[1]):
        rest += link.recv(65536)
    return int(head.split()[1]), rest


def test_an_upgrade_hides_no_request(place: Lab) -> None:
    text = (INPUTS / "upgrade-hides-a-request.http").read_bytes()
    head, body = text.split(b"\r\n\r\n", 1)
    assert re.findall(rb"Content-Length: (\d+)", head) == [str(len(body)).encode()]
    token = place.credentials[0].removeprefix(b"Authorization: Bearer ")
    head = head.replace(b"POST /upload", b"POST /app/acme/echo").replace(b"<token>", token)
    before = len(place.app.seen)
    with connect(place.gate) as link:
        link.sendall(head + b"\r\n\r\n" + body)
        status, answer = read_answer(link)
        assert status == 200, answer
        # Another request of the connection is its own, and nothing that was left over.
        link.sendall(b"GET /app/acme/none HTTP/1.1\r\nHost: a\r\n" + place.credentials[0] + b"\r\n\r\n")
        read_answer(link)
    place.app.settle()
    first, second = place.app.seen[before:]
    assert (first.method, first.target, bytes(first.body)) == (b"POST", b"/app/acme/echo", body)
    assert (second.method, second.target) == (b"GET", b"/app/acme/none")
    assert not first.values(b"upgrade")


def test_trailers_without_end_end_the_connection_and_fill_nothing(place: Lab) -> None:
    text = (INPUTS / "trailers-without-end.http").read_bytes()
    with connect(place.gate) as link:
        link.sendall(b"GET /app/acme/none HTTP/1.1\r\nHost: a\r\n" + place.credentials[0] + b"\r\n\r\n")
        read_answer(link)
    before = memory_of(place.gate.pid).resident
    sent, piece = 0, b"a" * MIB
    with connect(place.gate) as link, suppress(ConnectionError):
        link.sendall(text)
        while sent < 60 * MIB:
            link.sendall(piece)
            sent += len(piece)
    assert sent < 60 * MIB
    assert memory_of(place.gate.pid).peak - before < 8 * MIB


def test_the_jdks_own_client_has_its_bodies_arrive(place: Lab) -> None:
    java = needed_program("java", tests="tests of real clients", required_by="WATCHWORD_REQUIRE_JDK")
    before = len(place.app.seen)
    token = place.credentials[0].decode().removeprefix("Authorization: Bearer ")
    source = INPUTS / "JdkCaller.java"
    done = subprocess.run(
        [java, str(source), f"{place.gate.url}/app/acme/echo", token],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert [line for line in lines if not re.search(r"(streamed|known length) 200 ", line)] == []
    place.app.settle()
    assert [bytes(each.body) for each in place.app.seen[before:]] == [b"hello world"] * 4


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """A gate that proxies ask, with the routes that the inputs name."""
    routes = [
        {"path": "/api/accounts/{account}/projects", "methods": ["GET"], "scope": "account:usage:read"},
        {"path": "/ws", "methods": ["GET"], "scope": "account:usage:read"},
    ]
    path = tmp_path_factory.mktemp("asked") / "bundle.json"
    with running_gate(write_bundle(path, issuer(), service(routes=routes), workload())) as gate:
        yield gate


def current() -> bytes:
    now = int(time.time())
    return tokens.token(iat=now - 60, nbf=now - 60, exp=now + 3000)


@pytest.mark.parametrize("name", ["ingress-nginx-subrequest.http", "caddy-forward-auth-websocket.http"])
def test_a_proxys_question_is_a_yes_for_a_trusted_caller(asked: Gate, name: str) -> None:
    text = (INPUTS / name).read_bytes()
    for token, status in ((current(), 200), (b"none", 401)):
        with connect(asked) as link:
            link.sendall(text.replace(b"<token>", token))
            assert read_answer(link)[0] == status


# Accounts.


def test_each_account_is_readable_where_it_is_writable_or_refused_when_written(tmp_path: Path) -> None:
    accounts = (INPUTS / "accounts-hard-to-address.txt").read_text().splitlines()
    assert len(accounts) == 10
    grants = [{"scopes": ["account:usage:read", "account:usage:write"], "accounts": ["*"]}]
    meters = [{"name": "hits", "eventType": "cache.hit", "aggregation": "count"}]
    path = write_bundle(
        tmp_path / "bundle.json", issuer(), service(usage={"meters": meters}), workload(grants=grants)
    )
    found: dict[str, str] = {}
    with running_gate(path) as gate:
        for number, account in enumerate(accounts):
            found[account] = fate_of(gate, account, number)
    assert (found["acme/web"], found["100%"], found["a b"]) == ("parameter", "parameter", "path")


def fate_of(gate: Gate, account: str, number: int) -> str:
    """Where an account is read after an event of it was sent: by its path, by its parameter, or refused."""
    event = {
        "specversion": "1.0",
        "id": f"e{number}",
        "source": "/field",
        "type": "cache.hit",
        "subject": account,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "data": {},
    }
    body = json.dumps([event]).encode()
    status, answer = call(gate, "POST", "/api/internal/usage/events", body)
    stored = json.loads(answer)
    if status >= 400 or stored.get("stored") != 1:
        assert "subject" in answer.decode() or "account" in answer.decode(), answer
        return "refused"
    status, answer = call(gate, "GET", f"/api/internal/accounts/{quote(account, safe='')}/usage")
    if status == 200:
        assert json.loads(answer)["meters"] == {"hits": 1}
        return "path"
    problem = json.loads(answer)
    assert (status, problem["reason"]) == (404, "account_not_in_path"), answer
    assert "?account=" in problem["remedy"]
    status, answer = call(gate, "GET", f"/api/internal/usage?account={quote(account, safe='')}")
    assert status == 200, answer
    assert [each["account"] for each in json.loads(answer)["accounts"]] == [account]
    return "parameter"


def call(gate: Gate, method: str, target: str, body: bytes = b"") -> tuple[int, bytes]:
    """One request in exact bytes: no client rewrites its path."""
    head = (
        f"{method} {target} HTTP/1.1\r\nHost: gate\r\nContent-Length: {len(body)}\r\n"
        "Content-Type: application/cloudevents-batch+json\r\n"
    )
    with connect(gate) as link:
        link.sendall(head.encode() + b"Authorization: Bearer " + current() + b"\r\n\r\n" + body)
        return read_answer(link)
