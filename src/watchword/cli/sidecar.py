# SPDX-License-Identifier: Apache-2.0
"""`watchword sidecar`: the gate beside a service, on a bundle that a file holds.

It starts in every pod, so nothing is imported here that a running gate does not need.
"""

import click

from watchword.cli.failures import UnusableInput
from watchword.cli.options import Address, gate_options, option, require_certificate_pair


@click.command("sidecar", short_help="Run the gate beside a service.")
@option(
    "--bundle", required=True, type=click.Path(dir_okay=False), metavar="FILE", help="The compiled bundle."
)
@gate_options
def command(
    *,
    bundle: str,
    listen: Address,
    ops_listen: Address,
    tls_cert: str | None,
    tls_key: str | None,
    usage_dsn: str | None,
    audit: str,
    log_level: str,
) -> None:
    """Run the gate: decide on requests with the bundle in FILE, read anew whenever it changes.

    A bundle that is missing or broken is said in the log and on /readyz; the last good one stays in use,
    and without one every request is refused with `not_ready`.

    \b
    Example:
      watchword compile manifests/ -o bundle > bundle.json
      watchword sidecar --bundle bundle.json --listen 127.0.0.1:8443 --ops-listen 127.0.0.1:9090

    Exit codes: 0 stopped by a signal, every request answered; 2 wrong usage, or an
    address, a certificate or a store that cannot be used.
    """
    from watchword.gate import FileSource, GateSettings, run

    require_certificate_pair(tls_cert, tls_key)
    if not bundle:
        raise UnusableInput("--bundle is empty.", "Name the file that `watchword compile -o bundle` made.")
    settings = GateSettings(
        listen=str(listen),
        ops_listen=str(ops_listen),
        tls_certificate=tls_cert,
        tls_key=tls_key,
        audit=audit,  # type: ignore[arg-type]  # click.Choice admits exactly these three
        log_level=log_level.upper(),
        usage_dsn=usage_dsn or GateSettings().usage_dsn,
    )
    raise SystemExit(run(settings, FileSource(bundle, settings.poll_seconds)))
