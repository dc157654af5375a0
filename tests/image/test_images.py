# SPDX-License-Identifier: Apache-2.0
"""What is in the images, as a runtime and a scanner see it, and that anybody can build them again."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from image.__main__ import arguments
from image.build import FLAVOURS
from tests.image.archive import Archive
from tests.image.fixtures import EPOCH, Images

ROOT = Path(__file__).parents[2]
PYTHON = "/usr/bin/python3.11"
Unpacked = Callable[[str], Path]


@pytest.mark.parametrize(
    ("given", "flavours"),
    [([], ["gate", "operator"]), (["demo"], ["demo"]), (["operator", "gate"], ["operator", "gate"])],
)
def test_the_command_line_builds_what_is_named_and_both_by_default(
    given: list[str], flavours: list[str]
) -> None:
    assert arguments(given).flavours == flavours


@pytest.mark.parametrize("given", [["gates"], ["--root", "x"], ["gate", "operator", "--root", "x"]])
def test_a_wrong_command_line_says_what_would_be_right(
    given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        arguments(given)
    assert ended.value.code == 2
    assert re.search("choose from gate, operator, demo|exactly one flavour", capsys.readouterr().err)


@pytest.fixture(scope="module")
def unpacked(images: Images, tmp_path_factory: pytest.TempPathFactory) -> Unpacked:
    folder = tmp_path_factory.mktemp("unpacked")

    def unpack(flavour: str) -> Path:
        root = folder / flavour
        if not root.exists():
            Archive(images.archives[flavour]).unpack(root)
        return root

    return unpack


def run_in(root: Path, program: str) -> str:
    """Run Python code in the image's own root, with its own Python; return what it prints."""
    done = subprocess.run(
        ["chroot", "--userspec=65532:65532", str(root), PYTHON, "-Ic", program],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/usr/sbin:/bin:/sbin", "LANG": "C.UTF-8"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_same_input_gives_the_same_bytes(images: Images, tmp_path: Path) -> None:
    # Built anew without the layers of earlier builds, in another folder, with another umask and hash seed.
    (tmp_path / "elsewhere").mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path / "elsewhere"), "SOURCE_DATE_EPOCH": str(EPOCH)}
    command = [sys.executable, "-m", "image", "gate", f"--output={tmp_path}"]

    subprocess.run(command, cwd=ROOT, env=environment, umask=0o077, check=True, capture_output=True)

    assert (tmp_path / "watchword-gate.tar").read_bytes() == images.archives["gate"].read_bytes()


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_it_starts_as_nobody_in_particular(images: Images, flavour: str) -> None:
    started = Archive(images.archives[flavour]).configuration["config"]

    assert started["User"] == "65532:65532"
    assert started["Entrypoint"][0] in {"/usr/bin/watchword", PYTHON}


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_there_is_no_shell_no_package_manager_and_nothing_that_raises_privileges(
    unpacked: Unpacked, flavour: str
) -> None:
    root = unpacked(flavour)
    paths = [Path(folder, name) for folder, folders, files in os.walk(root) for name in (*folders, *files)]
    modes = {path: path.lstat().st_mode for path in paths if not path.is_symlink()}

    programs = sorted(path.name for path in (root / "usr/bin").iterdir())
    assert programs == ["python3.11", "watchword"]
    assert list((root / "usr/sbin").iterdir()) == []
    assert [path for path, mode in modes.items() if mode & (stat.S_ISUID | stat.S_ISGID)] == []
    assert [path for path, mode in modes.items() if mode & stat.S_IWOTH] == [root / "tmp"]


def test_the_layers_are_what_the_configuration_says_and_none_hides_another(images: Images) -> None:
    archive = Archive(images.archives["operator"])
    names: set[str] = set()
    for layer, diff_id in zip(
        archive.manifest["layers"], archive.configuration["rootfs"]["diff_ids"], strict=True
    ):
        plain = gzip.decompress(archive.blob(layer))
        assert f"sha256:{hashlib.sha256(plain).hexdigest()}" == diff_id
        with tarfile.open(fileobj=io.BytesIO(plain)) as opened:
            entries = opened.getmembers()
        assert {(entry.uid, entry.gid, entry.mtime) for entry in entries} == {(0, 0, 0)}
        assert names.isdisjoint(entry.name for entry in entries)
        names.update(entry.name for entry in entries)


