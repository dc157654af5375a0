# SPDX-License-Identifier: Apache-2.0
"""Traces of a gate's requests, for OpenTelemetry. While tracing is off, only `trace_context` is imported."""
