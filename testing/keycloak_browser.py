# SPDX-License-Identifier: Apache-2.0
"""A browser of one person at Keycloak's own login form: over HTTP, with cookies, and without a screen.

As a program (`BROWSER='python testing/keycloak_browser.py %s'`) it opens an address, signs in as
KEYCLOAK_USER with KEYCLOAK_PASSWORD, and follows Keycloak back to where it leads.
"""

from __future__ import annotations

import html
import os
import re
import sys
from http.cookies import SimpleCookie

import httpx


def sign_in(url: str, user: str, password: str) -> str:
    """Submit the login form behind an address; returns where Keycloak then leads the browser."""
    with httpx.Client(trust_env=False, timeout=60) as browser:
        page = browser.get(url)
        found = re.search(r'<form[^>]*id="kc-form-login"[^>]*action="([^"]+)"', page.text)
        if found is None:
            raise RuntimeError(f"there is no login form: {page.status_code} {page.text[:2000]}")
        form = {"username": user, "password": password, "credentialId": ""}
        # To a browser loopback is as good as TLS: it sends Secure cookies there. Python's jar does not.
        kept = SimpleCookie()
        for each in page.headers.get_list("set-cookie"):
            kept.load(each)
        cookies = "; ".join(f"{name}={morsel.coded_value}" for name, morsel in kept.items())
        browser.cookies.clear()
        answer = browser.post(html.unescape(found[1]), data=form, headers={"Cookie": cookies})
        if answer.status_code not in (302, 303):
            raise RuntimeError(f"Keycloak lets no one in: {answer.status_code} {_error_in(answer.text)}")
        location: str = answer.headers["location"]
        return location


def _error_in(page: str) -> str:
    found = re.findall(r'id="(?:input-error[^"]*|kc-error-message)"[^>]*>(.*?)</', page, re.DOTALL)
    return " ".join(" ".join(found).split()) or page[-3000:]


if __name__ == "__main__":
    back = sign_in(sys.argv[1], os.environ["KEYCLOAK_USER"], os.environ["KEYCLOAK_PASSWORD"])
    httpx.get(back, trust_env=False, timeout=60).raise_for_status()
