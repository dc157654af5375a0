# SPDX-License-Identifier: Apache-2.0
"""charts/watchword/files/{policies,injection}/*.yaml: the specs of the admission policies, for the chart."""

from collections.abc import Callable
from functools import partial
from typing import Any

from docs.generate.crds import as_yaml
from watchword.injection.policies import pods_policy_spec, workloads_policy_spec
from watchword.trust.admin_policy import admins_policy_spec
from watchword.trust.admission_policies import bundles_policy_spec, operator_policy_spec

_HEAD = """\
# SPDX-License-Identifier: Apache-2.0
# Generated from src/{source} (`make generate`). Edit it there, not here.
"""


def spec_file(source: Callable[[], dict[str, Any]]) -> str:
    """The spec that a function makes, as a file that names the module to edit."""
    return _HEAD.format(source=source.__module__.replace(".", "/") + ".py") + as_yaml(source())


FILES: dict[str, Callable[[], str]] = {
    "policies/bundles.yaml": partial(spec_file, bundles_policy_spec),
    "policies/operator.yaml": partial(spec_file, operator_policy_spec),
    "policies/admin-clients.yaml": partial(spec_file, admins_policy_spec),
    "injection/pods.yaml": partial(spec_file, pods_policy_spec),
    "injection/workloads.yaml": partial(spec_file, workloads_policy_spec),
}
