# SPDX-License-Identifier: Apache-2.0
"""The main job at work, told step by step: `make demo`, or `make demo KEEP=1` to leave it running.

Real processes, real HTTP, no cluster. Each step says what it expects and is checked against it: a demo that
narrates success whatever happens would teach nothing. Tokens are never printed.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import httpx

from watchword.cli.dev.issuer import DevelopmentIssuer, TokenAsked

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 15.0
NEW_TRUST_SECONDS = 10.0
REVOKED_SECONDS = 2.0
PLAIN = bool(os.environ.get("NO_COLOR"))
STRANGER = """\
apiVersion: watchword.dev/v1alpha1
kind: TrustedWorkload
metadata: {namespace: tuist, name: reporter}
spec:
  serviceRef: {name: tuist-server}
  issuerRef: {name: development}
  serviceAccount: {namespace: reporting, name: reporter}
  grants: [{scopes: ["account:usage:read"], accounts: [acme]}]
"""

ROUTE = (
    '    - {path: "/api/projects/{account}/{project}/builds", methods: [GET], scope: "project:builds:read"}'
)
DESK = """\
apiVersion: watchword.dev/v1alpha1
kind: TokenDesk
metadata: {namespace: watchword-desk, name: desk}
spec:
  issuer: https://desk.example.com
  allowedNamespaces: {matchLabels: {kubernetes.io/metadata.name: tuist}}
"""
DESK_AUDIENCE = "watchword.dev/desks/dev/watchword-desk/desk"
BUILDER = """\
apiVersion: watchword.dev/v1alpha1
kind: TrustedWorkload
metadata: {namespace: tuist, name: builder}
spec:
  serviceRef: {name: tuist-server}
  issuerRef: {name: development}
  serviceAccount: {namespace: builds, name: builder}
  grants: [{scopes: ["project:builds:read"], accounts: [acme], projects: ["*"]}]
