# SPDX-License-Identifier: Apache-2.0
"""docs/reference/headers.md: the request headers that a gate keeps from the app, as its table has them."""

import textwrap

from watchword.trust.request_headers import GROUPS, MAX_PASS_HEADERS, HeaderGroup

_INTRODUCTION = f"""\
# Headers to the app

Generated from the code (`make generate`). A gate with `--upstream` decides on the method, the path and the
proven identity. A header that an app honors instead would carry a second request past that decision, so
these request headers are not passed on. Everything else reaches the app as it came, but for what follows.

- **Every spelling is dropped**: upper and lower case, and any character that is no letter or digit in place
  of a hyphen (`X_Forwarded_User`, `x.forwarded.user`), because CGI, WSGI, Rack and PHP read them as one name.
  The place among the other headers, and how often a name comes, make no difference.
- `*` stands for any rest of the name, also for none.
- Headers that `Connection` names are dropped too (RFC 9110, section 7.6.1), other than `Host`,
  `Content-Length`, `Content-Type` and those that the gate sets.
- A header of any name **whose value holds the token that was checked** is dropped as a whole, and so is an
  `Authorization` that the app would get (`spec.token.header: X-Watchword-Token`) with a token for this
  service, of any caller, also one that is not valid or not trusted yet, or that is in Basic credentials.
  A token for another audience passes there. So does what the caller does not show to the gate as its token:
  one in a query, a cookie or a header of its own, where `Authorization` holds none.
- **While a service [only reports](../how-to/try-on-a-live-service.md)**, a request that would be refused
  keeps its `Authorization`, unless a key that the bundle knows signed a token in it, for whatever audience.
- A value that is not UTF-8 (latin-1, for example) is answered with 400 `unfit_request`: servers and apps
  read it as different text. Percent-encode it, or send UTF-8.
- Trailers never pass, in either direction.

What the gate sets is in [endpoints](endpoints.md): `X-Watchword-*`, `X-Forwarded-For` with the address of the
connection, `X-Forwarded-Proto`, and `X-Forwarded-Host` with the request's `Host`.

## Let a header through

`spec.proxy.passHeaders` of the ProtectedService lists up to {MAX_PASS_HEADERS} names that go on to the app
all the same, in exactly that spelling (case does not matter). They are what the caller says, and no
check looked at them. Only names of groups marked "passable" are accepted; the API server, `watchword compile`
and the gate refuse all others.

```yaml
spec:
  proxy:
    passHeaders: [X-HTTP-Method-Override]
```

Before you pass a method or path override, give every method and path that it can name a route of the same
scope: the gate decides on the request line only.

## What a list of headers cannot close

- **Overrides in the query or in a form.** Rails, Laravel, Symfony (`_method`), Spring's
  `HiddenHttpMethodFilter`, Yii and Express `method-override` can read the method from a parameter such as
  `_method`. The gate passes queries and bodies on as they came. Turn the override off in the app, or give all
  methods of the path one scope.
- **Names that the app made up.** An app that takes `X-Tenant-Admin: yes` for proof has to stop: what the gate
  proved is in `X-Watchword-*` and nowhere else.
- **Cookies and API keys** pass: they are the app's own credentials.
"""


def page() -> str:
    """The page's text."""
    parts = [_INTRODUCTION]
    for group in GROUPS:
        names = ", ".join(f"`{name}`" for name in group.names)
        parts += [f"## {group.title}", _mark(group), _wrapped(group.why), _wrapped(names)]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 110, break_long_words=False, break_on_hyphens=False)


def _mark(group: HeaderGroup) -> str:
    if group.twins_only:
        return "**Never passed** in another spelling than its own."
    if group.action == "never":
        return "**Never passed**, and not accepted in `passHeaders`."
    return "**Dropped by default, passable** by `passHeaders`."
