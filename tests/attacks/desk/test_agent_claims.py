# SPDX-License-Identifier: Apache-2.0
"""The claim ceremony attacked: links that prove nothing, codes that are guessed, second thoughts.

Each request has the status and the error that must come.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from testing.agents import ALICE, BOB, AgentDesk, agent_desk, code_in, hidden, said
from testing.controlplane.process import wait_until
from testing.running_desk import (
    ISSUER,
)

DOMAINS = [
    {
        "domain": "corp.example",
        "issuer": "http://127.0.0.1:9/realms/all",
        "clientId": "desk",
        "accounts": ["umbrella"],
    }
]


@pytest.fixture(scope="module")
def desk() -> Iterator[AgentDesk]:
    with agent_desk() as running:
        yield running


@pytest.mark.parametrize(
    "token",
    ["", "x", "wwc_", "wwc_" + "a" * 43, "wwr_" + "a" * 43, "wwc_" + "a" * 4000, "reg_" + "0" * 32, 7, None],
)
@pytest.mark.parametrize("path", ["/agent/identity/claim", "/agent/identity/claim/complete"])
def test_without_the_claim_token_nothing_is_claimed(desk: AgentDesk, path: str, token: object) -> None:
    body = {"type": "service_auth", "login_hint": ALICE, "claim_token": token, "user_code": "000000"}
    answer = desk.post(path, body)
    assert answer.status_code in (400, 401)
    assert answer.json()["reason"] in ("missing_member", "member_too_large", "invalid_claim_token")
    if answer.status_code == 401:
        assert answer.headers["www-authenticate"].startswith('AgentAuth error="invalid_claim_token"')


def test_the_link_that_an_agent_gets_shows_no_code_and_no_secret(desk: AgentDesk) -> None:
    made = desk.service_auth()
    link = made["claim"]["attempt"]["verification_uri"]
    before = len(desk.mails.mails)
    for _ in range(3):
        shown = desk.http.get(desk.path_of(link))
        assert shown.status_code == 200
        assert "<output" not in shown.text
        assert "person" not in shown.text
    token = link.partition("attempt=")[2]
    for secret in (token, "wwm_" + token[4:], made["claim"]["token"], made["id"], ""):
        for decision in ("allow", "refuse"):
            answer = desk.decide(secret, decision)
            assert answer.status_code in (400, 410), answer.text
    mailed = desk.ask_for_mail(link)
    assert "wwm_" not in mailed.text
    assert "<output" not in mailed.text
    assert "set-cookie" not in mailed.headers
    assert desk.mails.link(before + 1).startswith(f"{ISSUER}/claim?secret=wwm_")
    assert desk.complete(made, "000000").json()["reason"] == "claim_not_confirmed"


@pytest.mark.parametrize("address", [BOB, "Alice@example.com", "alice@EXAMPLE.org", "root@sub.example.com"])
def test_for_an_address_that_is_not_listed_all_looks_alike_and_nothing_is_sent(
    desk: AgentDesk, address: str
) -> None:
    person = next(desk._people)
    known, unknown = desk.service_auth(person), desk.service_auth(address)
    assert known.keys() == unknown.keys()
    assert known["claim"].keys() == unknown["claim"].keys()
    before = len(desk.mails.mails)
    pages = [desk.ask_for_mail(each["claim"]["attempt"]["verification_uri"]) for each in (unknown, known)]
    assert pages[0].text == pages[1].text
    assert desk.mails.wait_for(before + 1)["To"] == person
    assert len(desk.mails.mails) == before + 1


def test_mail_scanners_open_every_link_and_change_nothing(desk: AgentDesk) -> None:
    made = desk.service_auth()
    link = made["claim"]["attempt"]["verification_uri"]
    secret = desk.secret_of(link)
    for path in (desk.path_of(link), f"/claim?secret={secret}", f"/claim?secret={secret}"):
        for method in ("GET", "HEAD"):
            assert desk.http.request(method, path).status_code == 200
    assert desk.complete(made, "000000").json()["reason"] == "claim_not_confirmed"
    assert desk.decide(secret).status_code == 200


def test_a_secret_confirms_once_and_a_code_is_shown_once(desk: AgentDesk) -> None:
    made = desk.service_auth()
    secret = desk.secret_of(made["claim"]["attempt"]["verification_uri"])
    first = desk.decide(secret)
    assert "<output" in first.text
    again = desk.decide(secret)
    assert again.status_code == 409
    assert "answered already" in again.text
    assert "<output" not in again.text
    assert desk.decide(secret, "refuse").status_code == 409
    assert desk.ask_for_mail_refused(made["claim"]["attempt"]["verification_uri"])


def test_a_person_who_refuses_ends_the_attempt(desk: AgentDesk) -> None:
    made = desk.service_auth()
    secret = desk.secret_of(made["claim"]["attempt"]["verification_uri"])
    assert desk.decide(secret, "refuse").status_code == 200
    assert said(desk.complete(made, "000000")) == (403, "claim_denied", "claim_denied")
    assert desk.decide(secret).status_code == 409


def test_of_two_answers_at_once_one_counts_and_the_other_is_told_so(desk: AgentDesk) -> None:
    for _ in range(12):
        made = desk.service_auth()
        secret = desk.secret_of(made["claim"]["attempt"]["verification_uri"])
        with ThreadPoolExecutor(2) as pool:
            allowed, refused = pool.map(desk.decide, [secret] * 2, ["allow", "refuse"])
        assert sorted((allowed.status_code, refused.status_code)) == [200, 409]
        if allowed.status_code == 200:
            assert desk.complete(made, code_in(allowed.text)).status_code == 200
        else:
            assert said(desk.complete(made, "000000")) == (403, "claim_denied", "claim_denied")


def test_a_new_attempt_kills_the_old_one_with_its_links_and_its_code(desk: AgentDesk) -> None:
    made = desk.service_auth()
    link = made["claim"]["attempt"]["verification_uri"]
    code = desk.code_of(link)
    desk.claim(made)
    assert desk.http.get(desk.path_of(link)).status_code == 410
    assert desk.complete(made, code).json()["reason"] == "claim_not_confirmed"


def test_codes_guessed_in_parallel_are_counted_before_they_are_answered() -> None:
    with agent_desk() as desk:
        made = desk.service_auth()
        code = desk.code_of(made["claim"]["attempt"]["verification_uri"])
        wrong = [f"{(int(code) + n) % 10**6:06d}" for n in range(1, 41)]
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda each: desk.complete(made, each), wrong))
        reasons = [each.json()["reason"] for each in answers]
        assert reasons.count("invalid_user_code") == 5
        assert reasons.count("too_many_attempts") == 35
        # The right one comes too late, in this attempt and in any further one.
        assert said(desk.complete(made, code)) == (429, "too_many_attempts", "too_many_attempts")
        attempt = desk.claim(made)["attempt"]
        code = desk.code_of(attempt["verification_uri"])
        assert desk.complete(made, code).json()["reason"] == "too_many_attempts"


def test_guesses_of_a_person_count_over_all_registrations() -> None:
    with agent_desk() as desk:
        tried = 0
        for _ in range(3):
            made = desk.service_auth(ALICE)
            code = desk.code_of(made["claim"]["attempt"]["verification_uri"])
            for n in range(1, 6):
                answer = desk.complete(made, f"{(int(code) + n) % 10**6:06d}")
                tried += answer.json()["reason"] == "invalid_user_code"
        assert tried == 10


def test_codes_beyond_one_registrations_count_leave_the_persons_day_alone() -> None:
    with agent_desk() as desk:
        made = desk.service_auth(ALICE)
        code = desk.code_of(made["claim"]["attempt"]["verification_uri"])
        for n in range(1, 13):
            desk.complete(made, f"{(int(code) + n) % 10**6:06d}")
        other = desk.service_auth(ALICE)
        code = desk.code_of(other["claim"]["attempt"]["verification_uri"])
        assert desk.complete(other, code).status_code == 200


def test_a_person_who_was_taken_off_the_list_is_not_said_to_have_refused() -> None:
    with agent_desk() as desk:
        made = desk.service_auth(ALICE)
        code = desk.code_of(made["claim"]["attempt"]["verification_uri"])
        desk.change(people=[{"address": BOB, "accounts": ["acme"]}])
        answer = desk.complete(made, code)
        assert said(answer) == (403, "claim_denied", "claim_denied")
        assert "refused" not in answer.json()["message"]
        assert "spec.agents" in answer.json()["remedy"]


def test_a_mail_beyond_the_days_ten_is_neither_sent_nor_said_to_be(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "watchword")
    with agent_desk() as desk:
        made = desk.service_auth(ALICE)
        for _ in range(10):
            assert desk.ask_for_mail(made["claim"]["attempt"]["verification_uri"]).status_code == 200
            made = desk.service_auth(ALICE)
        assert desk.ask_for_mail(made["claim"]["attempt"]["verification_uri"]).status_code == 200
        ways = [each["way"] for each in desk.audit() if each["event"] == "agent_claim_proof"]
        assert ways.count("mail") == 10
        assert ways.count("none") == 1
        held_back = [each for each in caplog.records if each.getMessage() == "a mail was not sent"]
        assert "10 mails" in held_back[-1].__dict__["why"]
        assert ALICE not in str(held_back[-1].__dict__)


@pytest.mark.parametrize("what", ["refused tokens", "issued tokens", "completions"])
def test_an_agent_that_no_one_claimed_writes_no_log_at_will(what: str) -> None:
    with agent_desk(unclaimed_per_minute=300) as desk:
        made = desk.anonymous()
        assertion, before = made["identity"]["assertion"], len(desk.audit())
        for _ in range(60):
            if what == "completions":
                assert desk.complete(made, "000000").status_code == 409
            else:
                account = "trial" if what == "issued tokens" else "zz"
                assert desk.token(assertion, account=account).status_code in (200, 400, 429)
        # Twenty at once, and one in five seconds; what is refused is counted with the strangers'.
        assert len(desk.audit()) - before <= (30 if what == "issued tokens" else 0)


def test_a_person_s_agent_that_is_refused_is_in_the_log_by_itself(desk: AgentDesk) -> None:
    done = desk.claimed()
    answer = desk.token(done["identity"]["assertion"], account="umbrella")
    assert answer.status_code == 400
    # It is written behind the answer.
    wait_until(
        lambda: (
            (answer.headers["x-request-id"], "request_refused")
            in [(each.get("request_id"), each["event"]) for each in desk.audit()]
        ),
        what="the entry of the refusal",
    )


def test_two_completions_at_once_claim_one_agent_once() -> None:
    with agent_desk() as desk:
        for _ in range(5):
            made = desk.anonymous()
            code = desk.code_of(desk.claim(made)["attempt"]["verification_uri"])
            with ThreadPoolExecutor(4) as pool:
                answers = list(pool.map(desk.complete, [made] * 2, [code] * 2))
            assert sorted(each.status_code for each in answers) == [200, 409]


def test_claiming_revokes_what_was_issued_before(desk: AgentDesk) -> None:
    made = desk.anonymous()
    before = desk.good(desk.token(made["identity"]["assertion"], account="trial"))["access_token"]
    assert desk.running.introspect(before).json()["active"] is True
    code = desk.code_of(desk.claim(made)["attempt"]["verification_uri"])
    done = desk.good(desk.complete(made, code))
    assert desk.running.introspect(before).json() == {"active": False}
    assert said(desk.token(made["identity"]["assertion"], account="trial"))[2] == "agent_ended"
    assert said(desk.complete(made, code))[2] == "already_claimed"
    assert said(desk.post("/agent/identity/claim", {
        "type": "service_auth", "login_hint": BOB, "claim_token": made["claim"]["token"],
    }))[2] == "already_claimed"  # fmt: skip
    assert desk.token(done["identity"]["assertion"]).status_code == 200
    # What only the unclaimed may use is gone with that.
    assert said(desk.token(done["identity"]["assertion"], account="trial"))[2] == "beyond_ceiling"


def test_a_refresh_token_that_comes_twice_ends_the_whole_delegation(desk: AgentDesk) -> None:
    done = desk.claimed()
    first = done["identity"]["refresh_token"]["value"]
    token = desk.good(desk.token(done["identity"]["assertion"]))["access_token"]
    fresh = desk.good(desk.post("/agent/identity", {"type": "refresh", "refresh_token": first}))
    again = desk.post("/agent/identity", {"type": "refresh", "refresh_token": first})
    assert said(again) == (401, "invalid_refresh_token", "invalid_refresh_token")
    for each in (first, fresh["identity"]["refresh_token"]["value"]):
        assert desk.post("/agent/identity", {"type": "refresh", "refresh_token": each}).status_code == 401
    assert said(desk.token(fresh["identity"]["assertion"]))[2] == "agent_ended"
    assert desk.running.introspect(token).json() == {"active": False}


@pytest.mark.parametrize("by", ["refresh", "assertion"])
def test_revoking_ends_the_whole_delegation(desk: AgentDesk, by: str) -> None:
    done = desk.claimed()
    identity = done["identity"]
    token = desk.good(desk.token(identity["assertion"]))["access_token"]
    secret = identity["refresh_token"]["value"] if by == "refresh" else identity["assertion"]
    assert desk.running.revoke(secret).status_code == 200
    assert desk.running.introspect(token).json() == {"active": False}
    assert said(desk.token(identity["assertion"]))[2] == "agent_ended"
    body = {"type": "refresh", "refresh_token": identity["refresh_token"]["value"]}
    assert desk.post("/agent/identity", body).status_code == 401
    assert said(desk.complete(done, "000000"))[2] == "claim_revoked"


def test_revoking_an_access_token_ends_that_one_alone(desk: AgentDesk) -> None:
    done = desk.claimed()
    token = desk.good(desk.token(done["identity"]["assertion"]))["access_token"]
    assert desk.running.revoke(token).status_code == 200
    assert desk.running.introspect(token).json() == {"active": False}
    assert desk.token(done["identity"]["assertion"]).status_code == 200


def test_the_claim_token_of_before_has_no_say_after_a_claim(desk: AgentDesk) -> None:
    done = desk.claimed()
    assert desk.running.revoke(done["claim"]["token"]).status_code == 200
    assert desk.token(done["identity"]["assertion"]).status_code == 200


def test_a_person_who_is_taken_off_the_list_ends_minting_refresh_and_open_claims() -> None:
    with agent_desk() as desk:
        done, made, open_one = desk.claimed(), desk.service_auth(), desk.service_auth()
        code = desk.code_of(made["claim"]["attempt"]["verification_uri"])
        secret = desk.secret_of(open_one["claim"]["attempt"]["verification_uri"])
        desk.change(people=[{"address": BOB}])
        assert said(desk.token(done["identity"]["assertion"]))[2] == "person_not_allowed"
        body = {"type": "refresh", "refresh_token": done["identity"]["refresh_token"]["value"]}
        assert said(desk.post("/agent/identity", body))[2] == "person_not_allowed"
        assert said(desk.complete(made, code))[2] == "claim_denied"
        assert desk.http.get(f"/claim?secret={secret}").status_code == 410
        assert desk.decide(secret).status_code == 410


def test_while_no_mail_can_be_sent_no_one_new_claims_and_what_was_claimed_goes_on() -> None:
    with agent_desk() as desk:
        done, made = desk.claimed(), desk.service_auth()
        mail = {"host": "smtp.example.com", "from": "desk@example.com", "secretRef": {"name": "gone"}}
        desk.change(mail=mail)
        state = desk.running.desk.state
        assert state is not None
        assert any("mails to people cannot be sent" in each for each in state.problems)
        assert desk.token(done["identity"]["assertion"]).status_code == 200
        before = len(desk.mails.mails)
        assert desk.ask_for_mail(made["claim"]["attempt"]["verification_uri"]).status_code == 200
        assert len(desk.mails.mails) == before


def test_a_domain_that_gets_a_provider_ends_what_mailboxes_proved_at_every_point() -> None:
    with agent_desk() as desk:
        done, made, open_one, new = (
            desk.claimed(),
            desk.service_auth(),
            desk.service_auth(),
            desk.service_auth(),
        )
        code = desk.code_of(made["claim"]["attempt"]["verification_uri"])
        secret = desk.secret_of(open_one["claim"]["attempt"]["verification_uri"])
        link = new["claim"]["attempt"]["verification_uri"]
        desk.change(people=[], domains=[DOMAINS[0] | {"domain": "example.com", "accounts": ["acme"]}])
        assert said(desk.token(done["identity"]["assertion"]))[2] == "person_not_allowed"
        body = {"type": "refresh", "refresh_token": done["identity"]["refresh_token"]["value"]}
        assert said(desk.post("/agent/identity", body))[2] == "person_not_allowed"
        assert said(desk.complete(made, code))[2] == "claim_denied"
        assert desk.decide(secret).status_code == 410
        # The page asks for a sign-in now, and a mail cannot be had for a form of before.
        assert desk.http.get(desk.path_of(link)).status_code == 503
        refused = desk.http.post("/claim/mail", data={"attempt": link.partition("attempt=")[2]})
        assert refused.status_code == 403
        for address in (ALICE, "stranger@example.com"):
            unknown = desk.service_auth(address)["claim"]["attempt"]["verification_uri"]
            token = unknown.partition("attempt=")[2]
            assert desk.http.post("/claim/mail", data={"attempt": token}).status_code == 403
        assert len(desk.mails.mails) == 3


@pytest.mark.parametrize(
    "domain", ["sub.corp.example", "corp.example.evil.com", "xcorp.example", "corp.exampl"]
)
def test_domains_compare_whole(domain: str) -> None:
    with agent_desk() as desk:
        desk.change(domains=DOMAINS)
        made = desk.service_auth(f"eve@{domain}")
        shown = desk.http.get(desk.path_of(made["claim"]["attempt"]["verification_uri"]))
        # No sign-in leads there: the page of a mailbox, for which nothing is ever sent.
        assert "/claim/mail" in shown.text
        assert desk.http.post("/claim/mail", data=hidden(shown.text)).status_code == 200
        assert desk.mails.mails == []
