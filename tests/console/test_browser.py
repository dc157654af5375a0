# SPDX-License-Identifier: Apache-2.0
"""The console in Chromium: each page at two widths, dark and light, by keyboard, without script, attacked."""

from __future__ import annotations

import http.server
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from testing.tokens import token
from tests.console.browser import Said, chromium, focused, open_by_file, violations
from tests.console.manifests import SERVICE, objects, service, workload, write_manifests
from tests.console.running import Console, console_of
from watchword.console.folder_source import FolderSource
from watchword.console.session import LinkFile

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.browser
PAGES = (
    "/",
    "/services",
    "/services?q=nothing-has-this-name",
    f"/services/{SERVICE}",
    "/services/shop/orders",
    "/workloads",
    "/workloads/tuist/atlas",
    "/issuers",
    "/issuers/atlas-production",
    "/refusals",
    f"/refusals?service={SERVICE}",
    f"/token?service={SERVICE}",
    "/desks",
    "/nothing",
    "/services?page=7",
)
SIZES = {"wide": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def opened(browser: Browser, folder: Path) -> Iterator[tuple[Console, BrowserContext]]:
    """A console, opened by its file in a browser's context of its own."""
    with console_of(FolderSource(str(folder)), opened=False) as console:
        file = LinkFile(console.link)
        context = browser.new_context()
        open_by_file(context, file.path, console.origin).close()
        file.remove()
        yield console, context
        context.close()


@pytest.fixture
def page(opened: tuple[Console, BrowserContext]) -> Iterator[Page]:
    made = opened[1].new_page()
    yield made
    made.close()


@pytest.fixture
def console(opened: tuple[Console, BrowserContext]) -> Console:
    return opened[0]


def is_scrolled_sideways(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_each_page_fits_its_width_and_breaks_no_policy(
    page: Page, console: Console, size: str, scheme: str
) -> None:
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    said = Said(page)
    for path in PAGES:
        page.goto(console.origin + path)
        assert not is_scrolled_sideways(page), path
        assert page.locator("h1").count() == 1
    assert said.lines == []


@pytest.mark.parametrize(("size", "scheme"), [("wide", "light"), ("phone", "dark")])
def test_each_page_tells_a_screen_reader_all(page: Page, console: Console, size: str, scheme: str) -> None:
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    for path in PAGES:
        page.goto(console.origin + path)
        assert violations(page) == [], path


@pytest.mark.parametrize("size", SIZES)
def test_a_judged_token_fits_and_reads_well(page: Page, console: Console, size: str) -> None:
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    said = Said(page)
    now = int(time.time())
    for given, verdict in (
        (token(iat=now - 60, nbf=now - 60, exp=now + 600).decode(), "Accepted as tuist/atlas"),
        ("not-a-token", "Refused: malformed_token"),
    ):
        page.goto(f"{console.origin}/token?service={SERVICE}")
        page.get_by_label("Token, without Bearer").fill(given)
        page.get_by_label("Method").fill("GET")
        page.get_by_label("Path").fill("/api/accounts/acme/projects")
        page.get_by_role("button", name="Judge it").click()
        expect(page.get_by_role("heading", name=verdict)).to_be_visible()
        assert page.get_by_label("Token, without Bearer").input_value() == ""
        assert given not in page.content()
        assert given not in page.url
        assert not is_scrolled_sideways(page)
        assert violations(page) == []
    assert said.lines == []


def test_the_pages_are_walked_with_the_keyboard_alone(page: Page, console: Console) -> None:
    page.goto(f"{console.origin}/services/{SERVICE}")
    page.keyboard.press("Tab")
    first = focused(page)
    assert (first["text"], first["visible"], first["outlined"]) == ("Skip to the content", True, True)
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.goto(f"{console.origin}/services/{SERVICE}")
    seen = []
    for _ in range(120):
        page.keyboard.press("Tab")
        one = focused(page)
        if one["tag"] == "BODY":
            break
        assert one["outlined"], one
        assert one["visible"], one
        seen.append(one)
    tags = {each["tag"] for each in seen}
    assert {"A", "INPUT", "SELECT", "BUTTON", "PRE"} <= tags
    assert {"/services", "/issuers", "/workloads/tuist/atlas"} <= {each["href"] for each in seen}
    # By keyboard from the list to a page, and a filter typed and sent.
    page.get_by_label("Workload or ServiceAccount").focus()
    page.keyboard.type("watcher")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=watcher**")
    expect(page.get_by_role("link", name="watcher", exact=True)).to_be_visible()
    assert page.get_by_role("link", name="atlas", exact=True).count() == 0
    page.get_by_role("link", name="watcher", exact=True).focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/workloads/tuist/watcher")


def test_a_command_is_copied_as_it_stands(page: Page, console: Console) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=console.origin)
    page.goto(f"{console.origin}/workloads/tuist/atlas")
    block = page.locator(".command").first
    block.get_by_role("button").click()
    expect(block.get_by_role("button")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == block.locator("code").text_content()


def test_all_of_it_works_without_script(browser: Browser, folder: Path) -> None:
    with console_of(FolderSource(str(folder)), opened=False) as console:
        context = browser.new_context(java_script_enabled=False)
        file = LinkFile(console.link)
        page = open_by_file(context, file.path, console.origin)
        file.remove()
        page.get_by_role("link", name="Services", exact=True).click()
        page.get_by_label("Name or audience").fill("billing")
        page.get_by_role("button", name="Filter").click()
        page.get_by_role("link", name="tuist/billing").click()
        assert page.get_by_role("heading", name="billing").is_visible()
        page.get_by_role("link", name="Token", exact=True).click()
        page.get_by_label("Service").select_option(SERVICE)
        page.get_by_label("Token, without Bearer").fill("a.b")
        page.get_by_role("button", name="Judge it").click()
        assert page.get_by_role("heading", name="Refused: malformed_token").is_visible()
        context.close()


def test_an_open_page_shows_what_changed_and_leaves_a_person_alone(browser: Browser, tmp_path: Path) -> None:
    write_manifests(tmp_path, objects()[:3])
    with console_of(FolderSource(str(tmp_path)), opened=False) as console:
        context = browser.new_context()
        file = LinkFile(console.link)
        page = open_by_file(context, file.path, console.origin)
        file.remove()
        page.goto(f"{console.origin}/services")
        page.evaluate("document.body.dataset.same = 'page'")
        write_manifests(tmp_path)
        expect(page.get_by_role("link", name="shop/orders")).to_be_visible(timeout=120_000)
        assert page.evaluate("document.body.dataset.same") == "page"
        page.get_by_label("Name or audience").fill("half a wo")
        write_manifests(tmp_path, [*objects(), service("shop", "fourth")])
        expect(page.get_by_role("link", name="Something changed. Show it")).to_be_visible(timeout=120_000)
        assert page.get_by_label("Name or audience").input_value() == "half a wo"
        assert violations(page) == []
        page.get_by_role("link", name="Something changed. Show it").click()
        expect(page.get_by_role("link", name="shop/fourth")).to_be_visible()
        context.close()


def test_a_thousand_services_and_a_large_one_are_paged(browser: Browser, tmp_path: Path) -> None:
    many = [service("tuist", f"service-{number:04}") for number in range(1000)]
    many += [workload("tuist", f"w-{number:04}", "service-0000") for number in range(300)]
    write_manifests(tmp_path, [objects()[0], *many])
    with console_of(FolderSource(str(tmp_path)), opened=False) as console:
        context = browser.new_context(viewport={"width": 390, "height": 844})
        file = LinkFile(console.link)
        page = open_by_file(context, file.path, console.origin)
        file.remove()
        for path in (
            "/services",
            "/services?page=20",
            "/services/tuist/service-0000?page=2",
            "/token",
            "/refusals",
        ):
            page.goto(console.origin + path)
            assert not is_scrolled_sideways(page), path
        page.goto(f"{console.origin}/services")
        page.get_by_role("link", name="Next").click()
        expect(page.get_by_text("51 to 100 of 1,000")).to_be_visible()
        page.get_by_role("link", name="Last").click()
        expect(page.get_by_role("link", name="tuist/service-0999")).to_be_visible()
        context.close()


PICTURES = {
    "console-service": ((1180, 1000), "light"),
    "console-token": ((1180, 800), "light"),
    "console-phone": ((390, 760), "dark"),
}


def test_the_pictures_of_the_docs_are_drawn(browser: Browser, tmp_path: Path) -> None:
    """With WATCHWORD_PICTURES=write they become those of the docs."""
    is_written = os.environ.get("WATCHWORD_PICTURES") == "write"
    pictures = ROOT / "docs" / "images" if is_written else tmp_path
    write_manifests(tmp_path, [each for each in objects() if each["metadata"]["name"] != "this-cluster"])
    now = int(time.time())
    late = token(iat=now - 60, nbf=now - 60, exp=now + 600, aud=["billing"]).decode()
    with console_of(FolderSource(str(tmp_path)), opened=False) as console:
        file = LinkFile(console.link)
        context = browser.new_context()
        page = open_by_file(context, file.path, console.origin)
        file.remove()
        for name, ((width, height), scheme) in PICTURES.items():
            page.set_viewport_size({"width": width, "height": height})
            page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            if name == "console-token":
                page.goto(f"{console.origin}/token?service={SERVICE}")
                page.get_by_label("Token, without Bearer").fill(late)
                page.get_by_role("button", name="Judge it").click()
            else:
                page.goto(f"{console.origin}/services/{SERVICE}{'#callers' if width < 500 else ''}")
            page.screenshot(path=pictures / f"{name}.png")
        context.close()
    assert all((pictures / f"{name}.png").stat().st_size < 150_000 for name in PICTURES)


@pytest.mark.parametrize("name", PICTURES)
def test_the_pictures_of_the_docs_are_small(name: str) -> None:
    assert 10_000 < (ROOT / "docs" / "images" / f"{name}.png").stat().st_size < 150_000


class OtherPage(http.server.BaseHTTPRequestHandler):
    """A page of another origin of this machine that tries what a page can."""

    target = ""

    def do_GET(self) -> None:
        body = f"""<!doctype html><title>other</title>
<iframe id="frame" src="{self.target}/services"></iframe>
<img id="image" src="{self.target}/static/icon.svg">
<form id="form" method="post" action="{self.target}/token"><input name="token" value="a.b.c">
<input name="service" value="{SERVICE}"></form>
<a id="link" href="{self.target}/services/{SERVICE}">link</a>""".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        del format, arguments


@pytest.fixture
def other_port(console: Console) -> Iterator[int]:
    OtherPage.target = console.origin
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), OtherPage)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "other.localhost"])
def test_a_page_of_another_port_of_this_machine_gets_nothing(
    page: Page, console: Console, other_port: int, host: str
) -> None:
    page.goto(f"http://{host}:{other_port}/")
    for credentials in ("include", "omit"):
        for mode in ("cors", "no-cors"):
            got = page.evaluate(
                """async ([url, credentials, mode]) => {
                  try { return await (await fetch(url, {credentials, mode})).text(); }
                  catch (error) { return "refused"; }
                }""",
                [f"{console.origin}/services", credentials, mode],
            )
            assert got in {"refused", ""}
    framed = page.frames[-1]
    assert "tuist-server" not in framed.content()
    assert page.evaluate("document.getElementById('image').naturalWidth") == 0
    # Cookies ignore ports, and not names.
    cookies = [each["name"] for each in page.context.cookies(f"http://{host}:{other_port}/")]
    assert cookies == []
    page.evaluate("document.getElementById('form').submit()")
    page.wait_for_url(f"{console.origin}/token")
    assert page.get_by_role("heading", name="Another page").is_visible()
    assert "Refused:" not in page.content()


