# SPDX-License-Identifier: Apache-2.0
"""Makes the asserts of the shared suite say what they compared, as those of test modules do."""

import pytest

pytest.register_assert_rewrite(
    "tests.usage.contract",
    "tests.usage.contract_groups",
    "tests.usage.contract_keeping",
    "tests.usage.machine",
)
