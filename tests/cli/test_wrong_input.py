# SPDX-License-Identifier: Apache-2.0
"""Wrong flags and files, one a line: what is said, and the exit code. Never a traceback."""

import pytest

from tests.cli.conftest import Work

BUNDLE = ("--bundle", "{work}/bundle.json")
CASES = [
    ("nonsense", 2, "No such command 'nonsense'"),
    ("sidecar", 2, "Missing option '--bundle'"),
    ("sidecar --bundle b --listen 8443", 2, "is not HOST:PORT"),
    ("sidecar --bundle b --listen :8443", 2, "names no host"),
    ("sidecar --bundle b --listen ::1:8443", 2, "without brackets"),
    ("sidecar --bundle b --ops-listen 127.0.0.1:99999", 2, "is not HOST:PORT"),
    ("sidecar --bundle b --tls-cert {work}/junk", 2, "without --tls-key"),
    ("sidecar --bundle b --tls-key {work}/junk", 2, "without --tls-cert"),
    ("sidecar --bundle b --audit some", 2, "is not one of"),
    ("sidecar --bundle b --log-level loud", 2, "is not one of"),
    ("dev {work}/absent", 2, "does not exist"),
    ("dev {work}/empty", 2, "holds no manifest"),
    ("dev {work}/two", 2, "tuist/other, tuist/tuist-server"),
    ("dev {work}/good --service tuist/absent", 2, "Choose one of: tuist/tuist-server"),
    ("dev {work}/good --service tuist", 2, "is not NAMESPACE/NAME"),
    ("dev {work}/broken", 2, "no usable ProtectedService"),
    ("dev {work}/good --issuer-listen 0.0.0.0:0", 2, "not a loopback address"),
    ("dev {work}/good --issuer-name a --issuer-name a", 2, "gives one name twice"),
    ("dev {work}/good --issuer-name A_B", 2, "no object's name"),
    ("dev {work}/good --issuer-name a --no-issuer", 2, "exclude each other"),
    ("compile {work}/empty", 2, "holds no manifest"),
    ("compile {work}/broken", 1, "spec.audience: the field is unknown"),
    ("compile {work}/broken -o bundle", 1, "no usable ProtectedService"),
    ("compile {work}/two -o bundle", 2, "Choose one with --service"),
    ("compile {work}/good -o xml", 2, "is not one of"),
    ("compile {work}/good --out {work}/token/x", 2, "cannot be written"),
    ("verify {work}/token", 2, "exactly one of --bundle FILE and --manifests DIR"),
    ("verify {work}/token --bundle {work}/absent", 2, "does not exist"),
    ("verify {work}/token --bundle {work}/junk", 2, "is not usable"),
    ("verify {work}/token --bundle {work}/nothing", 2, "is not usable"),
    ("verify {work}/absent --bundle {work}/bundle.json", 2, "cannot be read"),
    ("verify {work}/nothing --bundle {work}/bundle.json", 2, "holds no token"),
    ("verify {work}/large --bundle {work}/bundle.json", 2, "holds more than"),
    ("verify {work}/token --bundle {work}/bundle.json --at yesterday", 2, "is not a timestamp"),
    ("verify {work}/token --bundle {work}/bundle.json --at 2026-01-01T00:00:00", 2, "is not a timestamp"),
    ("verify {work}/token --bundle {work}/bundle.json --method GET", 2, "belong together"),
    ("verify {work}/token --bundle {work}/bundle.json --service a/b", 2, "belongs to --manifests"),
    ("pin", 2, "exactly one of URL"),
    ("pin ftp://example.com", 2, "not an https URL"),
    ("pin http://example.com", 2, "not an https URL"),
    ("pin https://user@example.com", 2, "has a user"),
    ("pin https://127.0.0.1:1/", 2, "cannot be fetched"),
    ("pin https://127.0.0.1:1/ --ca-bundle {work}/junk", 2, "no usable certificate"),
    ("pin --jwks {work}/jwks.json", 2, "give --issuer URL"),
    (
        "lint {work}/good --jwks other={work}/jwks.json",
        2,
        "names the issuer 'other', which the manifests do",
    ),
    (
        "who-can a:b --manifests {work}/good --jwks other={work}/jwks.json",
        2,
        "names the issuer 'other', which the manifests do",
    ),
    ("who-can a:b --bundle {work}/bundle.json --cluster-id dev", 2, "belong to --manifests"),
    ("who-can a:b --bundle {work}/bundle.json --jwks a={work}/jwks.json", 2, "belong to --manifests"),
    ("webhook --gate-run-as-user 21474836471", 2, "is not a number from 1 to 2147483647"),
    ("webhook --gate-run-as-user 0", 2, "is not a number from 1 to 2147483647"),
    ("pin --jwks {work}/jwks.json --issuer https://x --name A_B", 2, "cannot be an object's name"),
    ("pin --jwks {work}/nokeys.json --issuer https://x", 1, "the key holds private or secret material"),
    ("pin --jwks {work}/jwks.json --issuer http://x --discovery", 2, "the operator follows no other"),
    (
        "pin --jwks {work}/jwks.json --issuer https://x --discovery --policy Follow",
        2,
        "'Follow' is not one of",
    ),
    ("approve", 2, "ISSUER"),
    ("approve A_B", 2, "cannot be an issuer's name"),
    ("approve a short", 2, "not an RFC 7638 thumbprint"),
    ("token atlas --audience a", 2, "is not NAMESPACE/NAME"),
    ("token atlas/atlas", 2, "Missing option '--audience'"),
    ("token atlas/atlas --audience a --expiration-seconds 60", 2, "not in the range"),
    ("completion powershell", 2, "is not one of"),
]


@pytest.mark.parametrize(("line", "code", "said"), CASES, ids=[case[0] for case in CASES])
def test_wrong_input_gets_one_clear_sentence_and_its_exit_code(
    work: Work, line: str, code: int, said: str
) -> None:
    done = work.run(*line.split())
    assert (done.exit_code, said in " ".join(done.stderr.split())) == (code, True), done.stderr
    assert "Traceback" not in done.output


def test_a_missing_kubectl_is_said_with_where_to_get_it(work: Work) -> None:
    done = work.run("token", "atlas/atlas", "--audience", "a", PATH="/nonexistent")
    assert (done.exit_code, "kubectl is not on PATH" in done.stderr) == (2, True)


def test_a_token_given_as_an_argument_is_not_repeated(work: Work) -> None:
    done = work.run("verify", "e30.e30.c2VjcmV0", *BUNDLE)
    assert (done.exit_code, "c2VjcmV0" in done.output) == (2, False)


def test_every_flag_is_an_environment_variable(work: Work) -> None:
    done = work.run("sidecar", "--bundle", "b", WATCHWORD_OPS_LISTEN="nowhere")
    assert (done.exit_code, "'nowhere' is not HOST:PORT" in done.stderr) == (2, True)
