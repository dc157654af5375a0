# SPDX-License-Identifier: Apache-2.0
"""The sidecar: HTTP in, decisions out. I/O lives here; what is decided lives in identity and trust.

`serve.py` is the process, `app.py` what answers on its port, `engine.py` one decision.
"""

from watchword.gate.bundle_file import BundleSource, FileSource, SourceProblem
from watchword.gate.serve import run
from watchword.gate.settings import AuditLevel, FollowedConfigMap, GateSettings

__all__ = [
    "AuditLevel",
    "BundleSource",
    "FileSource",
    "FollowedConfigMap",
    "GateSettings",
    "SourceProblem",
    "run",
]
