# SPDX-License-Identifier: Apache-2.0
"""What a TokenDesk says about agents, made ready: who may claim one, how that is proven, and what it gives.

Pure, and asked again each time that something is bound or minted: a domain that was given a provider since,
or a person who was taken off the list, is so from the next request on.
"""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from watchword.desk.agents.providers import IdentityProvider
from watchword.desk.agents.records import Registration
from watchword.identity import Grant
from watchword.trust.api.v1alpha1 import AgentMail, AgentsSpec
from watchword.trust.api.v1alpha1.rules.agents import is_address

Proof = Literal["mail", "sign_in"]
# The entry of a Secret that holds what the desk authenticates with at a provider.
CLIENT_SECRET: Final = "client-secret"  # noqa: S105 - a name, not a secret


class Provider(msgspec.Struct, frozen=True):
    """The one OpenID provider of a domain.

    Attributes:
        issuer: its issuer identifier.
        client_id: what the desk is called there.
        accounts: what agents of its people may use.
        client_secret: what the desk authenticates with there; empty: it is a public client.
    """

    issuer: str
    client_id: str
    accounts: tuple[str, ...] = ()
    client_secret: str = ""

    def __repr__(self) -> str:
        return f"Provider({self.issuer!r})"


class AgentPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What a desk lets agents do. All that is not said is refused.

    Attributes:
        unclaimed: what an agent may do for which no one answers; None: nothing.
        unclaimed_seconds: how long a registration waits to be claimed.
        max_unclaimed: how many may wait, of each kind and of each provider.
        claimed_scopes: what an agent may do that a person claimed; empty: none can be claimed.
        claimed_seconds: the life of a refresh token.
        people: accounts by whole address.
        domains: providers by whole domain.
        providers: providers of agents by issuer, suspended ones as well.
        mail: how mails are sent; None: not at all.
        mail_login: the user name and the password for it; None: without. Not in its repr.
    """

    unclaimed: Grant | None = None
    unclaimed_seconds: int = 86_400
    max_unclaimed: int = 1000
    claimed_scopes: tuple[str, ...] = ()
    claimed_seconds: int = 2_592_000
    people: Mapping[str, tuple[str, ...]] = {}
    domains: Mapping[str, Provider] = {}
    providers: Mapping[str, IdentityProvider] = {}
    mail: AgentMail | None = None
    mail_login: tuple[str, str] | None = None

    def __repr__(self) -> str:
        return f"AgentPolicy(people={len(self.people)}, domains={len(self.domains)})"

    def proof_for(self, address: str) -> Proof | None:
        """How the holder of an address proves it; None: no one by this address may claim an agent.

        A domain with a provider is only ever proven there, whether the address is known or not.
        """
        if domain_of(address) in self.domains:
            return "sign_in"
        return "mail" if address in self.people and self.mail is not None else None

    def accounts_of(self, address: str, issuer: str) -> tuple[str, ...] | None:
        """The accounts that a proven person's agents may use by now; None: the proof no longer counts.

        Args:
            address: the whole address.
            issuer: the provider that said it is the person's; the empty string: it was proven by a mail.
        """
        provider = self.domains.get(domain_of(address))
        if provider is not None:
            return provider.accounts if issuer == provider.issuer else None
        # What was proven by a mail stays proven while no mail can be sent.
        return None if issuer else self.people.get(address)

    @property
    def takes_assertions(self) -> bool:
        """Whether an assertion of some provider could lead to anything."""
        is_one_trusted = any(not each.is_suspended for each in self.providers.values())
        return is_one_trusted and bool(self.claimed_scopes)

    def provider_of(self, agent: Registration) -> IdentityProvider | None:
        """The provider that an agent came by, while it stands for the agent; None: it does not, by now.

        It is gone or suspended, its object no longer lists the agent's client, or, until a person has claimed
        the agent, the key that signed for it is no longer taken. A claimed one shows a new assertion each
        hour, and what it got by that is bound to that one's key.
        """
        named = (each for each in self.providers.values() if each.id == agent.provider)
        found = next(named, None)
        if found is None or found.is_suspended or agent.client not in ("", *found.client_ids):
            return None
        is_signed = agent.state != "unclaimed" or found.takes_key(agent.signed_by)
        return found if is_signed else None

    def accounts_by(self, agent: Registration, address: str, issuer: str) -> tuple[str, ...] | None:
        """The accounts of `accounts_of` for an agent, which may have come by a provider; None: none, by now.

        Args:
            agent: the registration.
            address: the whole address of the person.
            issuer: as `accounts_of` takes it.
        """
        if agent.provider:
            found = self.provider_of(agent)
            if found is None or domain_of(address) not in found.domains:
                return None
        return self.accounts_of(address, issuer)


def domain_of(address: str) -> str:
    """What is behind the last `@`."""
    return address.rpartition("@")[2]


def read_address(text: object) -> str | None:
    """A `login_hint` as an address that can be compared; None: it is none.

    The part before the `@` stays as it is, byte for byte; the domain is made lower case. Nothing is trimmed.
    """
    if not isinstance(text, str):
        return None
    local, at, domain = text.rpartition("@")
    address = f"{local}{at}{domain.lower()}"
    return address if text.isascii() and is_address(address) else None


def agent_policy(
    spec: AgentsSpec | None,
    secrets: Mapping[tuple[str, str], str],
    providers: Mapping[str, IdentityProvider] | None = None,
) -> AgentPolicy | None:
    """Make a desk's policy for agents; None where it has none.

    Args:
        spec: `spec.agents` of the TokenDesk.
        secrets: entries of Secrets by (name, entry).
        providers: providers of agents by issuer.
    """
    if spec is None:
        return None
    unclaimed, claimed, mail = spec.unclaimed, spec.claimed, spec.mail
    login = None
    if mail is not None and mail.secret_ref is not None:
        found = [secrets.get((mail.secret_ref.name, entry), "") for entry in ("username", "password")]
        if not all(found):
            # Without what it is to sign in with, a server would refuse it, or take it for another sender.
            mail = None
        else:
            login = (found[0].strip(), found[1].strip("\r\n"))
    limits = (
        {}
        if unclaimed is None
        else {
            "unclaimed_seconds": unclaimed.lifetime_seconds,
            "max_unclaimed": unclaimed.max_registrations,
        }
    )
    return AgentPolicy(
        unclaimed=None if unclaimed is None else Grant(tuple(unclaimed.scopes), tuple(unclaimed.accounts)),
        claimed_scopes=() if claimed is None else tuple(claimed.scopes),
        claimed_seconds=2_592_000 if claimed is None else claimed.lifetime_seconds,
        people={each.address: tuple(each.accounts) for each in spec.people},
        domains={
            each.domain: Provider(
                each.issuer,
                each.client_id,
                tuple(each.accounts),
                ""
                if each.secret_ref is None
                else secrets.get((each.secret_ref.name, CLIENT_SECRET), "").strip("\r\n"),
            )
            for each in spec.domains
        },
        providers=providers or {},
        mail=mail,
        mail_login=login,
        **limits,
    )
