# SPDX-License-Identifier: Apache-2.0
"""`watchword sidecar`: the gate next to a service, on a bundle that a file holds and a ConfigMap renews.

It starts in every pod, so nothing is imported here that a running gate does not need.
"""

import dataclasses
from typing import TYPE_CHECKING, Unpack

import click

from watchword.cli.failures import UnusableInput
from watchword.cli.options import NAMESPACED_NAME, gate_options, option

if TYPE_CHECKING:
    from watchword.cli.gate_flags import GateFlags
    from watchword.cli.watch_options import FollowFlags

    class SidecarFlags(GateFlags, FollowFlags):
        """All flags but the bundle's."""


@click.command("sidecar", short_help="Run the gate next to a service.")
@option(
    "--bundle", required=True, type=click.Path(dir_okay=False), metavar="FILE", help="The compiled bundle."
)
@option(
    "--watch",
    type=NAMESPACED_NAME,
    metavar="NS/NAME",
    help="ConfigMap with the same bundle, to follow through the API as well.",
)
@option(
    "--api-server",
    metavar="URL",
    help="The API server to follow it at.  [default: that of this pod's cluster]",
)
@option(
    "--api-token-file",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Token for it, read again for each request.  [default: the pod's]",
)
@option(
    "--api-ca-file",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="PEM authorities that its certificate must be of.  [default: the pod's]",
)
@option(
    "--watch-window-seconds",
    type=click.IntRange(min=5, max=3600),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="How long one watch lasts; one that died silently is found 5 seconds later at the latest.",
)
@option(
    "--absent-after",
    type=click.FloatRange(min=1, max=3600),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="How long the bundle may be known to be gone before its trust ends and all requests are refused.",
)
@gate_options
def command(
    *,
    bundle: str,
    absent_after: float,
    **flags: Unpack["SidecarFlags"],
) -> None:
    """Run the gate: decide on requests with the bundle in FILE, read again whenever it changes.

    With --watch the gate also follows the ConfigMap that FILE is mounted from, so that an edit is in use
    within a second; the newest generation of both counts. While the API server is away or refuses, or the
    ConfigMap holds no usable bundle, what is in use stays, and /readyz says so.

    A ConfigMap that was deleted is something else: --absent-after seconds later its trust ends, and every
    request is refused with `not_ready` until the API server shows it again. The mounted file does not bring
    it back. Where the API server has not answered, a missing FILE counts in the same way.

    A bundle that is broken is said in the log and on /readyz; the last good one stays in use, and without
    one every request is refused with `not_ready`.

    \b
    Example:
      watchword compile DIR -o bundle > bundle.json
      watchword sidecar --bundle bundle.json --listen 127.0.0.1:8443 --ops-listen 127.0.0.1:9090

    \b
    In a pod, with the bundle's ConfigMap mounted:
      watchword sidecar --bundle /etc/watchword/bundle.json --watch tuist/watchword-bundle-tuist-server

    Exit codes: 0 stopped by a signal, every request answered; 2 wrong usage, or an
    address, a certificate or a store that cannot be used.
    """
    from watchword.cli.gate_flags import gate_settings
    from watchword.cli.watch_options import followed_config_map
    from watchword.gate import FileSource, GateSettings, run

    settings = gate_settings(flags, default_usage_dsn=GateSettings().usage_dsn)
    followed = followed_config_map(flags)
    settings = dataclasses.replace(settings, followed=followed, absent_after_seconds=absent_after)
    if not bundle:
        raise UnusableInput("--bundle is empty.", "Name the file that `watchword compile -o bundle` made.")
    raise SystemExit(run(settings, FileSource(bundle, settings.poll_seconds)))
