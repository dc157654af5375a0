# SPDX-License-Identifier: Apache-2.0
"""A real Chromium in front of the console, and axe-core to look at what a screen reader is told."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from testing.unavailable import needed_program

# What Chromium says on its own when a page is answered with 4xx, as some are on purpose.
_OF_STATUS = "Failed to load resource: the server responded with a status of"
AXE_RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The Chromium of the system, without a window."""
    program = needed_program("chromium", tests="the console in a browser")
    # Without a GPU process: on a busy machine its loss is "Unable to capture screenshot".
    flags = ["--disable-gpu"]
    # Its sandbox does not run as root.
    flags += ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=flags)
        try:
            yield browser
        finally:
            browser.close()


class Said:
    """What a page said on the browser's console: a broken policy, a failed script."""

    def __init__(self, page: Page) -> None:
        self.lines: list[str] = []
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.lines.append(str(error)))

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith(_OF_STATUS):
            self.lines.append(message.text)


def violations(page: Page) -> list[str]:
    """What axe-core finds wrong with a page: the rule and the first element of each."""
    source = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()
    # Evaluated by the debugger, which the page's own policy does not bind.
    page.evaluate(source)
    found: dict[str, Any] = page.evaluate("rules => axe.run(document, rules)", AXE_RULES)
    return [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in found["violations"]]


def focused(page: Page) -> dict[str, Any]:
    """The element that has the focus: its tag, text, and whether one sees that it has."""
    found: dict[str, Any] = page.evaluate(
        """() => {
          const one = document.activeElement;
          const style = getComputedStyle(one);
          const box = one.getBoundingClientRect();
          return {
            tag: one.tagName,
            text: (one.textContent || one.name || "").trim().slice(0, 60),
            href: one.getAttribute("href"),
            outlined: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
            visible: box.width > 0 && box.height > 0 && box.bottom > 0 && box.top < innerHeight,
          };
        }"""
    )
    return found


def open_by_file(context: BrowserContext, file: Path, origin: str) -> Page:
    """Open the file of the link, as a person does, and wait for the overview."""
    page = context.new_page()
    page.goto(file.as_uri())
    page.wait_for_url(f"{origin}/")
    return page
