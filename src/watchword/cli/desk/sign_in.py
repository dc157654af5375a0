# SPDX-License-Identifier: Apache-2.0
"""`watchword desk sign-in`: a person signs in to a desk's admin API in a browser (RFC 8252, RFC 7636).

The command is a public client: the code is exchanged here, at the provider itself, with the secret of this
one run. The desk gets the ID token and the ticket that it was made for, and never the code.
"""

import base64
import hashlib
import hmac
import secrets
import webbrowser
from typing import Any, Final, NamedTuple, NoReturn
from urllib.parse import urlencode, urlsplit

import click
import msgspec

from watchword.cli.desk import session
from watchword.cli.desk.admin_api import DeskHttp, admin_url_option
from watchword.cli.desk.loopback import Answered, Loopback
from watchword.cli.failures import ANSWER_IS_NO, UnusableInput, os_reason, say
from watchword.cli.options import desk_ca_option, option
from watchword.desk.admin.tickets import nonce_of
from watchword.desk.agents.oidc_http import Endpoints, ProviderError, Providers
from watchword.identity import EncodingError, Refusal, parse_json_object
from watchword.identity.compact import parse_compact

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_KEPT: Final = (("token_id", "jti"), ("subject", "sub"), ("expires_at", "exp"))
_AGAIN: Final = "Run watchword desk sign-in again."


class _Secret(NamedTuple):
    """What binds the provider's answer to this run: the ticket's digest, and the secret of RFC 7636."""

    nonce: str
    verifier: str


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
def command(
    *,
    admin_url: str,
    issuer: str | None,
    client_id: str | None,
    no_browser: bool,
    port: int,
    wait: int,
    ca_file: str | None,
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
    url = admin_url.rstrip("/")
    _require_private(url)
    desk = DeskHttp(url, ca_file)
    begun = desk.asked("GET", "/sign-in")
    ticket = str(begun.get("ticket", ""))
    provider, client = _chosen(begun, issuer, client_id)
    say(f"Signing in to the desk {_plain(begun.get('issuer'))}, at {provider} as the client {client}.")
    id_token = _signed_in(provider, client, ticket, opens_browser=not no_browser, port=port, wait=wait)
    answer = desk.asked("POST", "/sign-in", json={"id_token": id_token, "ticket": ticket})
    made = _session_of(url, str(answer.get("access_token", "")))
    session.save(made)
    say(f"Signed in as {_plain(made.subject)} until {made.ends}.")


def _chosen(begun: dict[str, Any], issuer: str | None, client_id: str | None) -> tuple[str, str]:
    """The provider and the client id there. Raises UnusableInput."""
    listed = begun.get("providers")
    pairs = [
        (str(each.get("issuer", "")), str(each.get("client_id", "")))
        for each in (listed if isinstance(listed, list) else ())
        if isinstance(each, dict)
    ]
    if not pairs:
        raise UnusableInput(
            "No person can sign in to this desk.",
            "Someone who may grant it makes a DeskClient of the type AdminPerson: see "
            "docs/how-to/administer-a-desk.md.",
        )
    fitting = [pair for pair in pairs if issuer in (None, pair[0]) and client_id in (None, pair[1])]
    if len(fitting) != 1:
        found = ", ".join(f"--issuer {_plain(one)} --client-id {_plain(other)}" for one, other in pairs)
        detail = "Several providers fit" if fitting else "No provider of the desk fits"
        raise UnusableInput(f"{detail}.", f"Choose one of these: {found}.")
    [(chosen, client)] = fitting
    _require_private(chosen, "The desk's provider")
    return chosen, client


def _signed_in(provider: str, client: str, ticket: str, *, opens_browser: bool, port: int, wait: int) -> str:
    """The ID token of a sign-in in the browser. Raises UnusableInput; SystemExit where the answer is no."""
    providers, state = Providers(), secrets.token_urlsafe(32)
    secret = _Secret(nonce_of(ticket), secrets.token_urlsafe(48))
    try:
        endpoints = providers.endpoints(provider)
        listener = Loopback(state, provider, must_name_issuer=endpoints.names_itself, port=port)
    except ProviderError as error:
        raise _provider_fails(provider, error) from None
    except OSError as error:
        raise UnusableInput(
            f"--port {port}: 127.0.0.1 cannot be listened on: {os_reason(error)}.", "Name another one."
        ) from None
    with listener:
        address = _address(endpoints, client, listener.redirect_uri, state, secret)
        if not opens_browser:
            click.echo(address)
            say("Open this address in a browser of this machine.")
        elif not webbrowser.open(address):
            say(f"No browser opens. Open this address yourself: {address}")
        answered = listener.wait(wait)
        redirect_uri = listener.redirect_uri
    code = _code(answered, wait)
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "client_id": client,
        "code_verifier": secret.verifier,
    }
    try:
        token = providers.exchange(provider, form)
    except ProviderError as error:
        raise _provider_fails(provider, error) from None
    if token is None:
        _say_no(
            "The provider gives no ID token for the code.",
            f"{_AGAIN} If it lasts, see that {client} is a public client there, with PKCE.",
        )
    # The desk checks all of it. What is checked here is that this very sign-in was answered.
    if not hmac.compare_digest(_nonce_in(token), secret.nonce):
        _say_no("The ID token was not made for this sign-in.", _AGAIN)
    return token


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


def _code(answered: Answered | None, wait: int) -> str:
    if answered is None:
        _say_no(f"No one signed in within {wait} s.", f"{_AGAIN} --wait gives more time.")
    if answered.problem:
        _say_no(f"The sign-in failed: {answered.problem}.", _AGAIN)
    return answered.code


def _nonce_in(token: str) -> str:
    unverified = parse_compact(token.encode("utf-8", "replace"))
    if isinstance(unverified, Refusal):
        return ""
    try:
        found = parse_json_object(unverified.payload).get("nonce")
    except EncodingError:
        return ""
    return found if isinstance(found, str) and found.isascii() else ""


def _session_of(url: str, token: str) -> session.Session:
    unverified = parse_compact(token.encode("utf-8", "replace"))
    try:
        said = {} if isinstance(unverified, Refusal) else parse_json_object(unverified.payload)
        kept = {name: said[claim] for name, claim in _KEPT}
        return msgspec.convert({"url": url, "access_token": token} | kept, session.Session)
    except (EncodingError, KeyError, msgspec.ValidationError):
        raise UnusableInput(
            f"{url} does not answer as a desk does.", "Check the URL: the admin API has its own port."
        ) from None


def _require_private(url: str, what: str = "--admin-url") -> None:
    """Tokens and codes go there: over TLS, or not beyond this machine."""
    try:
        parts = urlsplit(url)
        is_private = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    except ValueError:
        is_private = False
    if not is_private or not url.isascii() or not url.isprintable():
        raise UnusableInput(
            f"{what} {_plain(url)} is neither https:// nor on this machine.",
            "Use its https:// URL, or http://127.0.0.1 behind kubectl port-forward.",
        )


def _provider_fails(provider: str, error: ProviderError) -> UnusableInput:
    return UnusableInput(
        f"The provider {provider} cannot be used: {error}.",
        "Check the issuer in the DeskClient, and the network; SSL_CERT_FILE names a CA of your own.",
    )


def _say_no(sentence: str, remedy: str) -> NoReturn:
    say(sentence)
    say(f"Remedy: {remedy}")
    raise SystemExit(ANSWER_IS_NO)


def _plain(value: object) -> str:
    text = str(value)
    return text if text.isprintable() else ascii(text)
