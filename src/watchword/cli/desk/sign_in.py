# SPDX-License-Identifier: Apache-2.0
"""`watchword desk sign-in`: a person signs in to a desk's admin API in a browser (RFC 8252, RFC 7636).

The command is a public client: the code is exchanged here, at the provider itself, with the secret of this
one run. The desk gets the ID token and the ticket that it was made for, and never the code.
"""

import base64
import hashlib
import hmac
import secrets
import shlex
import time
import webbrowser
from collections.abc import Callable
from typing import Final, NamedTuple, NoReturn, TypeVar
from urllib.parse import urlencode

import click

from watchword.cli.desk import session
from watchword.cli.desk.admin_api import admin_url_option, desk_timeout_option
from watchword.cli.desk.answers import AdminToken, Begun, not_a_desk, read_answer, read_issued
from watchword.cli.desk.desk_http import API, DeskHttp
from watchword.cli.desk.loopback import Answered, Loopback
from watchword.cli.desk.sign_out import revoke
from watchword.cli.desk.urls import checked_url, is_private
from watchword.cli.failures import ANSWER_IS_NO, UnusableInput, os_reason, say, warn
from watchword.cli.options import desk_ca_option, option
from watchword.cli.plain_text import plain
from watchword.desk.admin.tickets import nonce_of
from watchword.desk.agents.oidc_http import Endpoints, ProviderError, Providers
from watchword.identity import EncodingError, Refusal, parse_json_object
from watchword.identity.compact import parse_compact

_T = TypeVar("_T")
_PATH: Final = f"{API}/sign-in"
# The longest life of an admin token, and how far the desk's clock may be from this machine's, in seconds.
_LONGEST_SECONDS: Final = 900
_SKEW_SECONDS: Final = 300
_MOST_LISTED: Final = 20


class _Secret(NamedTuple):
    """What binds the provider's answer to this run: the ticket's digest, and the secret of RFC 7636."""

    nonce: str
    verifier: str


class _Browser(NamedTuple):
    """How the browser is asked, and what to say where no one comes back: how to run the command again."""

    opens: bool
    port: int
    wait: int
    again: str


@click.command("sign-in")
@admin_url_option
@option(
    "--issuer", metavar="URL", help="Sign in at this provider.  [default: the only one that the desk has]"
)
@option(
    "--client-id", metavar="ID", help="By this client id there.  [default: the only one that the desk has]"
)
@option("--no-browser", is_flag=True, help="Print the address to open instead of opening it.")
@option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default="any that is free",
    help="The port of 127.0.0.1 that the browser comes back to, such as one that ssh -L forwards.",
)
@option(
    "--wait",
    type=click.IntRange(1, 600),
    default=300,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the browser.",
)
@desk_ca_option
@desk_timeout_option
def command(
    *,
    admin_url: str,
    issuer: str | None,
    client_id: str | None,
    no_browser: bool,
    port: int,
    wait: int,
    ca_file: str | None,
    timeout_seconds: int,
) -> None:
    """Sign in to the admin API of a desk, as a person that a DeskClient of the type AdminPerson names.

    The token is kept for this admin URL in a file that only you can read, and ends after at most 15 minutes.
    The other commands of `watchword desk` use it where no --assertion-file is given.

    \b
    Example:
      watchword desk sign-in --admin-url http://127.0.0.1:8445
      watchword desk tokens list --admin-url http://127.0.0.1:8445

    Exit codes: 0 signed in; 1 the desk or the provider says no; 2 wrong usage or unusable input.
    """
    url = _checked(admin_url)
    session.prepare(url)
    desk = DeskHttp("--admin-url", url, ca_file, timeout_seconds)
    begun = read_answer(desk.asked("GET", _PATH), Begun, f"{url}{_PATH}")
    provider, client = _chosen(begun, issuer, client_id)
    say(f"Signing in to the desk {plain(begun.issuer)}, at {provider} as the client {plain(client)}.")
    browser = _Browser(opens=not no_browser, port=port, wait=wait, again=_again(url))
    id_token = _signed_in(provider, client, begun.ticket, browser, timeout_seconds)
    answer = desk.asked("POST", _PATH, json={"id_token": id_token, "ticket": begun.ticket})
    made = _session_of(url, read_issued(answer, f"{url}{_PATH}"))
    try:
        _require_clock(made)
        earlier = session.save(made)
    except UnusableInput:
        _give_back(made, ca_file, timeout_seconds)
        raise
    say(f"Signed in as {made.subject} until {made.ends}.")
    person = _claim_of(id_token, "email") or _claim_of(id_token, "sub")
    out = f"watchword desk sign-out --admin-url {url}"
    say(f"That is {plain(person, 256)} at {provider}.")
    say(f"If that is not you, someone else finished this sign-in. End it: {out}")
    if earlier is None or earlier.has_ended:
        return
    if earlier.subject != made.subject:
        warn(f"{earlier.subject} was signed in here until now.")
    say(f"The earlier token of {earlier.subject} is replaced here.")
    _give_back(earlier, ca_file, timeout_seconds)


