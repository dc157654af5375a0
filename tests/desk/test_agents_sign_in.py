# SPDX-License-Identifier: Apache-2.0
"""People of a domain sign in at a real OpenID provider; whatever it says wrongly is refused."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from testing.agent_providers import ProviderDesk, id_jag, provider_object
from testing.agents import AgentDesk, agent_desk, code_in, hidden
from testing.tokens import Signer, compact, signer
from watchword.desk.agents.policy import Provider
from watchword.desk.agents.sign_in import COOKIE, SignedIn, read_id_token
from watchword.identity.compact import UnverifiedToken, parse_compact

# The provider runs in this process, and its own libraries warn of each other.
pytestmark = pytest.mark.filterwarnings("ignore")
CAROL = "carol@corp.example"
NOW = 1_800_000_000.0


class Person:
    """A browser of one person: its cookies, and the provider's own page."""

    def __init__(self, desk: AgentDesk, provider: str) -> None:
        self.desk, self.provider, self.cookie = desk, provider, ""

    def begin(self, verification_uri: str) -> str:
        """Press `Sign in`; where it leads."""
        shown = self.desk.http.get(self.desk.path_of(verification_uri))
        assert shown.status_code == 200, shown.text
        policy = shown.headers["content-security-policy"]
        assert f"form-action 'self' {self.provider};" in policy
        led = self.desk.http.post("/claim/sign-in", data=hidden(shown.text))
        assert led.status_code == 303, led.text
        cookie = led.headers["set-cookie"]
        assert cookie.endswith("Secure; HttpOnly; SameSite=Lax")
        self.cookie = f"{COOKIE}={SimpleCookie(cookie)[COOKIE].value}"
        location: str = led.headers["location"]
        assert location.startswith(f"{self.provider}/")
        return location

    def sign_in(self, location: str, sub: str) -> str:
        """Sign in there; the query that comes back."""
        answer = httpx.post(location, data={"sub": sub}, trust_env=False)
        assert answer.status_code in (302, 303), answer.text
        back = answer.headers["location"]
        assert back.startswith("https://desk.example.com/claim/callback?")
        return urlsplit(back).query

    def come_back(self, query: str, cookie: str | None = None) -> httpx.Response:
        """Follow the provider back to the desk."""
        given = self.cookie if cookie is None else cookie
        return self.desk.http.get(f"/claim/callback?{query}", headers={"cookie": given} if given else {})


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    """A provider that knows three people."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import oidc_provider_mock as mock

        people = [
            mock.User(sub="carol", claims={"email": CAROL, "email_verified": True}),
            mock.User(sub="mallory", claims={"email": "mallory@corp.example", "email_verified": True}),
            mock.User(sub="unverified", claims={"email": CAROL, "email_verified": False}),
            mock.User(sub="nameless", claims={}),
        ]
        with mock.run_server_in_thread(user_claims=people) as server:
            yield f"http://localhost:{server.server_port}"


@pytest.fixture(scope="module")
def desk(provider: str) -> Iterator[AgentDesk]:
    domain = {"domain": "corp.example", "issuer": provider, "clientId": "desk", "accounts": ["umbrella"]}
    domain |= {"secretRef": {"name": "idp"}}
    with agent_desk() as running:
        running.running.source.secrets["idp", "client-secret"] = "s3cret:/ +\n"
        running.change(domains=[domain])
        yield running


@pytest.fixture
def person(desk: AgentDesk, provider: str) -> Person:
    return Person(desk, provider)


def link_of(made: dict[str, Any]) -> str:
    found: str = made["claim"]["attempt"]["verification_uri"]
    return found


def test_a_person_signs_in_confirms_and_the_agent_gets_the_domains_account(
    desk: AgentDesk, person: Person
) -> None:
    made = desk.service_auth(CAROL)
    query = person.sign_in(person.begin(link_of(made)), "carol")
    shown = person.come_back(query)
    assert shown.status_code == 200, shown.text
    assert CAROL in shown.text
    assert "umbrella" in shown.text
    assert desk.complete(made, "000000").json()["reason"] == "claim_not_confirmed"
    code = code_in(desk.decide(hidden(shown.text)["secret"]).text)
    done = desk.good(desk.complete(made, code))
    assert desk.token(done["identity"]["assertion"], account="umbrella").status_code == 200
    assert desk.token(done["identity"]["assertion"], account="acme").json()["reason"] == "beyond_ceiling"
    # The provider of the domain is another one now: its word of before counts no longer.
    other = {
        "domain": "corp.example",
        "issuer": "https://other.example",
        "clientId": "desk",
        "accounts": ["umbrella"],
    }
    before = desk.running.desk.state
    desk.change(domains=[other])
    refused = desk.token(done["identity"]["assertion"], account="umbrella")
    desk.running.desk.state = before
    assert refused.json()["reason"] == "person_not_allowed"


@pytest.mark.parametrize(
    ("sub", "reason"),
    [("mallory", "wrong_person"), ("unverified", "sign_in_failed"), ("nameless", "sign_in_failed")],
)
def test_who_signs_in_as_someone_else_confirms_nothing(
    desk: AgentDesk, person: Person, sub: str, reason: str
) -> None:
    made = desk.service_auth(CAROL)
    shown = person.come_back(person.sign_in(person.begin(link_of(made)), sub))
    assert shown.status_code == 403
    assert "secret" not in hidden(shown.text)
    assert reason in {each["reason"] for each in recent_refusals(desk)}


@pytest.mark.parametrize(("sub", "status"), [("mallory", 403), ("carol", 200)])
def test_a_providers_word_for_a_domain_that_signs_in_still_takes_the_right_persons_sign_in(
    desk: AgentDesk, person: Person, provider: str, sub: str, status: int
) -> None:
    """An AgentProvider may name people of the domain; who they are, the domain's own provider says."""
    domain = {"domain": "corp.example", "issuer": provider, "clientId": "desk", "accounts": ["umbrella"]}
    before = desk.running.desk.state
    desk.trust(
        provider_object(emailDomains=["corp.example"]), domains=[domain | {"secretRef": {"name": "idp"}}]
    )
    try:
        agents = ProviderDesk(desk)
        made = agents.asked(email=CAROL, sub=f"carol-{sub}")
        shown = person.come_back(person.sign_in(person.begin(link_of(made)), sub))
        assert shown.status_code == status, shown.text
        if status == 403:
            assert "secret" not in hidden(shown.text)
            assert desk.complete(made, "000000").json()["reason"] == "claim_not_confirmed"
            return
        assert "<dd>Example Helper</dd>" in shown.text
        code = code_in(desk.decide(hidden(shown.text)["secret"]).text)
        done = desk.good(desk.complete(made, code))
        assert desk.token(done["identity"]["assertion"], account="umbrella").status_code == 200
        again = desk.good(agents.show(id_jag(email=CAROL, sub=f"carol-{sub}")))
        assert desk.token(again["identity"]["assertion"], account="umbrella").status_code == 200
        # The domain signs in elsewhere by now: the link's proof is of the provider before.
        other = domain | {"issuer": "https://other.example"}
        desk.change(domains=[other])
        refused = desk.token(again["identity"]["assertion"], account="umbrella")
        assert refused.json()["reason"] == "person_not_allowed"
        asked = agents.show(id_jag(email=CAROL, sub=f"carol-{sub}"))
        assert asked.json()["error"] == "interaction_required"
    finally:
        desk.providers = ()
        desk.running.desk.state = before