def test_the_operators_image_is_the_gates_and_more(images: Images) -> None:
    gate, operator = (Archive(images.archives[each]).manifest["layers"] for each in ("gate", "operator"))

    # All but the last, which holds each one's bill of materials.
    assert operator[: len(gate) - 1] == gate[:-1]


def test_the_gates_image_has_nothing_that_the_gate_may_not_import(unpacked: Unpacked) -> None:
    packages = {path.name for path in (unpacked("gate") / "usr/lib/python3/dist-packages").iterdir()}

    # urllib3 is there for ClickHouse's client, and requests for the exporter of traces: each is imported when
    # a DSN or --trace-sample-ratio asks for it (tests/gate/test_imports.py).
    assert packages.isdisjoint({"kopf", "kubernetes", "httpx", "pip", "setuptools"})


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_it_has_watchword_and_every_package_in_its_locked_version_and_no_other(
    unpacked: Unpacked, flavour: str
) -> None:
    lock = (ROOT / "requirements" / f"{flavour}.txt").read_text()
    locked = re.findall(r"^(\S+)==(\S+)(?: ; (.*))? \\$", lock, re.MULTILINE)
    # Python of the image: CPython 3.11 on Linux, which every marker here but these is true of.
    expected = {name: version for name, version, marker in locked if not _is_for_others(marker)}
    program = """
import importlib.metadata, json
print(json.dumps({each.metadata["Name"]: each.version for each in importlib.metadata.distributions()}))
"""
    found = json.loads(run_in(unpacked(flavour), program))

    installed = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found.items()}
    assert installed.pop("watchword")
    assert installed == expected


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_every_module_has_its_bytecode(unpacked: Unpacked, flavour: str) -> None:
    library = unpacked(flavour) / "usr/lib"
    compiled = {path.name.split(".cpython")[0]: path for path in library.rglob("*.pyc")}

    # A read-only root could not keep what a start would have to compile.
    assert [path for path in library.rglob("*.py") if path.stem not in compiled] == []


def test_every_extension_and_every_module_of_the_gate_imports(unpacked: Unpacked) -> None:
    program = """
import importlib, os, pkgutil, ssl
for name in os.listdir("/usr/lib/python3.11/lib-dynload"):
    importlib.import_module(name.split(".")[0])
for name in ("identity", "trust", "usage", "gate"):
    package = importlib.import_module(f"watchword.{name}")
    for module in pkgutil.walk_packages(package.__path__, f"watchword.{name}."):
        importlib.import_module(module.name)
print(ssl.create_default_context().cert_store_stats()["x509_ca"])
"""
    assert int(run_in(unpacked("gate"), program)) > 100


def test_the_operators_libraries_import(unpacked: Unpacked) -> None:
    assert run_in(unpacked("operator"), "import kopf, kubernetes.client; print(kopf.run)")


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_its_bill_of_materials_is_valid_and_names_what_is_there(
    images: Images, unpacked: Unpacked, flavour: str
) -> None:
    beside = (images.archives[flavour].parent / f"watchword-{flavour}.cdx.json").read_text()
    inside = (unpacked(flavour) / f"usr/share/sbom/watchword-{flavour}.cdx.json").read_text()
    named = {component["purl"].split("@")[0] for component in json.loads(beside)["components"]}
    recorded = {path.name for path in (unpacked(flavour) / "var/lib/dpkg/status.d").iterdir()}
    described = (unpacked(flavour) / "usr/lib/python3/dist-packages").glob("*.dist-info")
    installed = {re.sub(r"[-_.]+", "-", path.name.split("-")[0]).lower() for path in described}

    assert beside == inside
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(beside) is None
    assert named == {f"pkg:deb/debian/{name}" for name in recorded} | {
        f"pkg:pypi/{name}" for name in installed
    }


def _is_for_others(marker: str) -> bool:
    return any(
        said in marker for said in ("== 'win32'", "== 'Windows'", ">= '3.12'", ">= '3.13'", "== 'PyPy'")
    )


@pytest.mark.parametrize("flavour", ["gate", "operator"])
def test_its_size_is_what_the_page_says(images: Images, flavour: str) -> None:
    page = (ROOT / "docs/reference/images.md").read_text()
    [said] = re.findall(rf"^\| `{flavour}` \|.*\| (\d+) MB \|$", page, re.MULTILINE)
    layers = Archive(images.archives[flavour]).manifest["layers"]
    # Debian's packages of another day differ a little.
    assert abs(sum(each["size"] for each in layers) / 1e6 - int(said)) < 4
