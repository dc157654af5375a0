# SPDX-License-Identifier: Apache-2.0
"""Every server is made by `bounded_server`: another constructor would be a port without bounds."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "src" / "watchword"
ALLOWED = SOURCES / "process" / "server.py"
# What makes a server of its own, or the means to one.
MAKERS = {"Config", "Server", "run", "serve", "HTTPServer", "ThreadingHTTPServer"}
LISTENING = {"create_server", "start_server"}
# Places with a reason: one listens, and gives the socket to a bounded server; the others serve the person at
# the terminal on loopback: two documents while `watchword dev` runs, and a browser's one answer to a sign-in.
LISTENERS = {
    SOURCES / "process" / "listening.py": {"create_server"},
    SOURCES / "cli" / "dev" / "issuer_server.py": {"ThreadingHTTPServer"},
    SOURCES / "cli" / "desk" / "loopback.py": {"ThreadingHTTPServer"},
}


def made_in(source: str) -> set[str]:
    """The names by which a module makes servers: of uvicorn, asyncio, socket and http.server."""
    tree = ast.parse(source)
    modules: dict[str, str] = {}
    found = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {each.asname or each.name.partition(".")[0]: each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            root = node.module.partition(".")[0]
            if (
                root in {"uvicorn", "http", "hypercorn", "aiohttp", "socketserver"}
                and "protocols" not in node.module
            ):
                found |= {each.name for each in node.names if each.name in MAKERS}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in LISTENING:
            found.add(node.attr)
        elif isinstance(node, ast.Attribute) and node.attr in MAKERS:
            owner = node.value
            while isinstance(owner, ast.Attribute):
                owner = owner.value
            if isinstance(owner, ast.Name) and modules.get(owner.id, "") in {"uvicorn", "http.server"}:
                found.add(node.attr)
    return found


def servers_of(source: str) -> set[str]:
    """As `made_in`, without `Config` and `Server` where they are only the types of arguments."""
    tree = ast.parse(source)
    names = {
        each.asname or each.name: each.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for each in node.names
    }
    used = set[str]()
    for node in ast.walk(tree):
        makers: list[ast.expr] = []
        if isinstance(node, ast.Call):
            makers = [node.func]
        elif isinstance(node, ast.ClassDef):
            # A subclass makes servers as well: it is called by a name of its own.
            makers = node.bases
        for maker in makers:
            if isinstance(maker, ast.Name):
                used.add(names.get(maker.id, maker.id))
            elif isinstance(maker, ast.Attribute):
                used.add(maker.attr)
    return {name for name in made_in(source) if name not in {"Config", "Server"} or name in used}


@pytest.mark.parametrize(
    "path", sorted(SOURCES.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCES))
)
def test_servers_are_made_in_one_place_only(path: Path) -> None:
    if path == ALLOWED:
        return
    assert servers_of(path.read_text()) <= LISTENERS.get(path, set())


def test_the_check_sees_a_second_constructor() -> None:
    assert servers_of("import uvicorn\nuvicorn.Server(uvicorn.Config(app))") == {"Server", "Config"}
    assert servers_of("import uvicorn\nclass Mine(uvicorn.Server): ...") == {"Server"}
    assert servers_of("import uvicorn as u\nu.run(app)") == {"run"}
    assert servers_of("from uvicorn import Server\nServer(config)") == {"Server"}
    assert servers_of("from uvicorn import Server as Mine\nMine(config)") == {"Server"}
    assert servers_of("import asyncio\nasyncio.start_server(f)") == {"start_server"}
    assert servers_of("from http.server import HTTPServer") == {"HTTPServer"}
    assert servers_of("from uvicorn.config import Config\ndef f(config: Config): ...") == set()
    assert servers_of("import uvicorn\ndef f(config: uvicorn.Config): ...") == set()


def test_the_one_constructor_is_one_that_the_check_would_see() -> None:
    assert servers_of(ALLOWED.read_text()) == {"Config", "Server"}
