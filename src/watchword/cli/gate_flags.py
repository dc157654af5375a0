# SPDX-License-Identifier: Apache-2.0
"""The flags of `gate_options` as the gate's settings, made in one place for `sidecar` and `dev`."""

from typing import TypedDict

from watchword.cli.options import Address, require_certificate_pair
from watchword.gate import AuditLevel, GateSettings


class GateFlags(TypedDict):
    """What click gives a command for the flags of `gate_options`."""

    listen: Address
    ops_listen: Address
    tls_cert: str | None
    tls_key: str | None
    upstream: str | None
    upstream_timeout_seconds: float
    usage_dsn: str | None
    audit: AuditLevel
    log_level: str


def gate_settings(flags: GateFlags, *, default_usage_dsn: str) -> GateSettings:
    """The settings that the flags ask for; raises click.UsageError for one half of a certificate pair."""
    require_certificate_pair(flags["tls_cert"], flags["tls_key"])
    return GateSettings(
        listen=str(flags["listen"]),
        ops_listen=str(flags["ops_listen"]),
        tls_certificate=flags["tls_cert"],
        tls_key=flags["tls_key"],
        upstream=flags["upstream"],
        upstream_timeout_seconds=flags["upstream_timeout_seconds"],
        usage_dsn=flags["usage_dsn"] or default_usage_dsn,
        audit=flags["audit"],
        log_level=flags["log_level"].upper(),
    )
