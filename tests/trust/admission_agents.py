# SPDX-License-Identifier: Apache-2.0
"""The objects of `admission.py` for what a ProtectedService and a TokenDesk say about agents."""

from __future__ import annotations

from typing import Any

from testing.manifests import service
from tests.trust.admission_desk import desk

Object = dict[str, Any]
MAIL = {"host": "smtp.example.com", "from": "desk@example.com"}
ALICE = {"address": "alice@example.com", "accounts": ["acme"]}
DOMAIN = {"domain": "corp.example", "issuer": "https://idp.corp.example/realms/all", "clientId": "desk"}
SCOPES = {"scopes": ["account:usage:read"]}


def ceiling(**members: Any) -> Object:
    """A service that lets agents in."""
    return service(tokenDeskRef={"name": "desk"}, agents=SCOPES | members)


def agents(**members: Any) -> Object:
    """A desk at which agents may register."""
    return desk(agents=members)


def people(*addresses: str) -> Object:
    """A desk with these people."""
    return agents(mail=MAIL, people=[{"address": each} for each in addresses])


def domain(**members: Any) -> Object:
    """A desk with one domain."""
    return agents(domains=[DOMAIN | members])


_HOLDER = "a pattern, a comma, or a character that does not print"
_OWN = "a wildcard, a comma, or a character that does not print"
_HOLDERS = ("acme*", "a,b", "a\n", "a\u200b")

REFUSED: tuple[tuple[str, str, str, Object], ...] = (
    ("ServiceSpec", "agents are a desk's, and the service names none", "spec.agents", service(agents=SCOPES)),
    *(("AgentCeiling.accounts[]", _HOLDER, "spec.agents.accounts[0]", ceiling(accounts=[name]))
      for name in _HOLDERS),
    ("AgentCeiling.accounts", '"*" is given together with names', "spec.agents.accounts",
     ceiling(accounts=["*", "acme"])),
    *(("UnclaimedAgents.accounts[]", _OWN, "spec.agents.unclaimed.accounts[0]",
       agents(unclaimed=SCOPES | {"accounts": [name]})) for name in ("*", *_HOLDERS)),
    *(("AgentPerson.accounts[]", _OWN, "spec.agents.people[0].accounts[0]",
       agents(mail=MAIL, people=[ALICE | {"accounts": [name]}])) for name in ("*", *_HOLDERS)),
    *(("AgentDomain.accounts[]", _OWN, "spec.agents.domains[0].accounts[0]", domain(accounts=[name]))
      for name in ("*", *_HOLDERS)),
    *(("AgentPerson.address", "not an address", "spec.agents.people[0].address", people(address))
      for address in ("alice", "@example.com", "alice@", "alice@example", "alice@Example.com",
                      "alice@example.com.", "alice@.example.com", "a b@example.com", ".a@example.com",
                      "a..b@example.com", '"a"@example.com', "alice@[127.0.0.1]", "alicé@example.com",
                      "alice@exämple.com", "a@b@example.com", "<alice@example.com>", "alice@example.com\n",
                      "alice@-a.com", "a@e_x.com", "a(b)@example.com", "a,b@example.com")),
    *(("AgentDomain.domain", "not a domain", "spec.agents.domains[0].domain", domain(domain=name))
      for name in ("example", "*.example.com", "Example.com", "example.com.", ".example.com", "a@example.com",
                   "exämple.com", "example.com\n", "-a.com")),
    *(("AgentDomain.issuer", "not the URL of a provider", "spec.agents.domains[0].issuer", domain(issuer=url))
      for url in ("http://idp.example.com", "https://idp.example.com/", "idp.example.com", "https://",
                  "https://a b", "https://a#x", "ftp://a", "http://127.0.0.2")),
    ("AgentDomain.clientId", "it holds a control character, such as a line break",
     "spec.agents.domains[0].clientId", domain(clientId="desk\n")),
    ("AgentsSpec", "people are listed, and no mail can reach them", "spec.agents.people",
     agents(people=[ALICE])),
    ("AgentMail.from", "not an address", "spec.agents.mail.from", agents(mail=MAIL | {"from": "the desk"})),
    ("AgentMail.host", "not the name of a host", "spec.agents.mail.host",
     agents(mail=MAIL | {"host": "a b"})),
    *(("AgentMail", "mails would leave this machine in plain text", "spec.agents.mail.security",
       agents(mail=MAIL | {"security": "None", "host": host})) for host in ("smtp.example.com", "127.0.0.2",
                                                                            "localhost.example.com")),
    ("AgentSecret.name", "not the name of an object", "spec.agents.mail.secretRef.name",
     agents(mail=MAIL | {"secretRef": {"name": "../a"}})),
    ("AgentSecret.name", "not the name of an object", "spec.agents.domains[0].secretRef.name",
     domain(secretRef={"name": "*"})),
)  # fmt: skip