def recent_refusals(desk: AgentDesk) -> list[dict[str, str]]:
    counts = desk.running.desk.strangers._counts
    return [{"endpoint": endpoint, "reason": reason} for endpoint, reason in counts]


def test_an_answer_belongs_to_the_browser_that_asked(desk: AgentDesk, person: Person, provider: str) -> None:
    made = desk.service_auth(CAROL)
    query = person.sign_in(person.begin(link_of(made)), "carol")
    other = Person(desk, provider)
    other.begin(link_of(desk.service_auth(CAROL)))
    for cookie in ("", other.cookie, f"{COOKIE}=x", f"{COOKIE}=e30", f"x={person.cookie}"):
        assert person.come_back(query, cookie).status_code == 403
    state = parse_qs(query)["state"][0]
    for bad in (
        "",
        f"state={state}",
        "code=x",
        f"code=x&state={state}x",
        f"code=x&state={state}&state={state}",
    ):
        assert person.come_back(bad).status_code in (400, 403)
    assert person.come_back(query + "&iss=https%3A%2F%2Fevil.example").status_code == 403
    assert person.come_back(f"code=stolen&state={state}").status_code == 403
    for method in ("HEAD", "POST"):
        answer = desk.http.request(method, f"/claim/callback?{query}", headers={"cookie": person.cookie})
        assert answer.status_code == 405
    assert person.come_back(query).status_code == 200
    # A code is good once.
    assert person.come_back(query).status_code == 403


