# SPDX-License-Identifier: Apache-2.0
"""The cases of the HTTP/1.1 proxy, asked in HTTP/2: same requests, same expectations.

Left out are those about bytes or connections of HTTP/1.1, and those that upgrade.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testing.gate_process import running_gate
from tests.gate.http2.conversion import asked_in_http2
from tests.gate.proxy import scripted, test_answers, test_grants_passed_on, test_routes
from tests.gate.proxy.app import running_app
from tests.gate.proxy.conftest import Front, bearer, proxy_bundle
from tests.gate.proxy.scripted import Scene, credential
from tests.gate.proxy.test_answers import (
    test_a_continue_that_nobody_waits_for_is_not_passed_on,
    test_a_fragment_reaches_no_app,
    test_an_answer_that_cannot_be_read_in_one_way_is_the_apps_trouble,
    test_any_status_is_passed_on_as_it_is,
    test_early_hints_come_before_the_answer_and_say_nothing_in_the_gates_name,
    test_the_app_gets_the_target_byte_for_byte_and_a_length,
    test_two_hundred_cookies_are_passed_on_each,
)
from tests.gate.proxy.test_grants_passed_on import (
    test_the_app_gets_what_was_decided_on_and_nothing_of_the_callers,
    test_what_no_single_grant_holds_never_reaches_the_app,
)
from tests.gate.proxy.test_headers import (
    test_a_twin_of_a_framing_header_does_not_reach_a_real_app,
    test_ordinary_headers_reach_a_real_app_as_they_came,
    test_what_frameworks_honor_does_not_reach_a_real_app,
)
from tests.gate.proxy.test_passing_on import (
    test_a_stranger_never_reaches_the_app,
    test_an_allowed_request_reaches_the_app_with_its_target_and_its_body,
    test_an_answer_has_one_date_though_app_and_gate_say_theirs,
    test_an_app_cannot_speak_as_the_gate,
    test_an_app_that_refuses_a_body_early_is_heard,
    test_redirects_and_codings_are_the_callers_to_follow,
    test_the_app_is_told_who_calls_and_never_gets_the_credential,
    test_the_gates_own_endpoints_stay_its_own,
    test_what_a_caller_may_not_say_does_not_reach_the_app,
    test_what_no_route_allows_never_reaches_the_app,
)
from tests.gate.proxy.test_routes import (
    test_a_form_on_a_route_that_reads_the_query_is_refused,
    test_what_a_workload_is_told,
)
from tests.gate.proxy.test_trouble import test_trouble_is_told_as_the_apps

__all__ = [
    "proxy_bundle",
    "test_a_continue_that_nobody_waits_for_is_not_passed_on",
    "test_a_form_on_a_route_that_reads_the_query_is_refused",
    "test_a_fragment_reaches_no_app",
    "test_a_stranger_never_reaches_the_app",
    "test_a_twin_of_a_framing_header_does_not_reach_a_real_app",
    "test_an_allowed_request_reaches_the_app_with_its_target_and_its_body",
    "test_an_answer_has_one_date_though_app_and_gate_say_theirs",
    "test_an_answer_that_cannot_be_read_in_one_way_is_the_apps_trouble",
    "test_an_app_cannot_speak_as_the_gate",
    "test_an_app_that_refuses_a_body_early_is_heard",
    "test_any_status_is_passed_on_as_it_is",
    "test_early_hints_come_before_the_answer_and_say_nothing_in_the_gates_name",
    "test_ordinary_headers_reach_a_real_app_as_they_came",
    "test_redirects_and_codings_are_the_callers_to_follow",
    "test_the_app_gets_the_target_byte_for_byte_and_a_length",
    "test_the_app_gets_what_was_decided_on_and_nothing_of_the_callers",
    "test_the_app_is_told_who_calls_and_never_gets_the_credential",
    "test_the_gates_own_endpoints_stay_its_own",
    "test_trouble_is_told_as_the_apps",
    "test_two_hundred_cookies_are_passed_on_each",
    "test_what_a_caller_may_not_say_does_not_reach_the_app",
    "test_what_a_workload_is_told",
    "test_what_frameworks_honor_does_not_reach_a_real_app",
    "test_what_no_route_allows_never_reaches_the_app",
    "test_what_no_single_grant_holds_never_reaches_the_app",
]


class Http2Front(Front):
    """The gate and its app, asked in HTTP/2."""

    def ask(self, line: bytes, *headers: bytes, body: bytes = b"", credential: bytes | None = None) -> bytes:
        given = [bearer() if credential is None else credential, *headers]
        return asked_in_http2(self.gate.address, line, [each for each in given if each], body)


class Http2Scene(Scene):
    """The same before a scripted app."""

    def ask(self, line: bytes, *headers: bytes, body: bytes = b"", who: str = "one") -> bytes:
        return asked_in_http2(self.gate.address, line, [credential(who), *headers], body)


@pytest.fixture(scope="module")
def front(proxy_bundle: Path) -> Iterator[Front]:
    with running_app() as app:
        flags = ("--upstream", app.url, "--upstream-timeout-seconds", "2")
        with running_gate(proxy_bundle, *flags) as gate:
            yield Http2Front(gate, app)


@pytest.fixture(scope="module")
def granting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with test_grants_passed_on.granting_front(tmp_path_factory.mktemp("grants")) as made:
        yield Http2Front(made.gate, made.app)


@pytest.fixture(scope="module")
def _answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scripted.scene(tmp_path_factory.mktemp("answers"), test_answers.script) as running:
        yield Http2Scene(running.gate, running.app)


@pytest.fixture(scope="module")
def _routes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("routes")
    with scripted.scene(folder, test_routes.script, routes=test_routes.ROUTES) as running:
        yield Http2Scene(running.gate, running.app)


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Any:
    """The scene of the module that a test was written in."""
    scene = request.getfixturevalue(
        "_routes" if request.function.__module__ == test_routes.__name__ else "_answers"
    )
    scene.app.heard.clear()
    return scene
