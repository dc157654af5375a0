# SPDX-License-Identifier: Apache-2.0
"""Where the control plane comes from when things are missing, wrong or there already. No real build."""

from __future__ import annotations

import io
import os
import shutil
import threading
from pathlib import Path

import pytest

from testing.controlplane.binary import SOURCE, find_binaries, kubernetes_version, source_key
from testing.controlplane.build import BuildFailedError
from testing.controlplane.cache import ControlPlaneUnavailableError
from testing.unavailable import needed_program


def put_programs(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch(mode=0o755)
    return folder


def copy_of_source(folder: Path) -> Path:
    return Path(shutil.copytree(SOURCE, folder / "server"))


def cache_in(home: Path) -> Path:
    return home / "watchword" / "controlplane"


def test_stated_assets_come_first(tmp_path: Path) -> None:
    assets = put_programs(tmp_path / "assets", "kube-apiserver", "etcd")

    found = find_binaries({"KUBEBUILDER_ASSETS": str(assets), "PATH": ""})

    assert (found.folder, found.origin) == (assets, "KUBEBUILDER_ASSETS")


@pytest.mark.parametrize("missing", ["kube-apiserver", "etcd"])
def test_stated_assets_that_lack_a_program_are_an_error_and_not_passed_over(
    tmp_path: Path, missing: str
) -> None:
    [present] = {"kube-apiserver", "etcd"} - {missing}
    assets = put_programs(tmp_path / "assets", present)

    with pytest.raises(BuildFailedError, match=rf"no executable `{missing}` in .*unset it"):
        find_binaries({"KUBEBUILDER_ASSETS": str(assets), "PATH": os.environ["PATH"]})


def test_without_a_binary_and_without_go_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(ControlPlaneUnavailableError, match=r"Install Go .* Or set KUBEBUILDER_ASSETS"):
        find_binaries({"XDG_CACHE_HOME": str(tmp_path), "PATH": ""})


def test_without_go_a_finished_build_of_these_sources_serves(tmp_path: Path) -> None:
    built = put_programs(
        cache_in(tmp_path) / f"{source_key()}-go1.26.0-linux-amd64", "kube-apiserver", "etcd"
    )

    assert find_binaries({"XDG_CACHE_HOME": str(tmp_path), "PATH": ""}).folder == built


def test_without_go_a_build_of_other_sources_does_not_serve(tmp_path: Path) -> None:
    put_programs(cache_in(tmp_path) / "v1.36.3-0123456789ab-go1.26.0-linux-amd64", "kube-apiserver", "etcd")

    with pytest.raises(ControlPlaneUnavailableError):
        find_binaries({"XDG_CACHE_HOME": str(tmp_path), "PATH": ""})


@pytest.mark.parametrize("name", ["go.mod", "go.sum", "main.go"])
def test_a_change_of_any_source_asks_for_a_new_build(tmp_path: Path, name: str) -> None:
    source = copy_of_source(tmp_path)
    assert source_key(source) == source_key()

    (source / name).write_text((source / name).read_text() + "\n")

    assert source_key(source) != source_key()


def test_every_staging_module_has_the_version_of_kubernetes() -> None:
    staging = kubernetes_version().replace("v1.", "v0.", 1)
    replaced = [line.split() for line in (SOURCE / "go.mod").read_text().splitlines() if "=>" in line]

    assert len(replaced) == 33
    assert {version for _, _, _, version in replaced} == {staging}


def test_a_build_that_fails_shows_the_compiler_and_leaves_nothing_in_the_cache(tmp_path: Path) -> None:
    needed_program("go", tests="tests of Go builds")
    source = copy_of_source(tmp_path)
    (source / "main.go").write_text("package main\n\nfunc main() { undefined() }\n")
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "KUBEBUILDER_ASSETS": ""}
    said = io.StringIO()

    (cache_in(tmp_path) / ".building-killed").mkdir(parents=True)

    with pytest.raises(BuildFailedError, match="undefined: undefined"):
        find_binaries(environment, said, source)

    assert "building Kubernetes v1" in said.getvalue()
    assert [path.name for path in cache_in(tmp_path).iterdir()] == ["build.lock"]


def test_two_that_need_a_build_make_one(tmp_path: Path) -> None:
    needed_program("go", tests="tests of Go builds")
    source = copy_of_source(tmp_path)
    (source / "main.go").write_text("package main\n\nfunc main() {}\n")
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "KUBEBUILDER_ASSETS": ""}
    said = [io.StringIO(), io.StringIO()]
    threads = [
        threading.Thread(target=find_binaries, args=(environment, progress, source)) for progress in said
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum("building Kubernetes" in progress.getvalue() for progress in said) == 1
    assert len([path for path in cache_in(tmp_path).iterdir() if path.is_dir()]) == 1
