# SPDX-License-Identifier: Apache-2.0
"""The programs of a node beside its API server, each with its configuration and its own, narrow identity.

Every one has a client certificate of its own, as in a cluster that kubeadm made: RBAC and the Node authorizer
then refuse here what they would refuse there.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from testing.controlplane import Cluster, StartFailedError, wait_until
from testing.controlplane.certificates import Authority, ServingFiles, write_private_file
from testing.controlplane.process import running
from testing.environment import child_environment
from testing.node.programs import Programs
from testing.node.space import Space, children_of

NODE_NAME = "node-1"
POD_RANGE = "10.244.0.0/24"
# The default, of the node's own mounts. Also a short path: the kubelet's sockets lie in it.
KUBELET_FOLDER = Path("/var/lib/kubelet")
PAUSE_IMAGE = "watchword.test/pause:1"
_KUBELET_HEALTH_PORT = 10248
_TAIL_BYTES = 6000


@dataclass(frozen=True, slots=True)
class Ground:
    """What all programs of a node stand on."""

    folder: Path
    space: Space
    programs: Programs
    authority: Authority
    cluster: Cluster


@contextmanager
def controllers(ground: Ground) -> Iterator[None]:
    """Run controller manager and scheduler: tokens, garbage collection, Deployments, who runs where."""
    manager = ground.authority.write("controller-manager", "system:kube-controller-manager")
    scheduler = ground.authority.write("scheduler", "system:kube-scheduler")
    with ExitStack() as stack:
        stack.enter_context(
            _control_loop(
                ground,
                "kube-controller-manager",
                10257,
                f"--kubeconfig={_kubeconfig(ground, 'controller-manager', manager)}",
                "--use-service-account-credentials=true",
                f"--service-account-private-key-file={ground.folder / 'service-account.key'}",
                f"--root-ca-file={ground.authority.path}",
                "--leader-elect=false",
            )
        )
        stack.enter_context(
            _control_loop(
                ground,
                "kube-scheduler",
                10259,
                f"--kubeconfig={_kubeconfig(ground, 'scheduler', scheduler)}",
                "--leader-elect=false",
            )
        )
        yield


@contextmanager
def _control_loop(ground: Ground, name: str, port: int, *flags: str) -> Iterator[int]:
    command = [
        str(ground.programs.kubernetes / name),
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        *flags,
    ]

    def is_ready() -> bool:
        return ground.space.call(lambda: _answers(f"https://127.0.0.1:{port}/healthz"))

    log = ground.folder / f"{name}.log"
    with running(command, log=log, is_ready=is_ready, enter=ground.space.enter) as pid:
        yield pid


@contextmanager
def containerd(ground: Ground) -> Iterator[Path]:
    """Run containerd on the node; yields the path of its socket."""
    folder = ground.folder / "containerd"
    (folder / "net.d").mkdir(parents=True)
    _write_json(folder / "net.d" / "10-bridge.conflist", _network())
    address = Path("/run/watchword-containerd.sock")  # of the node's own mounts: /run is not the machine's
    configuration = folder / "config.toml"
    configuration.write_text(_containerd_configuration(ground, folder, address))
    command = [str(ground.programs.runtime / "containerd"), f"--config={configuration}"]
    ctr = [*ground.space.enter_wholly, str(ground.programs.runtime / "ctr"), f"--address={address}"]

    def is_ready() -> bool:
        return subprocess.run([*ctr, "version"], capture_output=True, check=False).returncode == 0

    with _process_of_the_node(ground, command, ground.folder / "containerd.log", is_ready):
        yield address


@contextmanager
def kubelet(ground: Ground, runtime_address: Path) -> Iterator[int]:
    """Run the kubelet; yields its process id, as seen from here."""
    folder = KUBELET_FOLDER
    client = ground.authority.write("kubelet-client", f"system:node:{NODE_NAME}", groups=["system:nodes"])
    serving = ground.authority.write(
        "kubelet-serving", f"system:node:{NODE_NAME}", groups=["system:nodes"], names=[ground.space.address]
    )
    configuration = ground.folder / "kubelet.json"
    _write_json(configuration, _kubelet_configuration(ground, folder, runtime_address, serving))
    command = [
        str(ground.programs.kubernetes / "kubelet"),
        f"--config={configuration}",
        f"--kubeconfig={_kubeconfig(ground, 'kubelet', client)}",
        f"--root-dir={folder}",
        f"--cert-dir={folder}",
        f"--hostname-override={NODE_NAME}",
        f"--node-ip={ground.space.address}",
    ]

    def is_ready() -> bool:
        return ground.space.call(lambda: _answers(f"http://127.0.0.1:{_KUBELET_HEALTH_PORT}/healthz"))

    with _process_of_the_node(ground, command, ground.folder / "kubelet.log", is_ready) as pid:
        yield pid


@contextmanager
def proxy(ground: Ground) -> Iterator[int]:
    """Run kube-proxy, which makes Services reachable, with nftables."""
    client = ground.authority.write("proxy", "system:kube-proxy")
    configuration = ground.folder / "proxy.json"
    _write_json(
        configuration,
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clusterCIDR": POD_RANGE,
            "hostnameOverride": NODE_NAME,
            "clientConnection": {"kubeconfig": str(_kubeconfig(ground, "proxy", client))},
            # Limits of connection tracking belong to the machine, not to a network namespace.
            "conntrack": {
                "maxPerCore": 0,
                "min": 0,
                "tcpEstablishedTimeout": "0s",
                "tcpCloseWaitTimeout": "0s",
            },
            "nftables": {"syncPeriod": "30s", "minSyncPeriod": "0s"},
        },
    )
    command = [str(ground.programs.kubernetes / "kube-proxy"), f"--config={configuration}"]

    def is_ready() -> bool:
        return ground.space.call(lambda: _answers("http://127.0.0.1:10256/livez"))

    log = ground.folder / "kube-proxy.log"
    with running(command, log=log, is_ready=is_ready, enter=ground.space.enter) as pid:
        yield pid


@contextmanager
def _process_of_the_node(
    ground: Ground, command: Sequence[str], log: Path, is_ready: Callable[[], bool]
) -> Iterator[int]:
    """Run a program among the node's processes: `nsenter` is its parent, and takes no signals for it."""
    path = f"{ground.programs.runtime}:{os.environ.get('PATH', '')}"
    with log.open("ab") as output:
        parent = subprocess.Popen(
            [*ground.space.enter_wholly, *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=child_environment(PATH=path, WATCHWORD_STOP_AT_END_OF_INPUT="1"),
            start_new_session=True,
        )
    try:
        try:
            wait_until(
                lambda: parent.poll() is not None or is_ready(),
                what=f"{Path(command[0]).name} ready",
                timeout_seconds=90.0,
            )
        except TimeoutError as slow:
            raise StartFailedError(f"{slow}. Its log ({log}) ends:\n{_tail(log)}") from None
        if parent.returncode is not None:
            raise StartFailedError(f"{command[0]} ended with {parent.returncode}. {log} ends:\n{_tail(log)}")
        [pid] = children_of(parent.pid)
        yield pid
    finally:
        for child in children_of(parent.pid):
            os.kill(child, signal.SIGKILL)
        parent.wait()
        if parent.stdin is not None:
            parent.stdin.close()


def _containerd_configuration(ground: Ground, folder: Path, address: Path) -> str:
    """TOML, whose strings and lists of strings are written as JSON writes them."""
    cri = "plugins.'io.containerd.cri.v1"
    return f"""\
version = 3
root = {json.dumps(str(folder / "root"))}
state = {json.dumps(str(folder / "state"))}
disabled_plugins = ["io.containerd.nri.v1.nri"]

[grpc]
address = {json.dumps(str(address))}

[{cri}.images']
snapshotter = "overlayfs"
[{cri}.images'.pinned_images]
sandbox = {json.dumps(PAUSE_IMAGE)}

[{cri}.runtime']
# The score of this machine's own processes is lower than a container in a sandbox may set.
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[{cri}.runtime'.cni]
bin_dirs = [{json.dumps(str(ground.programs.plugins))}]
conf_dir = {json.dumps(str(folder / "net.d"))}
[{cri}.runtime'.containerd]
default_runtime_name = "runc"
[{cri}.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[{cri}.runtime'.containerd.runtimes.runc.options]
BinaryName = {json.dumps(str(ground.programs.runtime / "runc"))}
SystemdCgroup = false
"""


def _network() -> dict[str, Any]:
    return {
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "pods0",
                "isGateway": True,
                "isDefaultGateway": True,
                "hairpinMode": True,  # a pod may reach itself through a Service
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": POD_RANGE}]],
                    "dataDir": "/run/watchword-cni",
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}, "backend": "nftables"},
        ],
    }


