# SPDX-License-Identifier: Apache-2.0
"""The claim pages in a real Chromium: without script, by keyboard alone, on a phone, in the dark.

`WATCHWORD_SCREENSHOTS=docs/images` writes the pictures of the docs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from testing.agents import AgentDesk, agent_desk
from tests.console.browser import Said, chromium, focused, violations

pytestmark = pytest.mark.browser
SIZES = {"wide": (1280, 900), "phone": (360, 740)}
SCREENSHOTS = os.environ.get("WATCHWORD_SCREENSHOTS")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def desk() -> Iterator[AgentDesk]:
    with agent_desk() as running:
        yield running


def url(desk: AgentDesk, link: str) -> str:
    """A link of the desk's issuer, where the desk of the test listens."""
    return desk.running.url + desk.path_of(link)


def is_scrolled_sideways(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))


def look(page: Page, name: str, scheme: str, size: str) -> None:
    """What is asked of each page that a person sees."""
    assert not is_scrolled_sideways(page)
    assert page.locator("h1").count() == 1
    assert violations(page) == []
    if SCREENSHOTS and (size, scheme) in {("wide", "light"), ("phone", "dark")}:
        suffix = "phone" if size == "phone" else "wide"
        page.screenshot(path=Path(SCREENSHOTS) / f"claim-{name}-{suffix}.png")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_each_page_of_a_claim_fits_reads_well_and_breaks_no_policy(
    browser: Browser, desk: AgentDesk, size: str, scheme: str
) -> None:
    width, height = SIZES[size]
    page = browser.new_page(
        viewport={"width": width, "height": height}, color_scheme="dark" if scheme == "dark" else "light"
    )
    said = Said(page)
    made = desk.service_auth()
    before = len(desk.mails.mails)
    page.goto(url(desk, made["claim"]["attempt"]["verification_uri"]))
    look(page, "start", scheme, size)
    page.get_by_role("button", name="Send me the mail").click()
    look(page, "mailed", scheme, size)
    page.goto(url(desk, desk.mails.link(before + 1)))
    look(page, "decision", scheme, size)
    page.get_by_role("button", name="Allow").click()
    look(page, "code", scheme, size)
    code = page.get_by_label("Code").inner_text()
    assert re.fullmatch(r"\d{6}", code)
    page.reload()
    look(page, "ended", scheme, size)
    assert page.get_by_label("Code").count() == 0
    assert desk.complete(made, code).status_code == 200
    assert said.lines == []
    page.close()


def test_a_person_claims_an_agent_by_keyboard_alone_and_without_script(
    browser: Browser, desk: AgentDesk
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    made = desk.service_auth()
    before = len(desk.mails.mails)
    page.goto(url(desk, made["claim"]["attempt"]["verification_uri"]))
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/claim/mail")
    page.goto(url(desk, desk.mails.link(before + 1)))
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/claim/confirm")
    code = page.locator("output").inner_text()
    assert desk.complete(made, code).status_code == 200
    context.close()


def test_the_focus_is_seen_on_each_button(browser: Browser, desk: AgentDesk) -> None:
    page = browser.new_page()
    made = desk.service_auth()
    secret = desk.secret_of(made["claim"]["attempt"]["verification_uri"])
    page.goto(f"{desk.running.url}/claim?secret={secret}")
    for text in ("Allow", "Refuse"):
        page.keyboard.press("Tab")
        found = focused(page)
        assert (found["tag"], found["text"]) == ("BUTTON", text)
        assert found["outlined"]
        assert found["visible"]
    page.keyboard.press("Enter")
    page.wait_for_url("**/claim/confirm")
    assert page.locator("h1").inner_text() == "The agent may not act for you"
    page.close()


def test_another_site_can_neither_frame_nor_script_the_page(browser: Browser, desk: AgentDesk) -> None:
    page = browser.new_page()
    link = url(desk, desk.service_auth()["claim"]["attempt"]["verification_uri"])
    answer = page.goto(link)
    assert answer is not None
    assert answer.headers["content-security-policy"] == (
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    assert answer.headers["referrer-policy"] == "no-referrer"
    blocked = page.evaluate(
        """async () => {
          const script = document.createElement("script");
          script.textContent = "window.ran = true";
          document.body.append(script);
          return window.ran === undefined;
        }"""
    )
    assert blocked
    page.set_content(f'<iframe src="{link}"></iframe>')
    page.wait_for_timeout(500)
    assert all("An agent asks" not in frame.content() for frame in page.frames[1:])
    page.close()
