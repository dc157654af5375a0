# SPDX-License-Identifier: Apache-2.0
"""What the site needs beyond the pages: names for links to other files, and the page of the reasons again.

In a checkout a link to a file next to `docs` opens it; on a site there is none, and a link that leads nowhere
is worse than a path that one can look up. And each refusal links to `/reasons#<code>`, a place that must not
move when the pages are ordered in another way.
"""

import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel

REASONS = "reference/reasons.md"

_LINK = re.compile(r"\[([^\]]*)\]\(((?:\.\./)+[^)#\s]+)(#[^)]*)?\)")


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Called by MkDocs once: adds the page that the `type` of each refusal names."""
    text = (Path(config.docs_dir) / REASONS).read_text()
    page = File.generated(config, "reasons.md", content=text, inclusion=InclusionLevel.NOT_IN_NAV)
    files.append(page)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Called by MkDocs for each page."""
    depth = len(PurePosixPath(page.file.src_uri).parts) - 1
    return _LINK.sub(lambda found: _written(found, depth), markdown)


def _written(found: re.Match[str], depth: int) -> str:
    text, path = found[1], found[2]
    ups = len(re.match(r"(?:\.\./)*", path)[0]) // 3  # type: ignore[index]  # the pattern matches every text
    if ups <= depth:
        return found[0]
    name = path[3 * ups :]
    return f"`{name}`" if text.strip("`") in {name, PurePosixPath(name).name} else f"{text} (`{name}`)"
