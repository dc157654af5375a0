# SPDX-License-Identifier: Apache-2.0
"""What stands in a header: one value, in visible ASCII, whatever a bundle or a refusal holds."""

import pytest

from watchword.gate.responses import Allowed, grant_lines, identity_lines, refused
from watchword.identity import Grant, Identity, Reason, Refusal


def _accounts(*accounts: str) -> bytes:
    identity = Identity("i", "s", "w", (Grant(("a:read",), accounts),), "", "", "", 0, 1)
    yes = Allowed(identity_lines(identity), grant_lines(identity.grants), "d")
    return dict(yes.headers)[b"x-watchword-accounts"]


@pytest.mark.parametrize(
    ("account", "written"),
    [
        ("acme", b"acme"),
        ("*", b"*"),
        ("a.b-c_d~e@f:g", b"a.b-c_d~e@f:g"),
        ("a,b", b"a%2Cb"),
        ("a%2Cb", b"a%252Cb"),
        ("x\r\nX-Watchword-Subject: evil", b"x%0D%0AX-Watchword-Subject:%20evil"),
        ("münchen", b"m%C3%BCnchen"),
    ],
)
def test_an_account_in_a_header_is_that_one_account(account: str, written: bytes) -> None:
    assert _accounts(account) == written


def test_accounts_are_separated_by_commas() -> None:
    assert _accounts("b", "a") == b"a,b"


def _challenge(refusal: Refusal, scope: str | None = None) -> bytes:
    return dict(refused(refusal, "d", scope=scope).headers)[b"www-authenticate"]


def test_who_sent_no_credential_is_challenged_without_an_error() -> None:
    assert _challenge(Refusal(Reason.MISSING_CREDENTIAL)) == b'Bearer realm="watchword"'


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        (Reason.MALFORMED_CREDENTIAL, b"invalid_request"),
        (Reason.EXPIRED, b"invalid_token"),
        (Reason.INSUFFICIENT_SCOPE, b"insufficient_scope"),
    ],
)
def test_a_challenge_names_the_error_of_rfc_6750(reason: Reason, error: bytes) -> None:
    assert _challenge(Refusal(reason)).startswith(b'Bearer realm="watchword", error="' + error + b'", ')


def test_a_challenge_names_the_scope_where_it_is_known() -> None:
    assert _challenge(Refusal(Reason.INSUFFICIENT_SCOPE), "a:read").endswith(b', scope="a:read"')


def test_a_detail_breaks_out_of_no_quotes_and_no_header() -> None:
    challenge = _challenge(Refusal(Reason.WRONG_ISSUER, 'a"\\\r\nX: ü'))
    assert challenge.endswith(b'error_description="a    X:  "')


@pytest.mark.parametrize("reason", list(Reason))
def test_each_reason_answers_with_its_status_and_its_remedy(reason: Reason) -> None:
    answer = refused(Refusal(reason), "d")
    assert answer.status == reason.status
    assert reason.code.encode() in answer.body
    assert dict(answer.headers)[b"cache-control"] == b"no-store"