"""
BUILDS = "/api/projects/acme/ios/builds"
NAMESPACE = """\
apiVersion: v1
kind: Namespace
metadata: {name: tuist, labels: {watchword.dev/report-only: allowed, kubernetes.io/metadata.name: tuist}}
"""
# Who calls the app while the gate only reports, and what each would be refused for.
CALLERS = {("mailing", "mailer"): "unknown_workload", ("reporting", "reporter"): "insufficient_scope"}
EXCHANGE = {
    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
    "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
    "audience": "tuist/tuist-server",
    "scope": "project:builds:read",
    "account": "acme",
    "project": "ios",
}


class StepFailedError(Exception):
    """A step came out differently from what it says."""


class Demo:
    """A running gate with its development issuer and desk, and the calls that are made to them."""

    def __init__(self, folder: Path, gate: str, issuer: str, desk: str, log: Path) -> None:
        self.folder, self.gate, self.issuer, self.desk, self.log = folder, gate, issuer, desk, log
        self.http = httpx.Client(trust_env=False, timeout=5.0)
        self.steps = 0

    def token(self, namespace: str, account: str, audience: str = "tuist-server") -> str:
        """A projected-style token from the development issuer."""
        asked = {"namespace": namespace, "serviceAccount": account, "audience": audience}
        answer = self.http.post(f"{self.issuer}/token", json=asked).raise_for_status()
        return str(answer.json()["token"])

    def step(self, title: str) -> None:
        """Start a step."""
        self.steps += 1
        click.echo(f"\n{paint(f'{self.steps}. {title}', '1')}")

    def call(self, who: str, token: str, path: str = "/authz", **sent: Any) -> httpx.Response:
        """One real call; says what is sent and what comes back."""
        method = "POST" if "content" in sent else "GET"
        click.echo(f"   → {method} {path}  Authorization: Bearer <{who}>")
        headers = {"Authorization": f"Bearer {token}", **sent.pop("headers", {})}
        answer = self.http.request(method, self.gate + path, headers=headers, **sent)
        status = paint(str(answer.status_code), "32" if answer.is_success else "33")
        click.echo(f"   ← {status} {answer.reason_phrase}")
        return answer


def paint(text: str, code: str) -> str:
    """Color on a terminal; click takes it out elsewhere."""
    return text if PLAIN else f"\033[{code}m{text}\033[0m"


def expect(answer: httpx.Response, status: int, reason: str | None = None) -> None:
    """Hold an answer against what the step says."""
    said = answer.headers.get("X-Watchword-Reason")
    if answer.status_code != status or (reason is not None and said != reason):
        wanted = f"{status} {reason or ''}".strip()
        raise StepFailedError(
            f"expected {wanted}, got {answer.status_code} {said or ''}: {answer.text[:300]}"
        )
    if reason is not None:
        body = answer.json()
        click.echo(f"     reason: {reason}")
        click.echo(f"     {body['detail']}")


def identity_steps(demo: Demo) -> None:
    """Who gets in, and who does not."""
    demo.step("A workload that the manifests trust calls: atlas, of the development cluster")
    answer = demo.call("atlas-production/atlas", demo.token("atlas-production", "atlas"))
    expect(answer, 200)
    for name in ("Subject", "Issuer", "Workload", "Scopes", "Accounts"):
        click.echo(f"     X-Watchword-{name}: {answer.headers[f'X-Watchword-{name}']}")
    if answer.headers["X-Watchword-Subject"] != "system:serviceaccount:atlas-production:atlas":
        raise StepFailedError("the identity headers name someone else")

    demo.step("A stranger calls: the same cluster, a ServiceAccount that no one trusts")
    expect(demo.call("reporting/reporter", demo.token("reporting", "reporter")), 403, "unknown_workload")

    demo.step("Atlas calls with a token that was made for another service")
    token = demo.token("atlas-production", "atlas", audience="billing")
    expect(demo.call("atlas-production/atlas for billing", token), 401, "wrong_audience")

    demo.step("Another cluster's atlas calls: the same iss, namespace and name, another key")
    other = DevelopmentIssuer()
    token = other.mint(TokenAsked("atlas-production", "atlas", "tuist-server"), time.time())
    expect(demo.call("atlas-production/atlas of another cluster", token), 401, "unknown_key")


def trust_step(demo: Demo) -> None:
    """An edit of a manifest is live in a moment."""
    demo.step("The service's owner trusts the stranger: one more TrustedWorkload in the folder")
    token = demo.token("reporting", "reporter")
    click.echo("   + reporter.yaml")
    for line in STRANGER.splitlines()[2:]:
        click.echo(paint(f"     {line}", "2"))
    (demo.folder / "reporter.yaml").write_text(STRANGER)
    saved = time.monotonic()
    headers = {"Authorization": f"Bearer {token}"}
    while demo.http.get(demo.gate + "/authz", headers=headers).status_code != 200:
        if time.monotonic() - saved > NEW_TRUST_SECONDS:
            raise StepFailedError("the new manifest did not take effect")
        time.sleep(0.02)
    took = time.monotonic() - saved
    expect(demo.call("reporting/reporter", token), 200)
    click.echo(f"     in effect {took:.1f} s after the file was saved; the token is the same kind as before")


def usage_steps(demo: Demo) -> None:
    """Usage events in, the month out."""
    token = demo.token("atlas-production", "atlas")
    sizes = [1000, 2000, 3000]
    events = [
        {"specversion": "1.0", "id": f"hit-{place}", "source": "/cache/eu-1", "type": "cache.hit",
         "subject": "acme", "data": {"bytes": size}}
        for place, size in enumerate(sizes)
    ]  # fmt: skip
    sent = {"content": json.dumps(events), "headers": {"Content-Type": "application/cloudevents-batch+json"}}
    path = "/api/internal/usage/events"
    for title, stored in (
        ("Atlas reports usage: three cache hits of the account acme", len(sizes)),
        ("The same batch again, as a retry: it is known already", 0),
    ):
        demo.step(title)
        answer = demo.call("atlas-production/atlas", token, path, **sent)
        counted = answer.json() if answer.is_success else {}
        if (counted.get("stored"), counted.get("duplicates")) != (stored, len(sizes) - stored):
            raise StepFailedError(f"not {stored} stored: {answer.status_code} {answer.text[:300]}")
        click.echo(f"     stored {counted['stored']}, duplicates {counted['duplicates']}")

    demo.step("The reporter reads the month of acme: each event was counted once")
    reader = demo.token("reporting", "reporter")
    answer = demo.call("reporting/reporter", reader, "/api/internal/accounts/acme/usage")
    expect(answer, 200)
    click.echo(f"     {answer.text.strip()}")
    meters = answer.json()["meters"]
    if meters != {"remote_cache_hits": len(sizes), "bytes": sum(sizes)}:
        raise StepFailedError(f"the month holds {meters}")

    demo.step("It may read acme only: another account's usage is refused")
    answer = demo.call("reporting/reporter", reader, "/api/internal/accounts/globex/usage")
    expect(answer, 403, "account_not_granted")


def desk_steps(demo: Demo) -> None:
    """A token for one project, and its end."""
    demo.step("A build job exchanges its token for one project: it may read all of acme, and asks for ios")
    subject = demo.token("builds", "builder", DESK_AUDIENCE)
    click.echo(f"   → POST {demo.desk}/oauth2/token  subject_token=<builds/builder> account=acme project=ios")
    answer = demo.http.post(f"{demo.desk}/oauth2/token", data=EXCHANGE | {"subject_token": subject})
    click.echo(f"   ← {answer.status_code} {answer.reason_phrase}")
    expect(answer, 200)
    narrow = str(answer.json()["access_token"])
    click.echo(f"     {json.dumps(answer.json()['authorization_details'])}")

    def builds_of(project: str) -> httpx.Response:
        target = f"/api/projects/acme/{project}/builds"
        click.echo(f"     the original request, as a proxy says it: GET {target}")
        headers = {"X-Forwarded-Method": "GET", "X-Forwarded-Uri": target}
        return demo.call("builder's token for ios", narrow, "/authz/traefik", headers=headers)

    expect(builds_of("ios"), 200)

    demo.step("The same token for another project of acme: the builder may, its token may not")
    expect(builds_of("android"), 403, "not_in_token")

    demo.step("The job is done and gives its token back: refused from then on")
    revoked = demo.http.post(f"{demo.desk}/oauth2/revoke", data={"token": narrow})
    click.echo(f"   → POST {demo.desk}/oauth2/revoke\n   ← {revoked.status_code} {revoked.reason_phrase}")
    expect(revoked, 200)
    began = time.monotonic()
    headers = {"Authorization": f"Bearer {narrow}"}
    while demo.http.get(demo.gate + "/authz", headers=headers).status_code == 200:
        if time.monotonic() - began > REVOKED_SECONDS:
            raise StepFailedError(f"the gate lets a revoked token in after {REVOKED_SECONDS:g} s")
        time.sleep(0.02)
    took = time.monotonic() - began
    expect(builds_of("ios"), 401, "revoked")
    click.echo(f"     known to the gate {took:.1f} s after the desk's answer")


def report_steps(demo: Demo) -> None:
    """A live service: who would be refused is seen, and trusted, before anyone is."""
    demo.step("The app is live already: its gate is to report for an hour, and to refuse no one meanwhile")
    service = demo.folder / "service.yaml"
    enforcing = service.read_text()
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    # An admin's part, and the owner's.
    (demo.folder / "namespace.yaml").write_text(NAMESPACE)
    service.write_text(enforcing.replace("spec:\n", f'spec:\n  reportOnlyUntil: "{until}"\n', 1))
    click.echo(
        f"   + Namespace tuist: watchword.dev/report-only: allowed\n   + spec.reportOnlyUntil: {until}"
    )
    tokens = {who: demo.token(*who) for who in CALLERS}
    wait_for(demo, tokens["mailing", "mailer"], 200)
    for who, reason in CALLERS.items():
        answer = demo.call("/".join(who), tokens[who], BUILDS)
        said = answer.headers.get("X-Watchword-Would-Refuse")
        if (answer.status_code, said, answer.json()) != (200, reason, {"caller": ""}):
            raise StepFailedError(f"not passed on without an identity: {answer.status_code} {said}")
        click.echo(f"     X-Watchword-Would-Refuse: {said}; to the app, the caller is no one")

    demo.step("Who would be refused, from the gate's log")
    click.echo(paint("   $ watchword report gate.log", "2"))
    command = [sys.executable, "-m", "watchword.cli.main", "report", str(demo.log)]
    report = subprocess.run([*command, "-o", "json"], capture_output=True, text=True, check=False).stdout
    rows = json.loads(report)["wouldBeRefused"]
    for row in rows:
        click.echo(f"     {row['requests']:>3}  {row['reason']}  {row['who']}  {row['example']}")
    if {row["reason"] for row in rows} != set(CALLERS.values()):
        raise StepFailedError(f"the report lists {rows}")

    demo.step("Both are trusted, and only then does the gate enforce: none of its callers is lost")
    scope = '"project:builds:read"], accounts: [acme], projects: [ios]}'
    (demo.folder / "reporter.yaml").write_text(
        STRANGER.replace("grants: [", f"grants: [{{scopes: [{scope}, ")
    )
    mailer = BUILDER.replace("builder", "mailer").replace("builds, name", "mailing, name")
    (demo.folder / "mailer.yaml").write_text(mailer)
    for given in tokens.values():
        wait_for(demo, given, 200, may_be_reported=False)
    service.write_text(enforcing)
    stranger = demo.token("elsewhere", "stranger")
    wait_for(demo, stranger, 403)
    for who, given in tokens.items():
        answer = demo.call("/".join(who), given, BUILDS)
        expect(answer, 200)
        click.echo(f"     to the app, the caller is {answer.json()['caller']}")
    expect(demo.call("elsewhere/stranger", stranger, BUILDS), 403, "unknown_workload")


def wait_for(demo: Demo, token: str, status: int, *, may_be_reported: bool = True) -> None:
    """Wait until the app's path answers so, if need be without a word that it would refuse."""
    began = time.monotonic()
    headers = {"Authorization": f"Bearer {token}"}
    while True:
        try:
            answer = demo.http.get(demo.gate + BUILDS, headers=headers)
        except httpx.RemoteProtocolError:
            # Of one who is not trusted, the answer breaks off in the moment in which enforcement begins.
            said = "the answer broke off"
        else:
            said = f"{answer.status_code} {answer.text[:300]}"
            is_reported = "X-Watchword-Would-Refuse" in answer.headers
            if answer.status_code == status and (may_be_reported or not is_reported):
                return
        if time.monotonic() - began > NEW_TRUST_SECONDS:
            raise StepFailedError(f"the edit did not take effect: {said}")
        time.sleep(0.02)


