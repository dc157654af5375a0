# SPDX-License-Identifier: Apache-2.0
"""Documents that cannot rot: links lead somewhere, reasons have anchors, nothing names a machine."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.generate.__main__ import PAGES, REFERENCE
from watchword.gate.responses import TYPE_PREFIX
from watchword.identity import Reason

ROOT = Path(__file__).parents[2]
MARKDOWN = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")})
CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    text = CODE.sub("", page.read_text())
    assert [link for link in LINK.findall(text) if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_what_the_code_says(name: str) -> None:
    assert (REFERENCE / name).read_text() == PAGES[name](), "run `make generate`"


def test_every_reason_has_its_own_heading() -> None:
    text = (REFERENCE / "reasons.md").read_text()
    assert [reason.code for reason in Reason if f"\n## {reason.code}\n" not in text] == []


def test_every_reason_is_in_the_line_of_a_check() -> None:
    text = (REFERENCE / "reasons.md").read_text()
    linked = {reason for reason in Reason if f"[`{reason.code}`](#{reason.code})" in text}
    assert set(Reason) == linked


def test_no_tracked_file_names_a_registry_or_a_machines_path() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    patterns = re.compile(
        "|".join(
            ["pypi" + r"\.org", "goproxy" + r"\.", "index" + "-url [h]", "/work" + "/main", "/root" + "/"]
        )
    )
    found = []
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.is_file() and patterns.search(path.read_text(errors="replace")):
            found.append(name)
    assert found == []


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "--site-dir",
        str(tmp_path / "site"),
    ]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    found = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert found.returncode == 0, found.stderr
    for page in ("tutorial/kind", "how-to/answer-an-alert"):
        assert (tmp_path / "site" / page / "index.html").exists()
    # A page that fetches fonts or scripts from elsewhere tells others who reads it.
    page = (tmp_path / "site" / "index.html").read_text()
    assert re.findall(r'(?:src|href)="https?://[^"]*\.(?:js|css|woff2?)"', page) == []
    # The place that the `type` of each refusal names, on the site at its own address.
    site = re.search(r"^site_url: (.*)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert site is not None
    place = TYPE_PREFIX.removeprefix(site[1]).removesuffix("#")
    headings = re.findall(r' id="([a-z_]+)"', (tmp_path / "site" / place / "index.html").read_text())
    assert {reason.code for reason in Reason} <= set(headings)
