# SPDX-License-Identifier: Apache-2.0
"""`watchword dev --desk-listen` where its desk cannot start: it says why and ends, in bounded time."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.desk.test_dev import objects
from watchword.cli.dev import desk as module
from watchword.cli.dev.desk import DevelopmentDesk
from watchword.cli.dev.issuer import DevelopmentIssuer
from watchword.cli.failures import UnusableInput
from watchword.cli.options import Address

ANYWHERE = Address("127.0.0.1", 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, each in enumerate(objects()):
        (tmp_path / f"{number}.json").write_text(json.dumps(each))
    return tmp_path


def made(folder: Path, store: str = "sqlite:///:memory:", listen: Address = ANYWHERE) -> DevelopmentDesk:
    return DevelopmentDesk(folder, (DevelopmentIssuer("development"),), listen, store=store, rate=0)


def entered(desk: DevelopmentDesk) -> UnusableInput:
    """What a desk says that does not start; it ends, whether its caller waits for it or not."""
    found: list[UnusableInput] = []

    def enter() -> None:
        try:
            with desk:
                pass
        except UnusableInput as unusable:
            found.append(unusable)

    thread = threading.Thread(target=enter, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive(), "it hangs"
    assert found, "it started silently"
    return found[0]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STARTS_WITHIN_SECONDS", 2.0)


def test_a_desk_that_starts_answers_and_ends(folder: Path) -> None:
    with made(folder) as desk:
        assert desk.address.startswith("127.0.0.1:")
    assert not desk._thread.is_alive()


@pytest.mark.usefixtures("impatient")
def test_a_store_that_does_not_answer_is_said_and_is_no_hang(folder: Path) -> None:
    said = entered(made(folder, "postgresql://desk@127.0.0.1:9/desk"))
    assert "--desk-listen: the desk is not ready after 2 s" in said.message
    assert "it does not say why" not in said.message


@pytest.mark.usefixtures("impatient")
def test_a_configuration_that_is_refused_is_said_and_is_no_hang(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = made(folder)
    for path in folder.iterdir():
        path.unlink()
    said = entered(desk)
    assert "the desk is not ready after 2 s" in said.message
    assert said.remedy not in ("", ".")


def test_a_defect_of_the_desk_is_no_silent_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a defect")

    monkeypatch.setattr(module, "running", fail)
    said = entered(made(folder))
    assert said.message == "--desk-listen: the desk failed (RuntimeError)."


def test_a_port_that_is_taken_is_said_by_the_flags_name(folder: Path) -> None:
    with made(folder) as desk:
        host, _, port = desk.address.rpartition(":")
        said = entered(made(folder, listen=Address(host, int(port))))
    assert said.message.startswith("--desk-listen")