BOUNDED: tuple[tuple[str, str, Object], ...] = (
    ("spec.agents.scopes", "should have at least 1 items", ceiling(scopes=[])),
    ("spec.agents.accounts", "should have at least 1 items", ceiling(accounts=[])),
    ("spec.agents.projects", "unknown field", ceiling(projects=["ios"])),
    ("spec.agents.scopes[0]", "should match", ceiling(scopes=["*"])),
    ("spec.agents.unclaimed.scopes", "should have at least 1 items", agents(unclaimed={"scopes": []})),
    ("spec.agents.unclaimed.lifetimeSeconds", "should be greater than or equal to 300",
     agents(unclaimed=SCOPES | {"lifetimeSeconds": 299})),
    ("spec.agents.unclaimed.maxRegistrations", "should be less than or equal to 100000",
     agents(unclaimed=SCOPES | {"maxRegistrations": 100001})),
    ("spec.agents.claimed.lifetimeSeconds", "should be greater than or equal to 3600",
     agents(claimed=SCOPES | {"lifetimeSeconds": 3599})),
    ("spec.agents.domains[1]", "Duplicate value", agents(domains=[DOMAIN, DOMAIN])),
    ("spec.agents.people[1]", "Duplicate value", agents(mail=MAIL, people=[ALICE, ALICE])),
    ("spec.agents.mail.security", "Unsupported value", agents(mail=MAIL | {"security": "none"})),
    ("spec.agents.providers", "unknown field", agents(providers=[])),
)  # fmt: skip

_LONG = [f"{n}".ljust(120, "a") for n in range(64)]
ACCEPTED: dict[str, Object] = {
    "a service that lets agents in": ceiling(),
    "a service that lets agents use every account that they are given": ceiling(accounts=["*"]),
    "a desk at which no agent may do anything": agents(),
    "a desk with all that it can say about agents": agents(
        unclaimed=SCOPES | {"accounts": ["trial"], "lifetimeSeconds": 300, "maxRegistrations": 1},
        claimed=SCOPES | {"lifetimeSeconds": 3600},
        people=[ALICE, {"address": "o'brien+a/b=c@example.com"}],
        domains=[DOMAIN, DOMAIN | {"domain": "xn--exmple-cua.com", "issuer": "http://127.0.0.1:8080/a"}],
        mail=MAIL | {"port": 465, "security": "TLS", "secretRef": {"name": "smtp"}}),
    "a desk that mails through this machine": agents(mail=MAIL | {"security": "None", "host": "127.0.0.1"}),
    "the largest desk": agents(
        mail=MAIL,
        people=[{"address": f"{n}".ljust(64, "a") + "@" + ".".join(["b" * 58] * 3), "accounts": _LONG[:8]}
                for n in range(256)],
        domains=[DOMAIN | {"domain": f"d{n}." + ".".join(["b" * 58] * 3), "accounts": _LONG}
                 for n in range(64)]),
}  # fmt: skip
