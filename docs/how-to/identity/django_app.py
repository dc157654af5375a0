# SPDX-License-Identifier: Apache-2.0
"""Django behind the gate: who is calling comes from the gate's headers, and from nothing else.

gunicorn --bind 127.0.0.1:8080 django_app:application
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY=secrets.token_hex())


@dataclass(frozen=True)
class Caller:
    """Who the gate let in, and what it decided on."""

    subject: str
    issuer: str
    account: str
    project: str


def with_caller(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Give a view its caller; on a route that is public at the gate there is none."""

    @wraps(view)
    def guarded(request: HttpRequest, **_: str) -> HttpResponse:
        names = ("Subject", "Issuer", "Account", "Project")
        values = [request.headers.get(f"X-Watchword-{name}") for name in names]
        # The gate sets each of them on each request, even if it is empty.
        if None in values:
            return HttpResponse("this app has to be behind its gate", status=500)
        found = Caller(*values)
        if not found.subject or not found.issuer:
            return HttpResponse("this needs a caller, and its route is public at the gate", status=401)
        return view(request, found)

    return guarded


@with_caller
def builds(_: HttpRequest, by: Caller) -> HttpResponse:
    """Answer for the account and the project that the gate decided on."""
    if not by.account or not by.project:
        return HttpResponse("the route at the gate has to name {account} and {project}", status=500)
    return JsonResponse(
        {"subject": by.subject, "issuer": by.issuer, "account": by.account, "project": by.project}
    )


urlpatterns = [path("accounts/<str:account>/projects/<str:project>/builds", builds)]
application = get_wsgi_application()