def test_a_link_of_another_page_leads_to_a_page_by_one_more_click(
    page: Page, console: Console, other_port: int
) -> None:
    page.goto(f"http://127.0.0.1:{other_port}/")
    page.click("#link")
    page.wait_for_url(f"{console.origin}/services/{SERVICE}")
    expect(page.get_by_role("heading", name="Not open in this browser")).to_be_visible()
    page.get_by_role("link", name="Continue to the page").click()
    expect(page.get_by_role("heading", name="tuist-server")).to_be_visible()


def test_a_window_of_another_page_has_no_hold_on_the_console(
    page: Page, console: Console, other_port: int
) -> None:
    page.goto(f"http://127.0.0.1:{other_port}/")
    with page.expect_popup() as popup:
        page.evaluate("url => { window.held = window.open(url); }", f"{console.origin}/services")
    popup.value.wait_for_load_state()
    with pytest.raises(Exception, match=r"SecurityError|null"):
        page.evaluate("held.document.body.textContent")
    popup.value.close()


def test_a_link_that_was_used_opens_no_second_browser(
    browser: Browser, opened: tuple[Console, BrowserContext]
) -> None:
    console, _ = opened
    context = browser.new_context()
    page = context.new_page()
    page.goto(console.link)
    expect(page.get_by_role("heading", name="The link opens nothing")).to_be_visible()
    page.goto(f"{console.origin}/services")
    expect(page.get_by_role("heading", name="Not open in this browser")).to_be_visible()
    assert context.cookies() == []
    context.close()
