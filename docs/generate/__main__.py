# SPDX-License-Identifier: Apache-2.0
"""`python -m docs.generate write|check`: write the generated files, or fail when one is out of date."""

import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from docs.generate import (
    admission,
    chart,
    commands,
    conditions,
    crds,
    desk,
    headers,
    metrics,
    permissions,
    policies,
    reasons,
    resources,
    schemas,
    snippets,
    usage,
)

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
PAGES: Mapping[str, Callable[[], str]] = {
    "reasons.md": reasons.page,
    "desk.md": desk.page,
    "desk-admin-openapi.json": desk.admin_openapi,
    "resources.md": resources.page,
    "admission.md": admission.page,
    "permissions.md": permissions.page,
    "conditions.md": conditions.page,
    "cli.md": commands.page,
    "metrics.md": metrics.page,
    "headers.md": headers.page,
    "usage-openapi.json": usage.page,
}
SCHEMAS: dict[str, Callable[[], str]] = {
    schemas.ALL: schemas.page_of_all,
    **{schemas.file_name(kind): partial(schemas.page, kind) for kind in schemas.KINDS},
}
MANIFESTS: dict[str, Callable[[], str]] = {
    f"crds/{name}": partial(crds.page, kind) for name, kind in crds.FILES.items()
}


def main() -> int:
    """Write or check; returns the exit code."""
    mode = sys.argv[1] if len(sys.argv) == 2 else ""
    if mode not in {"write", "check"}:
        print("use: python -m docs.generate write|check", file=sys.stderr)
        return 2
    stale = []
    files = {REFERENCE / name: page for name, page in PAGES.items()}
    files |= {ROOT / "manifests" / name: page for name, page in MANIFESTS.items()}
    files |= {ROOT / "manifests" / "schemas" / name: page for name, page in SCHEMAS.items()}
    # A chart can only read what lies in its own folder.
    files |= {chart.CHART / "files" / name: page for name, page in (MANIFESTS | policies.FILES).items()}
    files[chart.CHART / "README.md"] = chart.page
    files[chart.CHART / "files" / "defaults.yaml"] = chart.defaults
    files[ROOT / "manifests" / "snippets" / "protected-pod.yaml"] = snippets.protected
    files[ROOT / "manifests" / "snippets" / "calling-pod.yaml"] = snippets.calling
    for path, page in files.items():
        text = page()
        if mode == "write":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(str(path.relative_to(ROOT)))
    if stale:
        print(f"out of date: {', '.join(stale)}. Run `make generate`.", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
