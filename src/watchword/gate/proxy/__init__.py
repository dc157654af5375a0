# SPDX-License-Identifier: Apache-2.0
"""The reverse proxy of `--upstream`: what a route allowed goes on to the app, and nothing else does.

Messages are framed again on both sides, so that the app can never see another request than the one that was
decided (request smuggling), and the caller's credential stays here: the app gets an identity instead.
"""

from watchword.gate.proxy.target import UpstreamAddress, UpstreamError, parse_upstream

__all__ = ["UpstreamAddress", "UpstreamError", "parse_upstream"]
