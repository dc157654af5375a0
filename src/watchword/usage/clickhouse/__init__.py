# SPDX-License-Identifier: Apache-2.0
"""The usage store on ClickHouse, for billions of events.

ClickHouse has neither transactions over tables nor unique keys, so being right is made of three things that
it does have: an insert of one block is whole or not at all, blocks have an order that never changes, and rows
that say the same twice are one. See `log` for who was first, `rollups` for amounts, `meter_log` for meters.
"""

from watchword.usage.clickhouse.store import ClickHouseStore

__all__ = ["ClickHouseStore"]
