# SPDX-License-Identifier: Apache-2.0
"""Kubernetes quantities (`resource.Quantity`) as numbers, for comparing requests with limits."""

import re
from decimal import Decimal, InvalidOperation
from typing import Any, Final

_FORM: Final = re.compile(r"([+-]?[0-9]*\.?[0-9]*)([eE][+-]?[0-9]{1,2}|[numkMGTPE]|[KMGTPE]i)?")
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY: Final = {
    name: 1024 ** (power + 1) for power, name in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"))
}
_MAX_CHARACTERS: Final = 63


def quantity(value: Any) -> Decimal | None:
    """The number that a quantity is, in cores or bytes; None for what is not one.

    Args:
        value: as JSON or YAML has it: text such as `250m` and `1.5Gi`, or a number.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    text = str(value)
    found = _FORM.fullmatch(text)
    if len(text) > _MAX_CHARACTERS or found is None:
        return None
    number, suffix = found[1], found[2] or ""
    try:
        plain = Decimal(number)
    except InvalidOperation:
        return None
    if suffix in _BINARY:
        return plain * Decimal(_BINARY[suffix])
    if suffix in _DECIMAL:
        return plain.scaleb(_DECIMAL[suffix])
    exponent = int(suffix[1:]) if suffix else 0
    return plain.scaleb(exponent)