def _kubelet_configuration(
    ground: Ground, folder: Path, runtime_address: Path, serving: ServingFiles
) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(ground.authority.path)},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{runtime_address}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": ground.space.cgroup,
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        # A full disk of the machine is no reason to evict a test's pods, nor to throw away its images.
        "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": _KUBELET_HEALTH_PORT,
        "tlsCertFile": str(serving.certificate),
        "tlsPrivateKeyFile": str(serving.private_key),
        "volumePluginDir": str(folder / "plugins"),
        "podLogsDir": str(folder / "logs"),
        "resolvConf": "",
        "nodeStatusUpdateFrequency": "5s",
    }


def _kubeconfig(ground: Ground, name: str, client: ServingFiles) -> Path:
    path = ground.folder / f"{name}.kubeconfig"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "here",
                "cluster": {
                    "server": ground.cluster.inner_url,
                    "certificate-authority": str(client.authority),
                },
            }
        ],
        "users": [
            {
                "name": name,
                "user": {
                    "client-certificate": str(client.certificate),
                    "client-key": str(client.private_key),
                },
            }
        ],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": name}}],
        "current-context": "here",
    }
    write_private_file(path, json.dumps(content, indent=2).encode())
    return path


def _answers(url: str) -> bool:
    # Health alone is asked for, of a certificate that the program made for itself at its start.
    try:
        return httpx.get(url, verify=False, trust_env=False).status_code == httpx.codes.OK  # noqa: S501
    except httpx.TransportError:
        return False


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2))


def _tail(log: Path) -> str:
    return log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")
