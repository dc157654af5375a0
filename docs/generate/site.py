# SPDX-License-Identifier: Apache-2.0
"""What the site needs of the pages: links to files beside `docs` become their names.

In a checkout such a link opens the file; on a site there is none, and a link that leads nowhere is worse than
a path that one can look up.
"""

import re
from pathlib import PurePosixPath
from typing import Any

_LINK = re.compile(r"\[([^\]]*)\]\(((?:\.\./)+[^)#\s]+)(#[^)]*)?\)")


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
