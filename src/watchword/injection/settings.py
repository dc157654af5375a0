# SPDX-License-Identifier: Apache-2.0
"""How gates are injected in this cluster: what the platform engineer decides, once."""

import msgspec


class InjectionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The gate as a container.

    Attributes:
        image: the gate's image, best by digest.
        image_pull_policy: as Kubernetes has it.
        listen_host: the address that the gate listens on; `[::]` is every one, of IPv6 and of IPv4.
        ops_port: the port of probes and metrics.
        image_pull_secrets: Secrets of the pod's namespace to pull the image with.
        run_as_user: the user id of the gate; not 0. None: left out, for platforms that choose it.
        cpu_request: CPU that is set aside, as a Kubernetes quantity.
        cpu_limit: CPU that the gate may use at most; empty: no limit.
        guaranteed_cpu: CPU as request and limit in pods of the QoS class Guaranteed, without a cpu_limit.
        memory_request: memory that is set aside, as a Kubernetes quantity.
        memory_limit: memory beyond which the gate is ended, as a Kubernetes quantity.
        log_level: of the gate.
        trace_endpoint: the gates' collector of traces, an http:// or https:// URL; empty: nothing is traced.
        trace_sample_ratio: which part of the requests is traced, from 0 to 1, where there is a collector.
    """

    image: str = "watchword.dev/gate:0.1.0"
    image_pull_policy: str = "IfNotPresent"
    listen_host: str = "[::]"
    ops_port: int = 9090
    image_pull_secrets: tuple[str, ...] = ()
    run_as_user: int | None = 65532
    cpu_request: str = "10m"
    cpu_limit: str = ""
    guaranteed_cpu: str = "100m"
    memory_request: str = "64Mi"
    memory_limit: str = "144Mi"
    log_level: str = "info"
    trace_endpoint: str = ""
    trace_sample_ratio: str = "0"
