# SPDX-License-Identifier: Apache-2.0
"""Read a bundle from a file, for commands that are given one."""

from pathlib import Path

from watchword.cli.failures import UnusableInput, os_reason
from watchword.trust import Bundle, BundleError, decode_bundle
from watchword.trust.text_encoding import TextEncodingError, as_utf8

_GZIP = b"\x1f\x8b"


def bundle_from_file(path: str) -> Bundle:
    """Read and check a bundle, packed or not.

    Raises:
        UnusableInput: it cannot be read, or is no usable bundle.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UnusableInput(
            f"--bundle {path} cannot be read: {os_reason(error)}.", "Make it readable."
        ) from None
    try:
        return decode_bundle(data if data.startswith(_GZIP) else as_utf8(data))
    except TextEncodingError as error:
        raise UnusableInput(f"--bundle {path} is not usable: {error.detail}.", f"{error.remedy}.") from None
    except BundleError as problem:
        where = f" at {problem.field}" if problem.field else ""
        raise UnusableInput(
            f"--bundle {path} is not usable{where}: {problem.detail}.", f"{problem.remedy}."
        ) from None
