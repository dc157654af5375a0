# SPDX-License-Identifier: Apache-2.0
"""What stores on one SQLite file or in one PostgreSQL schema do alike, whatever they keep.

Each module raises what its caller names, so that a store's users know one family of errors. Importing this
package imports no driver.
"""

from typing import Protocol


class RefusedError(Protocol):
    """An exception class that says what is wrong and what helps; trying again does not."""

    def __call__(self, detail: str, remedy: str) -> Exception:
        """Make one."""
