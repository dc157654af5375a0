# SPDX-License-Identifier: Apache-2.0
"""What a pod must hold to be protected, or to call: pure, a pod in and a pod or a refusal out.

The webhook, `watchword inject` and the docs' snippet are made by this one piece of code, so that a pod is the
same whichever way it came to be. A pod that cannot be injected correctly is refused, never half done.
"""

from watchword.injection.facts import DeskFacts, ServiceFacts, World
from watchword.injection.pod import Injected, NothingAsked, inject
from watchword.injection.refusals import InjectionRefusal, RefusalCode
from watchword.injection.settings import InjectionSettings

__all__ = [
    "DeskFacts",
    "Injected",
    "InjectionRefusal",
    "InjectionSettings",
    "NothingAsked",
    "RefusalCode",
    "ServiceFacts",
    "World",
    "inject",
]