def _chosen(begun: Begun, issuer: str | None, client_id: str | None) -> tuple[str, str]:
    """The provider and the client id there. Raises UnusableInput."""
    pairs = [(each.issuer, each.client_id) for each in begun.providers]
    if not pairs:
        raise UnusableInput(
            "No person can sign in to this desk.",
            "Someone who may grant it makes a DeskClient of the type AdminPerson: see "
            "docs/how-to/administer-a-desk.md.",
        )
    fitting = [pair for pair in pairs if issuer in (None, pair[0]) and client_id in (None, pair[1])]
    if len(fitting) != 1:
        # In quotes where a shell would read more than a word in it: this is there to be pasted.
        found = ", ".join(
            f"--issuer {shlex.quote(plain(one))} --client-id {shlex.quote(plain(other))}"
            for one, other in pairs[:_MOST_LISTED]
        )
        detail = "Several providers fit" if fitting else "No provider of the desk fits"
        raise UnusableInput(f"{detail}.", f"Choose one of these: {found}.")
    [(chosen, client)] = fitting
    if "@" in chosen or not is_private(chosen):
        shown = "" if "@" in chosen else f" {plain(chosen)}"
        raise UnusableInput(
            f"The desk's provider{shown} is neither https:// nor on this machine.",
            "Have the issuer in the DeskClient begin with https://, as the provider's tokens say it.",
        )
    return chosen, client


def _signed_in(provider: str, client: str, ticket: str, browser: _Browser, seconds: float) -> str:
    """The ID token of a sign-in in the browser. Raises UnusableInput; SystemExit where the answer is no."""
    providers, state = Providers(deadline_seconds=seconds), secrets.token_urlsafe(32)
    secret = _Secret(nonce_of(ticket), secrets.token_urlsafe(48))
    endpoints = _of_provider(provider, seconds, lambda: providers.endpoints(provider))
    try:
        listener = Loopback(state, provider, must_name_issuer=endpoints.names_itself, port=browser.port)
    except OSError as error:
        raise UnusableInput(
            f"--port {browser.port}: 127.0.0.1 cannot be listened on: {os_reason(error)}.",
            "Name another one.",
        ) from None
    with listener:
        address = _address(endpoints, client, listener.redirect_uri, state, secret)
        if not browser.opens:
            click.echo(address)
            say("Open this address in a browser of this machine.")
        elif not webbrowser.open(address):
            say(f"No browser opens. Open this address yourself: {address}")
        answered = listener.wait(browser.wait)
        redirect_uri = listener.redirect_uri
    form = {
        "grant_type": "authorization_code",
        "code": _code(answered, browser),
        "redirect_uri": redirect_uri,
        "client_id": client,
        "code_verifier": secret.verifier,
    }
    token = _of_provider(provider, seconds, lambda: providers.exchange(provider, form))
    if token is None:
        _say_no(
            "The provider gives no ID token for the code.",
            f"{browser.again}. If it lasts, see that {plain(client)} is a public client there, with PKCE.",
        )
    # The desk checks all of it. What is checked here is that this very sign-in was answered.
    if not hmac.compare_digest(_claim_of(token, "nonce").encode(), secret.nonce.encode()):
        _say_no("The ID token was not made for this sign-in.", f"{browser.again}.")
    return token