def test_a_provider_that_is_away_leaves_nothing_half_done(desk: AgentDesk) -> None:
    domain = {"domain": "corp.example", "issuer": "http://127.0.0.1:9", "clientId": "desk"}
    before = desk.running.desk.state
    desk.change(domains=[domain])
    made = desk.service_auth(CAROL)
    shown = desk.http.get(desk.path_of(link_of(made)))
    desk.running.desk.state = before
    assert shown.status_code == 503
    assert shown.headers["retry-after"] == "30"


PROVIDER = Provider("https://idp.example", "desk")
GOOD: dict[str, Any] = {
    "iss": "https://idp.example",
    "sub": "carol",
    "aud": "desk",
    "exp": int(NOW) + 60,
    "iat": int(NOW),
    "nonce": "n",
    "email": CAROL,
    "email_verified": True,
}
WRONG: list[dict[str, Any]] = [
    {"iss": "https://idp.example/"},
    {"iss": "https://evil.example"},
    {"aud": "other"},
    {"aud": ["desk", "other"]},
    {"aud": []},
    {"azp": "other"},
    {"nonce": "m"},
    {"nonce": ...},
    {"exp": int(NOW) - 61},
    {"exp": ...},
    {"iat": int(NOW) + 61},
    {"nbf": int(NOW) + 61},
    {"nbf": str(int(NOW))},
    {"email_verified": False},
    {"email_verified": "true"},
    {"email_verified": 1},
    {"email_verified": ...},
    {"email": ...},
    {"email": "Carol <carol@corp.example>"},
    {"email": "carol@corp.example,mallory@corp.example"},
    {"email": ["carol@corp.example"]},
    {"sub": ""},
    {"sub": 7},
    {"sub": "a\nb"},
    {"sub": "s" * 256},
]


def id_token(
    by: Signer | None = None, header: dict[str, Any] | None = None, **changes: Any
) -> UnverifiedToken:
    said = {name: value for name, value in (GOOD | changes).items() if value is not ...}
    key = signer() if by is None else by
    made = parse_compact(
        key.sign(compact({"alg": key.algorithm, "kid": key.kid} | (header or {})), compact(said))
    )
    assert isinstance(made, UnverifiedToken), made
    return made


def test_a_good_id_token_names_the_person() -> None:
    found = read_id_token(id_token(), (signer().key,), PROVIDER, "n", NOW)
    assert found == SignedIn("carol", CAROL)
    assert CAROL not in repr(found)


@pytest.mark.parametrize("changes", WRONG, ids=str)
def test_an_id_token_that_says_anything_else_is_refused(changes: dict[str, Any]) -> None:
    assert not isinstance(read_id_token(id_token(**changes), (signer().key,), PROVIDER, "n", NOW), SignedIn)


def test_an_id_token_that_may_be_used_by_now_is_taken() -> None:
    for begins in (NOW - 1, NOW + 59):
        assert read_id_token(id_token(nbf=begins), (signer().key,), PROVIDER, "n", NOW) == SignedIn(
            "carol", CAROL
        )


def test_an_id_token_of_another_key_is_refused() -> None:
    assert not isinstance(read_id_token(id_token(), (), PROVIDER, "n", NOW), SignedIn)
    assert not isinstance(read_id_token(id_token(), (signer("other").key,), PROVIDER, "n", NOW), SignedIn)
