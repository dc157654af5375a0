# SPDX-License-Identifier: Apache-2.0
"""What was used? CloudEvents in, one amount per (account, meter, UTC day), the read model out.

`parse_events` reads a request body, a `UsageStore` (from `open_store`) keeps it, `parse_query`, `read` and
`render` answer. No HTTP server and no authorization here: the gate has decided before that the workload may
write or read each account. A count that can be replayed, lost or joined wrongly is a wrong bill; that is
what this package prevents.
"""

from watchword.usage.dsn import files_of, open_store
from watchword.usage.events import FUTURE_SKEW_SECONDS, MAX_ACCOUNT_CHARACTERS, Event, account_flaw
from watchword.usage.many_accounts import (
    MAX_ACCOUNTS,
    AccountsQuery,
    parse_accounts_query,
    render_accounts,
    render_meters,
)
from watchword.usage.messages import (
    BATCHED,
    MAX_BATCH_EVENTS,
    MAX_BODY_BYTES,
    MAX_EVENT_BYTES,
    STRUCTURED,
    parse_events,
)
from watchword.usage.meters import Aggregation, Dimension, Meter, measure
from watchword.usage.pointers import parse_pointer
from watchword.usage.problems import BodyProblem, EventProblem, QueryProblem
from watchword.usage.read_model import (
    MAX_PERIOD_DAYS,
    UsageAnswer,
    UsageQuery,
    parse_query,
)
from watchword.usage.rendering import MAX_GROUP_ENTRIES, encode, render, too_large
from watchword.usage.sqlite.store import SQLiteStore
from watchword.usage.store import (
    Difference,
    Expired,
    MetersChangedError,
    MeterState,
    Outcome,
    Rebuilt,
    StoreError,
    StoreMissingError,
    StoreRefusedError,
    StoreUnavailableError,
    UsageStore,
)
from watchword.usage.weight import MAX_VALUES, Weight, weigh

__all__ = [
    "BATCHED",
    "FUTURE_SKEW_SECONDS",
    "MAX_ACCOUNTS",
    "MAX_ACCOUNT_CHARACTERS",
    "MAX_BATCH_EVENTS",
    "MAX_BODY_BYTES",
    "MAX_EVENT_BYTES",
    "MAX_GROUP_ENTRIES",
    "MAX_PERIOD_DAYS",
    "MAX_VALUES",
    "STRUCTURED",
    "AccountsQuery",
    "Aggregation",
    "BodyProblem",
    "Difference",
    "Dimension",
    "Event",
    "EventProblem",
    "Expired",
    "Meter",
    "MeterState",
    "MetersChangedError",
    "Outcome",
    "QueryProblem",
    "Rebuilt",
    "SQLiteStore",
    "StoreError",
    "StoreMissingError",
    "StoreRefusedError",
    "StoreUnavailableError",
    "UsageAnswer",
    "UsageQuery",
    "UsageStore",
    "Weight",
    "account_flaw",
    "encode",
    "files_of",
    "measure",
    "open_store",
    "parse_accounts_query",
    "parse_events",
    "parse_pointer",
    "parse_query",
    "render",
    "render_accounts",
    "render_meters",
    "too_large",
    "weigh",
]
