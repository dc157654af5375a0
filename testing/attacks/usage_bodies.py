# SPDX-License-Identifier: Apache-2.0
"""U4: bodies of usage events that are small on the wire and would be large in memory.

The reason is the status: nothing is decided about a body that is never parsed.
"""

from functools import partial

from testing.attacks.case import Case, cases
from testing.attacks.http_requests import request

MIB = 1024 * 1024
STRUCTURED, BATCHED = "application/cloudevents+json", "application/cloudevents-batch+json"


def post(body: bytes, kind: str = BATCHED) -> bytes:
    """A POST of events by the workload that may write them."""
    lines = (f"Content-Type: {kind}", f"Content-Length: {len(body)}")
    return request("/api/internal/usage/events", *lines, method="POST") + body


def repeated(start: str, what: str, end: str, kind: str = BATCHED) -> bytes:
    """As many repetitions as a body may have bytes."""
    count = (MIB - len(start) - len(end)) // len(what)
    return post((start + what * count + end).encode(), kind)


_DATA = '{"specversion": "1.0", "id": "1", "source": "/x", "type": "t", "subject": "acme", "data": '
_TEMPLATES = {
    "numbers": ("[", "1,", "1]"),
    "numbers in an array": ("[[", "1,", "1]]"),
    "empty arrays": ("[[", "[],", "1]]"),
    "empty objects": ("[[", "{},", "1]]"),
    "objects of one member": ("[[", '{"a":1},', "1]]"),
    "one member again and again": ("[{", '"a":1,', '"a":1}]'),
    "empty texts": ("[[", '"",', "1]]"),
    "literals": ("[[", "null,", "1]]"),
    "numbers behind a text that looks like an end": ('[["]}]}\\"",', "1,", "1]]"),
    "numbers without an end": ("[[", "1,", ""),
    "arrays in arrays": ("", "[", ""),
    "objects in objects": ("", '{"a":', "1"),
    "an event of numbers": (f"[{_DATA}[", "1,", "1]}]"),
}
USAGE_BODIES: list[Case[bytes]] = cases(
    "U4",
    "413",
    [
        *((f"{name}, in a batch", partial(repeated, *template)) for name, template in _TEMPLATES.items()),
        *(
            (f"{name}, as one event", partial(repeated, *template, STRUCTURED))
            for name, template in _TEMPLATES.items()
        ),
        ("1001 events", lambda: post(b"[" + b"{}," * 1000 + b"{}]")),
        ("one byte more than a MiB", lambda: post(b" " * (MIB + 1))),
    ],
)
