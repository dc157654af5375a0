# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.desk`: exchange and introspection next to the bare work, and growth to a million."""

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlencode

import httpx

from benchmarks.desk import bare
from benchmarks.desk.load import post, send
from benchmarks.load import cpu_seconds, resident_mebibytes
from testing.desk_process import DeskProcess
from testing.running_desk import (
    CLIENT_ASSERTION,
    TARGET,
    account_token,
    exchange_form,
)
from testing.tokens import claims_of
from watchword.desk.audit_chain import AuditEvent
from watchword.desk.minting import new_token_id
from watchword.desk.sqlite import SQLiteDeskStore
from watchword.desk.store import Issue
from watchword.trust.desk_tokens import read_desk_claims

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 6000
LIVE = (10_000, 1_000_000)


def exchanges(number: int) -> list[bytes]:
    """Exchange requests of so many subject tokens."""
    return [post("/oauth2/token", urlencode(exchange_form()).encode()) for _ in range(number)]


def introspections(tokens: list[str]) -> list[bytes]:
    """Introspection requests of these tokens by one client."""
    form = {"client_assertion": account_token("caches", "cache"), "client_assertion_type": CLIENT_ASSERTION}
    return [post("/oauth2/introspect", urlencode(form | {"token": each}).encode()) for each in tokens]


def measured(pid: int, url: str, requests: list[bytes], count: int) -> tuple[float, float]:
    """CPU seconds of the process for one request, and requests a second."""
    asyncio.run(send(url, requests, count=count // 10))
    begun, cpu = time.monotonic(), cpu_seconds(pid)
    asyncio.run(send(url, requests, count=count))
    return (cpu_seconds(pid) - cpu) / count, count / (time.monotonic() - begun)


def growth(folder: Path) -> list[tuple[int, float, float]]:
    """CPU seconds of one token written (in batches of 100) and of one found, with so many that live."""
    store = SQLiteDeskStore(str(folder / "grown.db"))
    found: list[tuple[int, float, float]] = []
    written, now = 0, time.time()
    end = int(now) + 900
    for size in LIVE:
        ids: list[str] = []
        while written < size:
            batch = [_issue(now + written / 1000, end) for _ in range(1000)]
            ids = [each.token_id for each in batch]
            store.write(batch)
            written += len(batch)
        rounds = []
        for _ in range(5):
            batch = [_issue(now + written / 1000, end) for _ in range(100)]
            begun = time.process_time()
            store.write(batch)
            rounds.append((time.process_time() - begun) / len(batch))
            written += len(batch)
        read = bare.seconds_each(lambda ids=ids: store.find(ids[0]), 5000)
        found.append((size, min(rounds), read))
    store.close()
    return found


def _issue(at: float, end: int) -> Issue:
    token_id = new_token_id(at)
    event = AuditEvent("token_issued", {"token_id": token_id, "subject": "workload:a:b:c"}, at)
    return Issue(token_id, "workload:a:b:c", TARGET, int(at), end, event)


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        process = DeskProcess(folder, f"sqlite:///{folder / 'desk.db'}")
        url = process.start()
        pid = process.pid
        try:
            form = exchanges(200)
            exchange, rate = measured(pid, url, form, COUNT)
            tokens = [_exchanged(url, each) for each in form]
            introspect, introspect_rate = measured(pid, url, introspections(tokens), COUNT)
            memory = resident_mebibytes(pid)
        finally:
            process.stop()
        claims = read_desk_claims(_payload(tokens[0]))
        sign = bare.verify_and_sign(claims)  # type: ignore[arg-type]  # it is one of the desk's own
        read = bare.indexed_read(str(folder / "desk.db"), claims_of(tokens[0])["jti"])
        server = subprocess.Popen([sys.executable, "-m", "benchmarks.desk.bare"], stdout=subprocess.PIPE)
        assert server.stdout is not None
        try:
            address = server.stdout.readline().decode().strip()
            answer, _ = measured(server.pid, f"http://{address}", introspections(tokens), COUNT)
        finally:
            server.kill()
            server.wait()
        print(f"bare verify and sign            {sign * 1e6:8.1f} us")
        print(f"bare answer                     {answer * 1e6:8.1f} us")
        print(f"bare indexed read               {read * 1e6:8.1f} us")
        print(f"exchange, whole                 {exchange * 1e6:8.1f} us   {rate:8.0f}/s")
        print(f"  to verify, sign and answer    {exchange / (sign + answer):8.2f}")
        print(f"introspection, whole            {introspect * 1e6:8.1f} us   {introspect_rate:8.0f}/s")
        print(f"  to read and answer            {introspect / (read + answer):8.2f}")
        print(f"memory after it                 {memory:8.0f} MiB")
        (small, write_small, find_small), (large, write_large, find_large) = growth(folder)
        print(f"from {small} to {large} live tokens: write {write_large / write_small:.2f}, "
              f"find {find_large / find_small:.2f}")  # fmt: skip


def _exchanged(url: str, request: bytes) -> str:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    body = request.partition(b"\r\n\r\n")[2]
    token: str = httpx.post(f"{url}/oauth2/token", content=body, headers=headers).json()["access_token"]
    return token


def _payload(token: str) -> bytes:
    from watchword.identity.encoding import decode_base64url

    return decode_base64url(token.split(".")[1].encode())


if __name__ == "__main__":
    main()
