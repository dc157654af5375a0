# SPDX-License-Identifier: Apache-2.0
"""What a release has: whole, checked by its sums, the same bytes each time, and taken by pip and Helm."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from image.chart import package_chart
from image.release import PROVENANCE, SUMS
from tests.charts.conftest import Helm, helm
from tests.image.archive import Archive
from tests.image.fixtures import EPOCH, Images

__all__ = ["helm"]
ROOT = Path(__file__).parents[2]
NAMES = {
    "watchword-0.1.0-py3-none-any.whl",
    "watchword-0.1.0.tar.gz",
    "watchword-0.1.0.tgz",
    "watchword-sidecar-0.1.0.tgz",
    "watchword-chart.tar",
    "watchword-sidecar-chart.tar",
    "watchword-gate.tar",
    "watchword-gate.cdx.json",
    "watchword-operator.tar",
    "watchword-operator.cdx.json",
    PROVENANCE,
    SUMS,
}


def make(output: Path, images: Images, *, umask: int = 0o022, **environment: str) -> None:
    given = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH), **environment}
    flags = (f"--output={output}", f"--images={images.archives['gate'].parent}", "--allow-dirty")
    command = [sys.executable, "-m", "image.release", *flags]
    done = subprocess.run(
        command, cwd=ROOT, env=given, umask=umask, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def released(images: Images, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release") / "first"
    make(folder, images)
    return folder


def test_it_has_everything_and_sums_that_hold(released: Path) -> None:
    assert {each.name for each in released.iterdir()} == NAMES
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", SUMS], cwd=released, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout
    assert len(checked.stdout.splitlines()) == len(NAMES) - 1


def test_the_same_input_gives_the_same_bytes(released: Path, images: Images, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    hashes = {"PYTHONHASHSEED": "7", "TMPDIR": str(tmp_path / "elsewhere"), "TZ": "Asia/Tokyo"}
    make(tmp_path / "second", images, umask=0o077, **hashes)
    assert (tmp_path / "second" / SUMS).read_text() == (released / SUMS).read_text()


def test_the_statement_names_every_file_the_commit_and_the_locks(released: Path) -> None:
    statement: dict[str, Any] = json.loads((released / PROVENANCE).read_text())
    named = {each["name"]: each["digest"]["sha256"] for each in statement["subject"]}
    assert set(named) == NAMES - {PROVENANCE, SUMS}
    for name, digest in named.items():
        assert hashlib.sha256((released / name).read_bytes()).hexdigest() == digest
    definition = statement["predicate"]["buildDefinition"]
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert definition["resolvedDependencies"][0]["digest"] == {"gitCommit": head.stdout.strip()}
    locks = {each["name"] for each in definition["resolvedDependencies"][1:]}
    assert {"requirements/gate.txt", "requirements/operator.txt"} <= locks


def test_a_tree_with_changes_is_no_release_unless_told(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--depth=1", f"file://{ROOT}", str(clone)], check=True)
    (clone / "new").write_text("x")
    program = "import image.release as r, pathlib; r.ROOT = pathlib.Path('.'); r.release(pathlib.Path('out'))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=clone,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Remedy: commit them" in done.stderr
    assert not (clone / "out").exists()


def test_the_wheel_and_the_source_hold_the_package_and_nothing_of_the_tests(released: Path) -> None:
    with zipfile.ZipFile(released / "watchword-0.1.0-py3-none-any.whl") as wheel:
        names = wheel.namelist()
    assert "watchword/cli/main.py" in names
    with tarfile.open(released / "watchword-0.1.0.tar.gz") as source:
        others = source.getnames()
    assert "watchword-0.1.0/src/watchword/cli/main.py" in others
    assert not [each for each in (*names, *others) if "tests" in Path(each).parts]


@pytest.mark.parametrize("chart", ["watchword", "watchword-sidecar"])
def test_the_chart_is_one_by_helms_own_word_and_lies_in_its_archive(
    released: Path, helm: Helm, chart: str
) -> None:
    package = released / f"{chart}-0.1.0.tgz"
    shown = helm.run("show", "chart", str(package))
    assert shown.returncode == 0, shown.stderr
    assert yaml.safe_load(shown.stdout)["name"] == chart
    archive = Archive(released / f"{chart}-chart.tar")
    [layer] = archive.manifest["layers"]
    assert layer["mediaType"] == "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
    assert archive.blob(layer) == package.read_bytes()
    assert archive.configuration["version"] == "0.1.0"
    assert archive.entry["annotations"]["org.opencontainers.image.ref.name"] == "0.1.0"


def test_the_packed_chart_renders_what_the_folder_does(released: Path, helm: Helm) -> None:
    flags = ("--namespace", "watchword-system", "--kube-version", "1.36.0")
    packed = helm.run("template", "watchword", str(released / "watchword-0.1.0.tgz"), *flags)
    assert packed.returncode == 0, packed.stderr
    assert packed.stdout == helm.run("template", "watchword", str(ROOT / "charts/watchword"), *flags).stdout


def test_helm_itself_packs_the_same_files(helm: Helm, tmp_path: Path) -> None:
    packed = helm.run("package", str(ROOT / "charts/watchword"), "--destination", str(tmp_path))
    assert packed.returncode == 0, packed.stderr
    name, ours = package_chart(ROOT / "charts/watchword", EPOCH)
    (tmp_path / "ours.tgz").write_bytes(ours)
    found = []
    for path in (tmp_path / name, tmp_path / "ours.tgz"):
        with tarfile.open(path) as opened:
            found.append({each.name for each in opened.getmembers() if each.isfile()})
    assert found[0] == found[1]


WORKFLOW: dict[Any, Any] = yaml.safe_load((ROOT / ".github/workflows/release.yaml").read_text())


def test_the_workflow_builds_with_make_and_its_scripts_are_ones_of_bash() -> None:
    scripts = [step["run"] for job in WORKFLOW["jobs"].values() for step in job["steps"] if "run" in step]
    assert any("make release" in each for each in scripts)
    for each in scripts:
        # What GitHub puts in is no syntax of the shell: none may stand in a script.
        assert "${{" not in each
        done = subprocess.run(["bash", "-n"], input=each, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_the_workflow_names_files_that_a_release_has() -> None:
    text = json.dumps(WORKFLOW)
    for name in (SUMS, PROVENANCE):
        assert name in text
    for image in ("gate", "operator"):
        assert f"watchword-{image}.tar" in NAMES
    for chart in ("watchword", "watchword-sidecar"):
        assert f"{chart}-chart.tar" in NAMES


def test_only_what_publishes_may_write_and_nothing_is_granted_by_default() -> None:
    assert WORKFLOW["permissions"] == {}
    assert WORKFLOW["jobs"]["build"]["permissions"] == {"contents": "read"}
