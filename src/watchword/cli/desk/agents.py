# SPDX-License-Identifier: Apache-2.0
"""`watchword desk agents`: the agents that registered at a desk, and what is kept of people who claimed them.

They ask a desk that runs, through its admin API, or work on its store, where a desk needs not run. What they
print is the same.
"""

import json
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import click

from watchword.cli.audit.log import opened
from watchword.cli.desk.admin_api import AdminApi, optional_admin_options, table, text_of
from watchword.cli.desk.answers import Agent, Document
from watchword.cli.failures import ANSWER_IS_NO, UnusableInput, say
from watchword.cli.options import option, output_option
from watchword.desk.agents import events, storage
from watchword.desk.agents.overview import person_view, registration_view
from watchword.desk.agents.policy import read_address
from watchword.desk.agents.records import ForgetPerson, RevokeAgent
from watchword.desk.audit_events import RequestFacts

_Command = TypeVar("_Command", bound=Callable[..., Any])
_MAX_LISTED: Final = 100_000
_COLUMNS: Final = ("id", "kind", "state", "made_at", "expires_at", "person")


@click.group("agents", short_help="See, revoke and forget agents and the people who claimed them.")
def command() -> None:
    """See which agents registered at a desk, end one, and export or delete what is kept of a person.

    With --admin-url a desk that runs is asked, as the person who signed in or as an admin client; with
    --store the commands work on the desk's store themselves.

    \b
    Examples:
      watchword desk agents list --admin-url http://127.0.0.1:8445
      watchword desk agents revoke reg_0123... --store sqlite:////var/lib/watchword/desk.db
      watchword desk agents export-person alice@example.com --admin-url http://127.0.0.1:8445
      watchword desk agents forget-person alice@example.com --admin-url http://127.0.0.1:8445

    Exit codes: 0 done; 1 there is no such agent or person, or the desk says no; 2 wrong usage or unusable
    input.
    """


def _source_options(function: _Command) -> _Command:
    """The flags that say where agents are looked up: a desk's admin API, or its store."""
    store = option(
        "--store",
        metavar="DSN",
        help="The desk's store, instead of --admin-url: sqlite:////PATH or postgresql://USER@HOST/DATABASE.",
    )
    return store(optional_admin_options(function))


@command.command("list")
@_source_options
@option(
    "--limit", type=click.IntRange(1, _MAX_LISTED), default=1000, show_default=True, help="At most so many."
)
@output_option("json", "text")
def list_agents(*, store: str | None, limit: int, output: str, **admin: str | None) -> None:
    """Print the agents of a desk: as JSON, one a line, or as a table for people.

    From a store, those that registered first are at the top; through the admin API they are in the order of
    their ids.

    Exit codes: 0 printed; 1 the desk says no; 2 wrong usage or unusable input.
    """
    api = _api(store, admin)
    if api is not None:
        _print_list((each.document for each in api.entries("/agents", "agents", Agent, limit)), output)
        return
    with opened(store) as desk_store:
        rows = desk_store.look(storage.ALL_REGISTRATIONS, (limit,))
        held = (storage.registration_of([row]) for row in rows)
        _print_list((registration_view(each, time.time()) for each in held if each is not None), output)


@command.command("show")
@click.argument("agent")
@_source_options
def show(*, agent: str, store: str | None, **admin: str | None) -> None:
    """Print the registration AGENT as JSON.

    Exit codes: 0 printed; 1 there is none of this id, or the desk says no; 2 wrong usage.
    """
    api = _api(store, admin)
    if api is not None:
        click.echo(json.dumps(api.get(f"/agents/{_id(agent)}", Agent).document, indent=2))
        return
    with opened(store) as desk_store:
        found = storage.registration_of(desk_store.look(storage.BY_ID, (agent,)))
    if found is None:
        say(f"There is no agent {agent!a}. Remedy: see `watchword desk agents list`.")
        raise SystemExit(ANSWER_IS_NO)
    click.echo(json.dumps(registration_view(found, time.time()), indent=2))