def add_desk(folder: Path) -> None:
    """Have the service rely on a desk, and trust a workload that exchanges its token there."""
    service = folder / "service.yaml"
    text = service.read_text()
    edited = text.replace("  routes:\n", f"  tokenDeskRef: {{name: desk}}\n  routes:\n{ROUTE}\n", 1)
    if edited == text:
        raise StepFailedError("manifests/quickstart/service.yaml has no routes to add one to")
    service.write_text(edited)
    (folder / "desk.yaml").write_text(DESK)
    (folder / "builder.yaml").write_text(BUILDER)


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def wait_until_ready(process: subprocess.Popen[bytes], ops: str, log: Path) -> None:
    """Wait for /readyz; fails with what the gate said."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{ops}/readyz", trust_env=False, timeout=1.0).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise StepFailedError(f"the gate did not become ready; it said:\n{log.read_text()[-2000:]}")


def main() -> int:
    """Run the demo; 0 when every step came out as it says."""
    began = time.monotonic()
    keep = os.environ.get("KEEP", "") not in ("", "0")
    home = Path(tempfile.mkdtemp(prefix="watchword-demo-"))
    folder, log = home / "manifests", home / "gate.log"
    shutil.copytree(ROOT / "manifests" / "quickstart", folder)
    add_desk(folder)
    gate, ops, issuer, desk, app = (f"http://127.0.0.1:{port}" for port in free_ports(5))
    command = [sys.executable, "-m", "watchword.cli.main", "dev", str(folder)]
    command += ["--listen", gate.removeprefix("http://"), "--ops-listen", ops.removeprefix("http://")]
    command += ["--issuer-listen", issuer.removeprefix("http://")]
    command += ["--desk-listen", desk.removeprefix("http://"), "--upstream", app]
    click.echo(paint("Watchword: who is calling, and may they?", "1"))
    click.echo(
        "A gate on a copy of manifests/quickstart, with a development issuer in place of a cluster, and a"
    )
    click.echo("token desk, for jobs that need less than their workload may.")
    click.echo(paint("   $ watchword dev COPY --desk-listen 127.0.0.1:8444", "2"))
    served = [sys.executable, str(ROOT / "demo" / "app.py"), app.rpartition(":")[2]]
    with log.open("wb") as output, (home / "app.log").open("wb") as output_of_app:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=keep)
        behind = subprocess.Popen(served, stdout=output_of_app, stderr=output_of_app, start_new_session=keep)
    failed: str | None = None
    try:
        wait_until_ready(process, ops, log)
        demo = Demo(folder, gate, issuer, desk, log)
        with demo.http:
            identity_steps(demo)
            trust_step(demo)
            usage_steps(demo)
            desk_steps(demo)
            report_steps(demo)
    except (StepFailedError, httpx.HTTPError) as error:
        failed = str(error) or type(error).__name__
    except KeyboardInterrupt:
        failed = "interrupted"
    finally:
        if not keep or failed:
            stop(process)
            stop(behind)
            shutil.rmtree(home, ignore_errors=True)
    if failed:
        click.echo(paint(f"\nThis step came out differently: {failed}", "31"), err=True)
        return 1
    click.echo(paint(f"\nAll {demo.steps} steps as they say, in {time.monotonic() - began:.1f} s.", "32"))
    if keep:
        click.echo(
            f"Still running: gate {gate}, ops {ops}, issuer {issuer}, desk {desk}; edit {folder} and watch."
        )
        click.echo(f"Stop it with: kill {process.pid} {behind.pid} && rm -r {home}")
    else:
        click.echo("The gate was stopped and its folder removed; `make demo KEEP=1` leaves it running.")
    return 0


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that this program started, by its pid."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
