# SPDX-License-Identifier: Apache-2.0
"""Templates to pages. Everything that is filled in is escaped, and text that hides or turns text is spelled.

A name or an annotation is its writer's. HTML in it is shown as text; so is a character that has no shape of
its own, such as those that turn the direction of writing and make one name look like another.
"""

import datetime
import re
from functools import partial
from importlib import resources
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from watchword.console.filters import link
from watchword.kube.names import NamespacedName

STATIC: Final = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
MAX_NAMES: Final = 5
# Letters and marks that have no shape though Python prints them: what Unicode has as
# Default_Ignorable_Code_Point (DerivedCoreProperties.txt) beyond class Cf, and the blank of Braille.
_UNSEEN: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
)


def visible(value: Any) -> Any:
    """A text in which every character can be seen; line breaks stay. Anything else is left as it is."""
    if isinstance(value, NamespacedName):
        value = str(value)
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    if value.isascii() and value.isprintable():
        return value
    return "".join(each if _is_seen(each) or each == "\n" else ascii(each)[1:-1] for each in value)


def _is_seen(character: str) -> bool:
    return character.isprintable() and not _UNSEEN.match(character)


def moment(seconds: float | None) -> str:
    """A time in UTC, to the second; empty for none."""
    if seconds is None:
        return ""
    try:
        return f"{datetime.datetime.fromtimestamp(seconds, datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return f"{seconds:g}"


def path_of(kind: str, name: NamespacedName) -> str:
    """The path of an object's own page. Both parts are names, which need no encoding."""
    return f"/{kind}/{name.namespace}/{name.name}" if name.namespace else f"/{kind}/{name.name}"


def some(names: tuple[str, ...]) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more


def plural(number: int, one: str, many: str = "") -> str:
    """A number with its noun."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def environment() -> Environment:
    """The templates, with what they call."""
    made = Environment(
        loader=PackageLoader("watchword.console"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.globals |= {"link": link, "path_of": path_of, "some": some, "plural": plural, "moment": moment}
    return made


def static_file(name: str) -> tuple[bytes, str] | None:
    """The bytes and the type of a file that pages refer to; None: there is none of this name."""
    kind = STATIC.get(name)
    if kind is None:
        return None
    return resources.files("watchword.console").joinpath("static", name).read_bytes(), kind


def renderer() -> "partial[str]":
    """`render(template, **values)`: the page of a template."""
    templates = environment()

    def render(template: str, **values: Any) -> str:
        return templates.get_template(template).render(**values)

    return partial(render)
