# SPDX-License-Identifier: Apache-2.0
"""The flags of `gate_options` as the gate's settings, made in one place for `sidecar` and `dev`."""

from typing import TypedDict

import click

from watchword.cli.options import Address, require_certificate_pair
from watchword.gate import AuditLevel, GateSettings
from watchword.gate.app_probes import MAX_PROBES, AppProbe, parse_app_probe


class GateFlags(TypedDict):
    """What click gives a command for the flags of `gate_options`."""

    listen: tuple[Address, ...]
    ops_listen: Address
    tls_cert: str | None
    tls_key: str | None
    upstream: str | None
    upstream_timeout_seconds: float
    app_probe: tuple[str, ...]
    upload_timeout_seconds: float
    long_connection_grace: float
    usage_dsn: str | None
    trace_sample_ratio: float
    audit: AuditLevel
    log_level: str


def gate_settings(flags: GateFlags, *, default_usage_dsn: str) -> GateSettings:
    """The settings that the flags ask for; raises click.UsageError for one half of a certificate pair."""
    require_certificate_pair(flags["tls_cert"], flags["tls_key"])
    return GateSettings(
        listen=tuple(map(str, flags["listen"])),
        ops_listen=str(flags["ops_listen"]),
        tls_certificate=flags["tls_cert"],
        tls_key=flags["tls_key"],
        upstream=flags["upstream"],
        upstream_timeout_seconds=flags["upstream_timeout_seconds"],
        app_probes=_app_probes(flags["app_probe"]),
        upload_timeout_seconds=flags["upload_timeout_seconds"],
        long_connection_grace_seconds=flags["long_connection_grace"],
        usage_dsn=flags["usage_dsn"] or default_usage_dsn,
        trace_sample_ratio=flags["trace_sample_ratio"],
        audit=flags["audit"],
        log_level=flags["log_level"].upper(),
    )


def _app_probes(texts: tuple[str, ...]) -> tuple[AppProbe, ...]:
    if len(texts) > MAX_PROBES:
        raise click.UsageError(f"--app-probe: more than {MAX_PROBES} probes.")
    try:
        return tuple(map(parse_app_probe, texts))
    except ValueError as problem:
        raise click.UsageError(f"--app-probe: {problem}. Use NAME=http://127.0.0.1:8080/healthz.") from None
