# SPDX-License-Identifier: Apache-2.0
"""`watchword desk agents`: the agents that registered at a desk, and what is kept of people who claimed them.

They work on the store itself: a desk needs not run, and one that runs tells gates within seconds.
"""

import time
from typing import Any, Final

import click
import msgspec

from watchword.cli.audit.log import opened
from watchword.cli.failures import UnusableInput, say
from watchword.cli.options import option
from watchword.desk.agents import events, storage
from watchword.desk.agents.core import timestamp
from watchword.desk.agents.policy import read_address
from watchword.desk.agents.records import ForgetPerson, Registration, RevokeAgent
from watchword.desk.audit_events import RequestFacts
from watchword.desk.store import DeskStore

_MAX_LISTED: Final = 100_000


@click.group("agents", short_help="See, revoke and forget agents and the people who claimed them.")
def command() -> None:
    """See which agents registered at a desk, end one, and export or delete what is kept of a person.

    \b
    Examples:
      watchword desk agents list --store sqlite:////var/lib/watchword/desk.db
      watchword desk agents revoke reg_0123... --store sqlite:////var/lib/watchword/desk.db
      watchword desk agents export-person alice@example.com --store sqlite:////var/lib/watchword/desk.db
      watchword desk agents forget-person alice@example.com --store sqlite:////var/lib/watchword/desk.db

    Exit codes: 0 done; 1 there is no such agent or person; 2 wrong usage or unusable input.
    """


def _store_option(function: Any) -> Any:
    return option(
        "--store",
        required=True,
        metavar="DSN",
        help="The desk's store: sqlite:////PATH or postgresql://USER@HOST/DATABASE.",
    )(function)


@command.command("list")
@_store_option
@option(
    "--limit", type=click.IntRange(1, _MAX_LISTED), default=1000, show_default=True, help="At most so many."
)
def list_agents(*, store: str, limit: int) -> None:
    """Print the agents of a desk as JSON lines, those that registered first at the top.

    Exit codes: 0 printed; 2 wrong usage or unusable input.
    """
    with opened(store) as desk_store:
        for row in desk_store.look(storage.ALL_REGISTRATIONS, (limit,)):
            found = storage.registration_of([row])
            if found is not None:
                click.echo(msgspec.json.encode(_shown(found)))


@command.command("revoke")
@click.argument("agent")
@_store_option
def revoke(*, agent: str, store: str) -> None:
    """End the registration AGENT with all that was issued for it: tokens, refresh token, open claims.

    Gates that follow their bundle refuse its tokens within seconds, while the desk runs.

    Exit codes: 0 revoked; 1 there is none of this id, or it was revoked before; 2 wrong usage.
    """
    facts = _facts()
    step = RevokeAgent(agent=agent, now=int(facts.at), event=events.revoked(facts, agent, "operator"))
    with opened(store) as desk_store:
        [is_done] = desk_store.write([step])
    if not is_done:
        say(f"There is no agent {agent!a} that could be revoked. Remedy: see `watchword desk agents list`.")
        raise SystemExit(1)
    say(f"{agent} is revoked.")


@command.command("export-person")
@click.argument("address")
@_store_option
def export_person(*, address: str, store: str) -> None:
    """Print as JSON what a desk keeps of the person with this ADDRESS, in its tables and in its audit log.

    Exit codes: 0 printed; 1 nothing is kept; 2 wrong usage or unusable input.
    """
    whole = _address(address)
    with opened(store) as desk_store:
        people = desk_store.look(storage.PEOPLE_BY_ADDRESS, (whole,))
        attempts = desk_store.look(storage.ATTEMPTS_TO_ADDRESS, (whole,))
        found = {
            "address": whole,
            "people": [_person(desk_store, row) for row in people],
            "open_claims": [{"agent": row[1], "expires_at": timestamp(row[7])} for row in attempts],
        }
    if not people and not attempts:
        say("Nothing is kept of this address.")
        raise SystemExit(1)
    click.echo(msgspec.json.format(msgspec.json.encode(found)))


@command.command("forget-person")
@click.argument("address")
@_store_option
def forget_person(*, address: str, store: str) -> None:
    """Delete what a desk keeps of the person with this ADDRESS, open claims included, and end their agents.

    The audit log keeps the pseudonym, which leads to no one any more. To keep the person from claiming
    again, take the address off the TokenDesk's spec.agents as well.

    Exit codes: 0 deleted; 1 nothing was kept; 2 wrong usage or unusable input.
    """
    whole, facts = _address(address), _facts()
    step = ForgetPerson(address=whole, now=int(facts.at), event=events.person_forgotten(facts))
    with opened(store) as desk_store:
        [is_done] = desk_store.write([step])
    say("What was kept is deleted." if is_done else "Nothing was kept of this address.")
    if not is_done:
        raise SystemExit(1)


def _person(store: DeskStore, row: tuple[Any, ...]) -> dict[str, Any]:
    identifier = str(row[0])
    agents = store.look(storage.AGENTS_OF_PERSON, (identifier,))
    shown = [_shown(each) for agent in agents if (each := storage.registration_of([agent])) is not None]
    proof = {"issuer": row[2], "subject": row[3]} if row[2] else {"proven_by": "mail"}
    return {"pseudonym": identifier, **proof, "agents": shown}


def _shown(found: Registration) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(found)
    return document | {name: timestamp(document[name]) for name in ("made_at", "expires_at")}


def _address(text: str) -> str:
    address = read_address(text)
    if address is None:
        raise UnusableInput(
            f"{text!a} is not one whole mail address.", "Give it as it was proven, such as alice@example.com."
        )
    return address


def _facts() -> RequestFacts:
    return RequestFacts("command-line", "", time.time())
