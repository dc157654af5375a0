# SPDX-License-Identifier: Apache-2.0
"""Which files of a folder are read: those that kubectl takes, and no trust is applied that no one saw."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT, Work
from tests.cli.test_lint import FILES, WORKLOAD
from watchword.cli.failures import UnusableInput
from watchword.cli.folder import open_folder
from watchword.cli.manifest_files import read_folder

TEXT = """{{"apiVersion": "watchword.dev/v1alpha1", "kind": "ClusterTrustedIssuer", "metadata": {{"name":
 "{}"}}, "spec": {{"issuer": "https://a.example", "keys": {{"discovery": {{}}}}}}}}"""
# Names of files, and whether kubectl takes them.
NAMES = {
    "plain.yaml": True,
    "short.yml": True,
    "object.json": True,
    ".hidden.yaml": True,
    ".yaml": True,
    "sub/inside.yaml": True,
    ".d/hidden-folder.yaml": True,
    ".git/repository.yaml": True,
    "folder.yaml/inside.json": True,
    "node_modules/package.json": True,
    "UPPER.YAML": False,
    "backup.yaml~": False,
    ".swap.yaml.swp": False,
    "notes.txt": False,
    "yaml": False,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        file = tmp_path / "m" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(TEXT.format(f"i{number}"))
    linked = tmp_path / "elsewhere"
    linked.mkdir()
    (linked / "w.yaml").write_text(TEXT.format("by-link"))
    (tmp_path / "m/link.yaml").symlink_to(linked / "w.yaml")
    (tmp_path / "m/linked").symlink_to(linked)
    return tmp_path / "m"


def test_the_files_that_kubectl_takes_are_read(folder: Path) -> None:
    expected = [*(name for name, is_taken in NAMES.items() if is_taken), "link.yaml"]
    assert sorted(name for name, _ in read_folder(folder)) == sorted(expected)
    names = {each.metadata.name for each in open_folder(str(folder)).resources.issuers}
    kubectl = shutil.which("kubectl", path=f"{ROOT}/.venv/bin{os.pathsep}{os.environ['PATH']}")
    if kubectl is None:
        pytest.skip("kubectl is not there to be compared with")
    done = subprocess.run(
        [kubectl, "annotate", "--local", "--recursive", f"--filename={folder}", "a=b", "--output=name"],
        capture_output=True,
        check=True,
        text=True,
    )
    assert {line.rpartition("/")[2] for line in done.stdout.splitlines()} == names


@pytest.mark.parametrize("name", [".atlas.yaml", ".d/atlas.yaml", ".git/atlas.yaml"])
def test_trust_in_a_hidden_file_is_seen(work: Work, name: str) -> None:
    for file, text in FILES.items():
        work.write(f"new/{file}", text)
        work.write(f"old/{file}", text)
    (work.path / "old/atlas.yaml").unlink()
    (work.path / "new/atlas.yaml").unlink()
    work.write(f"new/{name}", WORKLOAD)
    done = work.run("diff", "{work}/new", "--against", "{work}/old")
    assert done.exit_code == 1
    assert "ServiceAccount atlas-production/atlas of this-cluster: is trusted" in done.stdout
    assert work.run("who-can", "app:read", "--manifests", "{work}/new").exit_code == 0
    work.write(f"new/{name}", WORKLOAD.replace("grants:", "grant:"))
    done = work.run("lint", "{work}/new")
    assert done.exit_code == 1
    assert name in done.stdout


@pytest.mark.parametrize("what", ["a broken link", "a link to a folder", "a pipe"])
def test_what_is_named_like_a_manifest_and_is_none_is_an_error(folder: Path, what: str) -> None:
    place = folder / "x.yaml"
    if what == "a pipe":
        os.mkfifo(place)
    else:
        place.symlink_to("nowhere" if what == "a broken link" else folder.parent / "elsewhere")
    with pytest.raises(UnusableInput, match=r"x\.yaml is named like a manifest"):
        read_folder(folder)


def test_a_branch_that_is_named_like_a_manifest_is_passed_over(folder: Path) -> None:
    commit = "52ad4bcbd4b6e4b8d4b4dcb4d4b4b4b4b4b4b4b4"
    for name, text in {
        "refs/heads/fix.yaml": f"{commit}\n",
        "logs/refs/heads/fix.yaml": f"{commit} {commit} A <a@b.c> 1 +0000\tcommit: fix: a\n" * 2,
    }.items():
        (folder / ".git" / name).parent.mkdir(parents=True)
        (folder / ".git" / name).write_text(text)
    assert not [name for name, _ in read_folder(folder) if "fix" in name]
    # Only what holds nothing else.
    (folder / ".git/refs/heads/fix.yaml").write_text(f"{commit}\n---\n{TEXT.format('a')}")
    assert [name for name, _ in read_folder(folder) if "fix" in name] == [".git/refs/heads/fix.yaml"]


def test_an_editors_hidden_copy_is_not_what_runs_while_it_is_edited(folder: Path) -> None:
    (folder / ".#plain.yaml").symlink_to("someone@host.1:1")
    names = {name for name, _ in read_folder(folder, skips_hidden=True)}
    assert "plain.yaml" in names
    assert not [name for name in names if name.startswith(".")]