def _of_provider(provider: str, seconds: float, ask: Callable[[], _T]) -> _T:
    """What a provider answers, within so many seconds in all. Raises UnusableInput."""
    from watchword.client.deadline import DeadlineError, within

    try:
        return within(seconds, ask)
    except DeadlineError:
        why = "it has not answered whole in time"
    except ProviderError as error:
        why = str(error)
    except ValueError:
        why = "no host is called so"
    raise UnusableInput(
        f"The provider {provider} cannot be used within {seconds:g} s: {plain(why)}.",
        "Check the issuer in the DeskClient, and the network; SSL_CERT_FILE names a CA of your own, and "
        "--timeout-seconds gives more time.",
    )


def _address(endpoints: Endpoints, client: str, redirect_uri: str, state: str, secret: _Secret) -> str:
    challenge = base64.urlsafe_b64encode(hashlib.sha256(secret.verifier.encode()).digest()).rstrip(b"=")
    query = urlencode(
        {
            "response_type": "code",
            "client_id": client,
            "redirect_uri": redirect_uri,
            "scope": "openid email",
            "state": state,
            "nonce": secret.nonce,
            "code_challenge": challenge.decode(),
            "code_challenge_method": "S256",
        }
    )
    return f"{endpoints.authorization}{'&' if '?' in endpoints.authorization else '?'}{query}"


def _code(answered: Answered | None, browser: _Browser) -> str:
    if answered is None:
        _say_no(f"No one signed in within {browser.wait} s.", f"{browser.again}. --wait gives more time.")
    if answered.problem:
        _say_no(f"The sign-in failed: {answered.problem}.", f"{browser.again}.")
    return answered.code


def _claim_of(token: str, name: str) -> str:
    """A claim of a token that is text, not verified; empty: there is none."""
    unverified = parse_compact(token.encode("utf-8", "replace"))
    if isinstance(unverified, Refusal):
        return ""
    try:
        found = parse_json_object(unverified.payload).get(name)
    except EncodingError:
        return ""
    return found if isinstance(found, str) else ""


def _session_of(url: str, token: str) -> session.Session:
    """A sign-in by the token that a desk gave for it. Raises UnusableInput."""
    unverified = parse_compact(token.encode("utf-8", "replace"))
    try:
        document = {} if isinstance(unverified, Refusal) else parse_json_object(unverified.payload)
    except EncodingError:
        document = {}
    said = read_answer(document, AdminToken, f"{url}{_PATH}")
    if said.watchword.kind != "admin":
        raise not_a_desk(f"{url}{_PATH}", f"its token is of the kind {said.watchword.kind!a} and not 'admin'")
    if not 0 < said.exp - said.iat <= _LONGEST_SECONDS:
        why = f"its token lives for {said.exp - said.iat} s, and not for at most {_LONGEST_SECONDS}"
        raise not_a_desk(f"{url}{_PATH}", why)
    return session.Session(url, token, said.jti, said.sub, said.exp)


def _require_clock(made: session.Session) -> None:
    """Refuse a token whose time does not fit this machine's: it would be used too long, or not at all."""
    left = made.expires_at - int(time.time())
    if not 0 < left <= _LONGEST_SECONDS + _SKEW_SECONDS:
        raise UnusableInput(
            f"By the clock of this machine the new token ends in {left} s, and not in 1 to "
            f"{_LONGEST_SECONDS}.",
            "Set the clock of this machine, or of the desk; then sign in again.",
        )


def _give_back(made: session.Session, ca_file: str | None, timeout_seconds: int) -> None:
    """Revoke a token that is not kept, as far as the desk lets that be done."""
    try:
        revoke(made.url, ca_file, timeout_seconds, made)
    except (UnusableInput, SystemExit):
        warn(
            f"The token {made.token_id} of {made.subject} was not revoked; it ends by itself at {made.ends}."
        )


def _checked(url: str) -> str:
    """Tokens and codes go there: over TLS, or not beyond this machine. Raises UnusableInput."""
    if not is_private(url):
        shown = "" if "@" in url else f" {plain(url)}"
        raise UnusableInput(
            f"--admin-url{shown} is neither https:// nor on this machine.",
            "Use its https:// URL, or http://127.0.0.1 behind kubectl port-forward.",
        )
    return checked_url("--admin-url", url)


def _again(url: str) -> str:
    return f"Run watchword desk sign-in --admin-url {url} again"


def _say_no(sentence: str, remedy: str) -> NoReturn:
    say(sentence)
    say(f"Remedy: {remedy}")
    raise SystemExit(ANSWER_IS_NO)
