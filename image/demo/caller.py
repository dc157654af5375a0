# SPDX-License-Identifier: Apache-2.0
"""A caller that keeps calling and keeps count: how often it got through, and every reason why it did not.

It reads its token for each call, as the SDK does. Once a second it prints a JSON object with the counts so
far; an answer that is not a 2xx, or no answer at all, is printed at once.
"""

import argparse
import collections
import json
import signal
import sys
import threading
import time
from typing import Any

import httpx

from watchword.client import TokenFile, WatchwordAuth, WatchwordError

REPORT_SECONDS = 1.0


def say(event: str, **fields: Any) -> None:
    """One line for people and for tests."""
    print(json.dumps({"event": event, "time": time.time(), **fields}), flush=True)


def call(client: httpx.Client, url: str) -> tuple[str, dict[str, Any]]:
    """One call: its outcome in a word, and what else there is to know."""
    try:
        answer = client.get(url)
    except WatchwordError as problem:
        return type(problem).__name__, {"detail": str(problem)}
    except httpx.TransportError as problem:
        return type(problem).__name__, {"detail": str(problem)}
    if answer.is_success:
        return "ok", {"answer": answer.json()}
    reason = answer.headers.get("X-Watchword-Reason")
    return reason or f"status {answer.status_code}", {
        "status": answer.status_code,
        "decision_id": answer.headers.get("X-Watchword-Decision-Id"),
        "detail": answer.text[:500],
    }


def main() -> int:
    """Call until SIGTERM, or so often as said; exit status 0 when every call got through, else 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--token-file", help="unless said, $WATCHWORD_TOKEN_FILE or where the SDK looks")
    parser.add_argument("--anonymous", action="store_true", help="send no token")
    parser.add_argument("--calls", type=int, default=0, help="how often; 0: until SIGTERM")
    parser.add_argument("--pause-seconds", type=float, default=0.05)
    parser.add_argument("--fresh-connections", action="store_true", help="a new connection for each call")
    given = parser.parse_args()
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    token = TokenFile(given.token_file) if given.token_file else None
    auth = None if given.anonymous else WatchwordAuth(token, raise_refusals=False)
    limits = httpx.Limits(max_keepalive_connections=0 if given.fresh_connections else 4)
    counts: collections.Counter[str] = collections.Counter()
    reported = time.monotonic()
    with httpx.Client(auth=auth, timeout=10.0, limits=limits, trust_env=False) as client:
        while not stopping.is_set():
            outcome, known = call(client, given.url)
            counts[outcome] += 1
            if outcome != "ok" or counts["ok"] == 1:
                say("answer", outcome=outcome, **known)
            if time.monotonic() - reported >= REPORT_SECONDS:
                reported = time.monotonic()
                say("counts", counts=counts)
            if given.calls and counts.total() >= given.calls:
                break
            stopping.wait(given.pause_seconds)
    say("ended", counts=counts)
    return 0 if set(counts) <= {"ok"} else 1


if __name__ == "__main__":
    sys.exit(main())
