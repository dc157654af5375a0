# SPDX-License-Identifier: Apache-2.0
"""`watchword sidecar`: the gate beside a service, on a bundle that a file holds.

It starts in every pod, so nothing is imported here that a running gate does not need.
"""

from typing import TYPE_CHECKING, Unpack

import click

from watchword.cli.failures import UnusableInput
from watchword.cli.options import gate_options, option

if TYPE_CHECKING:
    from watchword.cli.gate_flags import GateFlags


@click.command("sidecar", short_help="Run the gate beside a service.")
@option(
    "--bundle", required=True, type=click.Path(dir_okay=False), metavar="FILE", help="The compiled bundle."
)
@gate_options
def command(
    *,
    bundle: str,
    **flags: Unpack["GateFlags"],
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
    from watchword.cli.gate_flags import gate_settings
    from watchword.gate import FileSource, GateSettings, run

    settings = gate_settings(flags, default_usage_dsn=GateSettings().usage_dsn)
    if not bundle:
        raise UnusableInput("--bundle is empty.", "Name the file that `watchword compile -o bundle` made.")
    raise SystemExit(run(settings, FileSource(bundle, settings.poll_seconds)))
