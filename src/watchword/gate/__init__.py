# SPDX-License-Identifier: Apache-2.0
"""The sidecar: HTTP in, decisions out. I/O lives here; what is decided lives in identity and trust.

`serve.py` is the process, `app.py` what answers on its port, `engine.py` one decision.
"""

from watchword.gate.serve import run
from watchword.gate.settings import AuditLevel, FollowedConfigMap, GateSettings
from watchword.gate.sources import BundleSource, FileSource, SourceProblem

__all__ = [
    "AuditLevel",
    "BundleSource",
    "FileSource",
    "FollowedConfigMap",
    "GateSettings",
    "SourceProblem",
    "run",
]