@command.command("revoke")
@click.argument("agent")
@_source_options
def revoke(*, agent: str, store: str | None, **admin: str | None) -> None:
    """End the registration AGENT with all that was issued for it: tokens, refresh token, open claims.

    Gates that follow their bundle refuse its tokens within seconds, while the desk runs.

    Exit codes: 0 revoked; 1 there is none of this id, or (--store) it was revoked before, or the desk says
    no; 2 wrong usage.
    """
    api = _api(store, admin)
    if api is not None:
        api.post(f"/agents/{_id(agent)}/revoke", Document)
    else:
        facts = _facts()
        step = RevokeAgent(agent=agent, now=int(facts.at), event=events.revoked(facts, agent, "operator"))
        with opened(store) as desk_store:
            [is_done] = desk_store.write([step])
        if not is_done:
            remedy = "see `watchword desk agents list`"
            say(f"There is no agent {agent!a} that could be revoked. Remedy: {remedy}.")
            raise SystemExit(ANSWER_IS_NO)
    say(f"{agent} is revoked.")


@command.command("export-person")
@click.argument("address")
@_source_options
def export_person(*, address: str, store: str | None, **admin: str | None) -> None:
    """Print as JSON what a desk keeps of the person with this ADDRESS, in its tables and in its audit log.

    Exit codes: 0 printed; 1 nothing is kept, or the desk says no; 2 wrong usage or unusable input.
    """
    whole, api = _address(address), _api(store, admin)
    if api is not None:
        click.echo(json.dumps(api.post("/people/export", Document, {"address": whole}).document, indent=2))
        return
    with opened(store) as desk_store:
        found = person_view(desk_store.look, whole, time.time())
    if found is None:
        say("Nothing is kept of this address.")
        raise SystemExit(ANSWER_IS_NO)
    click.echo(json.dumps(found, indent=2))


@command.command("forget-person")
@click.argument("address")
@_source_options
def forget_person(*, address: str, store: str | None, **admin: str | None) -> None:
    """Delete what a desk keeps of the person with this ADDRESS, open claims included, and end their agents.

    The audit log keeps the pseudonym, which leads to no one any more. To keep the person from claiming
    again, take the address off the TokenDesk's spec.agents as well.

    Exit codes: 0 deleted; 1 nothing was kept, or the desk says no; 2 wrong usage or unusable input.
    """
    whole, api = _address(address), _api(store, admin)
    if api is not None:
        api.post("/people/forget", Document, {"address": whole})
        is_done = True
    else:
        facts = _facts()
        step = ForgetPerson(address=whole, now=int(facts.at), event=events.person_forgotten(facts))
        with opened(store) as desk_store:
            [is_done] = desk_store.write([step])
    say("What was kept is deleted." if is_done else "Nothing was kept of this address.")
    if not is_done:
        raise SystemExit(ANSWER_IS_NO)


def _print_list(agents: Iterable[Document], output: str) -> None:
    if output == "json":
        for each in agents:
            click.echo(json.dumps(each))
        return
    rows = [tuple(name.upper().replace("_", " ") for name in _COLUMNS)]
    click.echo(table(rows + [tuple(text_of(each[name]) for name in _COLUMNS) for each in agents]))


def _api(store: str | None, admin: dict[str, Any]) -> AdminApi | None:
    """The admin API where one is named; None: the store is."""
    if (store is None) == (admin["admin_url"] is None):
        raise click.UsageError("Give --admin-url to ask a desk that runs, or --store alone.")
    return None if store is not None else AdminApi(**admin)


def _id(agent: str) -> str:
    # Part of a path: what is no id must not become another one.
    if not agent.isascii() or not agent.replace("_", "").isalnum():
        raise UnusableInput(f"{agent!a} is not the id of an agent.", "Give it whole, such as reg_0123...")
    return agent


def _address(text: str) -> str:
    address = read_address(text)
    if address is None:
        raise UnusableInput(
            f"{text!a} is not one whole mail address.", "Give it as it was proven, such as alice@example.com."
        )
    return address


def _facts() -> RequestFacts:
    return RequestFacts("command-line", "", time.time())
