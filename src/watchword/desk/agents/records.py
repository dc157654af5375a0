# SPDX-License-Identifier: Apache-2.0
"""What a store keeps of agents, and each step that changes it.

A step is one transition with its condition: it has an effect where the condition holds in the transaction
that does it, and no effect and no audit entry where not. So two replicas, or two requests at once, cannot
both complete one claim.
"""

from typing import Literal

import msgspec

from watchword.desk.audit_chain import AuditEvent

AgentKind = Literal["anonymous", "service_auth", "identity_assertion"]
AgentState = Literal["unclaimed", "claimed", "revoked"]
AttemptState = Literal["open", "confirmed", "denied"]


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """One agent's record. Times in whole seconds since the epoch.

    Attributes:
        id: `reg_...`; tokens say it as `agent:<id>`.
        kind: how it registered.
        state: where it stands.
        epoch: assertions of another epoch are over.
        person: who claimed it; the empty string: no one did.
        guesses: codes that were tried.
        made_at: when it registered.
        expires_at: when it ends, unless it is claimed, refreshed or asserted again before.
        provider: the id of the provider that it came by; empty: it came by itself.
        origin: which subject of that provider it is for, as a digest. A claimed registration is its link.
        scope: the most that it may do, with spaces; empty: all. Until its person confirms that is what the
            assertion that it was made by allows, and from then on what the person was shown.
        client: which of the provider's agents it is, by its `client_id`; empty: it came by itself, or before
            that was kept.
        signed_by: the thumbprint of the provider's key that signed that assertion; empty likewise.
    """

    id: str
    kind: AgentKind
    state: AgentState = "unclaimed"
    epoch: int = 0
    person: str = ""
    guesses: int = 0
    made_at: int
    expires_at: int
    provider: str = ""
    origin: str = ""
    scope: str = ""
    client: str = ""
    signed_by: str = ""

    @property
    def subject(self) -> str:
        """What tokens say as `sub`."""
        return f"agent:{self.id}"

    @property
    def accountable(self) -> str:
        """The same once a person answers for the agent; empty before.

        Anyone may register one: what an unclaimed agent is refused counts as a stranger's, or strangers would
        write the audit log as fast as they like.
        """
        return self.subject if self.state == "claimed" else ""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to claim an agent; a new one replaces it.

    Attributes:
        digest: of the token in its `verification_uri`.
        agent: the registration.
        address: whom it is for. Its repr leaves it out.
        state: where it stands.
        code_digest: of the code, once confirmed.
        proven_issuer: the provider that said whose the address is; empty: it was proven by a mail.
        proven_subject: what that provider calls the person; empty likewise.
        expires_at: when it ends, in seconds since the epoch.
    """

    digest: str
    agent: str
    address: str
    state: AttemptState = "open"
    code_digest: str = ""
    proven_issuer: str = ""
    proven_subject: str = ""
    expires_at: int

    def __repr__(self) -> str:
        return f"Attempt(agent={self.agent!r}, state={self.state!r})"


class Person(msgspec.Struct, frozen=True):
    """A person who claimed an agent.

    Attributes:
        id: the pseudonym that the audit log has.
        address: the address that was proven.
        issuer: the provider that said so; empty: it was proven by a mail.
        subject: what that provider calls the person; empty likewise.
    """

    id: str
    address: str
    issuer: str = ""
    subject: str = ""

    def __repr__(self) -> str:
        return f"Person({self.id!r})"


class _Step(msgspec.Struct, frozen=True, kw_only=True):
    """A step; its audit entry is written where it has an effect."""

    event: AuditEvent | None = None
    now: int = 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Register(_Step, frozen=True, kw_only=True):
    """Keep a new registration, unless `at_most` of its kind, and of its provider, wait already.

    It takes the place of one that waits for the same subject and client of a provider.
    """

    registration: Registration
    claim_digest: str
    at_most: int


class StartAttempt(_Step, frozen=True, kw_only=True):
    """Start an attempt of an unclaimed registration, in place of any before it."""

    attempt: Attempt


class CountUse(_Step, frozen=True, kw_only=True):
    """Count one use under a key until a time; no effect beyond `at_most`."""

    key: str
    at_most: int
    until: int


class CountGuess(_Step, frozen=True, kw_only=True):
    """Count a code that is to be tried; no effect beyond `at_most`."""

    agent: str
    at_most: int


class OpenProof(_Step, frozen=True, kw_only=True):
    """Give an open attempt the secret that may confirm it, in place of any before it."""

    attempt: str
    secret_digest: str
    issuer: str = ""
    subject: str = ""


class Confirm(_Step, frozen=True, kw_only=True):
    """Confirm the open attempt that a secret opens; the secret is used up.

    `scope` is what the person was shown, with spaces: from then on the most that the agent may do. Empty:
    that does not bound it.
    """

    secret_digest: str
    code_digest: str
    scope: str = ""


class Deny(_Step, frozen=True, kw_only=True):
    """Refuse the open attempt that a secret opens; the secret is used up."""

    secret_digest: str


class Complete(_Step, frozen=True, kw_only=True):
    """Bind a registration to a person by a confirmed attempt; whatever was issued before is revoked.

    No effect while something stands that it ends: `EndLink` comes first. Without a digest of a refresh token
    it has none. `scope` is the registration's from then on; empty: it stays as it is.
    """

    agent: str
    attempt: str
    code_digest: str
    person: Person
    refresh_digest: str
    expires_at: int
    scope: str = ""


class EndLink(_Step, frozen=True, kw_only=True):
    """End a registration whose place another one takes; no effect unless that completion is to have one."""

    agent: str
    by: Complete


class Rotate(_Step, frozen=True, kw_only=True):
    """Replace a refresh token that is the newest one."""

    agent: str
    before: str
    after: str
    expires_at: int


class IssueToAgent(_Step, frozen=True, kw_only=True):
    """Know a token as issued, if its registration still stands as it was looked at."""

    agent: str
    epoch: int
    token_id: str
    subject: str
    service: str
    issued_at: int
    expires_at: int


class UseToken(_Step, frozen=True, kw_only=True):
    """Use up a provider's token; no effect where it was used before."""

    issuer: str
    token_id: str
    expires_at: int


class AssertAgain(_Step, frozen=True, kw_only=True):
    """Let a claimed registration go on, if it still stands as it was looked at.

    One that was made before clients and scopes were kept has these from then on.
    """

    agent: str
    epoch: int
    expires_at: int
    client: str
    scope: str


class EndOrigin(_Step, frozen=True, kw_only=True):
    """Use up a provider's event, and end what a subject has; no effect where it was used before."""

    issuer: str
    token_id: str
    expires_at: int
    origin: str


class RevokeAgent(_Step, frozen=True, kw_only=True):
    """End a registration with all that was issued for it."""

    agent: str


class ForgetPerson(_Step, frozen=True, kw_only=True):
    """Delete what is kept of an address: the person, the attempts, and what the agents hold."""

    address: str


AgentStep = (
    Register
    | StartAttempt
    | CountUse
    | CountGuess
    | OpenProof
    | Confirm
    | Deny
    | Complete
    | EndLink
    | Rotate
    | IssueToAgent
    | UseToken
    | AssertAgain
    | EndOrigin
    | RevokeAgent
    | ForgetPerson
)
