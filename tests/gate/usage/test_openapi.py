# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI document is served, sound, and true: schemathesis asks a gate whatever the document allows."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from jsonschema import Draft202012Validator

from testing.tokens import token
from tests.gate.running import RunningGate
from tests.gate.usage.test_accounts import adopt, fill
from watchword.gate.bundle_updater import BundleUpdater
from watchword.gate.ops import Readiness, ops_app
from watchword.gate.usage.openapi import openapi

DOCUMENT = openapi("/api/internal")
schema: Any = schemathesis.openapi.from_dict(DOCUMENT)
METHODS = [
    ("/accounts/{account}/usage", "GET"),
    ("/usage", "GET"),
    ("/usage/meters", "GET"),
    ("/usage/events", "POST"),
]


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Any:
    gate = RunningGate(Path(tmp_path_factory.mktemp("usage")))
    adopt(gate, ["*"])
    fill(gate, "acme", "umbrella")
    yield gate
    gate.close()


@schema.parametrize()
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.filter_too_much,
        HealthCheck.too_slow,
    ],
)
def test_every_answer_is_one_that_the_document_says(case: Any, gate: RunningGate) -> None:
    request = httpx.Request(**_request_of(case))
    target = request.url.raw_path.decode()
    headers = [
        (name, value)
        for name, value in request.headers.multi_items()
        if name not in ("host", "authorization")
    ]
    answer = gate.call(target, token(), headers, request.method, request.read())
    assert answer.status_code < 500
    operation = DOCUMENT["paths"][case.operation.path][case.operation.method.lower()]
    documented = operation["responses"]
    # A path parameter that is empty, or holds a slash, leads to another place or to none.
    assert str(answer.status_code) in documented or answer.status_code in (404, 405)
    if answer.status_code in (200, 207, 422):
        content = documented[str(answer.status_code)]["content"]["application/json"]["schema"]
        whole = {**content, "components": DOCUMENT["components"]}
        Draft202012Validator(whole).validate(answer.json())
    elif answer.content:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code


def _request_of(case: Any) -> dict[str, Any]:
    made = case.as_transport_kwargs(base_url="http://gate/api/internal")
    made.pop("cookies", None)
    if isinstance(made.get("data"), bytes | str):
        made["content"] = made.pop("data")
    return {
        name: value
        for name, value in made.items()
        if name in ("method", "url", "headers", "params", "json", "content", "data")
    }


def test_the_document_has_every_endpoint_and_every_method() -> None:
    found = [(path, method.upper()) for path, item in DOCUMENT["paths"].items() for method in item]
    assert sorted(found) == sorted(METHODS)


def test_the_ops_port_serves_the_document_for_the_path_in_use(gate: RunningGate) -> None:
    adopt(gate, ["*"], basePath="/api/elsewhere")

    async def ask() -> httpx.Response:
        readiness = Readiness(gate.engine, BundleUpdater(gate.engine, None))  # type: ignore[arg-type]  # nothing is adopted
        transport = httpx.ASGITransport(ops_app(gate.engine, readiness))
        async with httpx.AsyncClient(transport=transport, base_url="http://ops") as client:
            return await client.get("/openapi.json")

    answer = asyncio.run(ask())
    assert answer.json() == openapi("/api/elsewhere")
