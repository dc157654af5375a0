# SPDX-License-Identifier: Apache-2.0
"""A folder with manifests and tokens for them, and the command line as a function."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from testing.tokens import NOW, claims, compact, signer, token
from tests.cli.sign_in_run import Terminal
from watchword.cli.main import watchword

ROOT = Path(__file__).parents[2]
SERVICE = (ROOT / "manifests/quickstart/service.yaml").read_text()
ATLAS = (ROOT / "manifests/quickstart/atlas.yaml").read_text()


@dataclass(frozen=True)
class Work:
    """A scratch folder; `{work}` in an argument stands for it."""

    path: Path

    def run(self, *arguments: str, stdin: bytes | None = None, **environment: str) -> Result:
        filled = [argument.replace("{work}", str(self.path)) for argument in arguments]
        return CliRunner().invoke(watchword, filled, input=stdin, env=environment, prog_name="watchword")

    def write(self, name: str, data: str | bytes) -> None:
        file = self.path / name
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_bytes(data if isinstance(data, bytes) else data.encode())


@pytest.fixture
def work(tmp_path: Path) -> Work:
    made = Work(tmp_path)
    issuer = {
        "apiVersion": "watchword.dev/v1alpha1",
        "kind": "ClusterTrustedIssuer",
        "metadata": {"name": "development"},
        "spec": {"issuer": claims()["iss"], "keys": {"inline": {"keys": [signer().jwk]}}},
    }
    made.write("good/service.yaml", SERVICE)
    made.write("good/atlas.yaml", ATLAS)
    made.write("good/issuer.json", compact(issuer))
    made.write("two/all.yaml", f"{SERVICE}---\n{SERVICE.replace('name: tuist-server', 'name: other')}")
    made.write("broken/service.yaml", SERVICE.replace("audiences: [tuist-server]", "audience: tuist-server"))
    made.write("empty/notes.txt", "nothing")
    made.write("token", token())
    made.write("nothing", b"")
    made.write("junk", b"\x00junk")
    made.write("large", b"x" * 70_000)
    made.write("jwks.json", json.dumps({"keys": [signer().jwk]}))
    made.write("nokeys.json", json.dumps({"keys": [{"kty": "oct", "kid": "a", "k": "c2VjcmV0"}]}))
    compiled = made.run("compile", "{work}/good", "-o", "bundle")
    made.write("bundle.json", compiled.stdout_bytes.rstrip(b"\n"))
    return made


AT = str(int(NOW))


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    made: list[Terminal] = []

    def start(*flags: str, **environment: str) -> Terminal:
        made.append(Terminal(tmp_path, *flags, **environment))
        return made[-1]

    yield start
    for each in made:
        if each.process.poll() is None:
            each.process.kill()
        each.process.communicate()
