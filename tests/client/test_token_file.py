# SPDX-License-Identifier: Apache-2.0
"""The token on disk, as the kubelet and people leave it."""

import copy
import os
import pickle
from pathlib import Path

import pytest

from tests.client.volume import ProjectedVolume
from watchword.client import (
    DEFAULT_TOKEN_FILE,
    TokenFile,
    TokenFileEmpty,
    TokenFileMalformed,
    TokenFileMissing,
    TokenFileTooLarge,
    TokenFileUnreadable,
    TokenUnavailable,
)

LONG_AFTER = 4_000_000_000.0


def later() -> float:
    """A clock by which every file written in a test is long settled."""
    return LONG_AFTER


def test_a_rotated_token_is_seen_at_once(volume: ProjectedVolume) -> None:
    source = TokenFile(volume.file, clock=later)
    assert source.token() == "first.token.x"
    volume.rotate("other.token.x")
    assert source.token() == "other.token.x"


def test_every_one_of_many_rotations_is_seen(volume: ProjectedVolume) -> None:
    source = TokenFile(volume.file, clock=later)
    tokens = [f"token.{number:03}.x" for number in range(200)]
    seen = []
    for token in tokens:
        volume.rotate(token)
        seen.append(source.token())
    assert seen == tokens


class CountingClock:
    """Asked once for each reading of the content, so its count is that of the readings."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.readings = 0

    def __call__(self) -> float:
        self.readings += 1
        return self.now


@pytest.mark.parametrize(
    ("seconds_after_the_write", "readings"),
    [(-3600, 3), (0, 3), (1.9, 3), (2.1, 1), (3600, 1)],
)
def test_a_file_is_read_once_when_it_is_too_old_to_share_its_time_stamp_with_a_later_write(
    tmp_path: Path, seconds_after_the_write: float, readings: int
) -> None:
    path = tmp_path / "token"
    path.write_text("first.token.x")
    clock = CountingClock(os.stat(path).st_mtime + seconds_after_the_write)
    source = TokenFile(path, clock=clock)
    assert {source.token() for _ in range(3)} == {"first.token.x"}
    assert clock.readings == readings


def test_a_change_under_a_preserved_time_stamp_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("first.token.x")
    source = TokenFile(path, clock=later)
    source.token()
    before = os.stat(path)
    fresh = tmp_path / "fresh"
    fresh.write_text("other.token.x")
    os.utime(fresh, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(fresh, path)
    assert source.token() == "other.token.x"


def test_a_rewrite_in_place_under_a_preserved_time_stamp_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("first.token.x")
    source = TokenFile(path, clock=later)
    source.token()
    before = os.stat(path)
    # Until the file system's clock has ticked: that within one tick is what a file's youth is for, above.
    while os.stat(path).st_ctime_ns == before.st_ctime_ns:
        path.write_text("other.token.x")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert source.token() == "other.token.x"


def test_a_token_is_not_remembered_past_its_file(volume: ProjectedVolume) -> None:
    source = TokenFile(volume.file, clock=later)
    source.token()
    volume.file.unlink()
    with pytest.raises(TokenFileMissing):
        source.token()


def test_a_file_that_appears_later_is_read(tmp_path: Path) -> None:
    source = TokenFile(tmp_path / "token", clock=later)
    with pytest.raises(TokenFileMissing):
        source.token()
    (tmp_path / "token").write_text("late.token.x")
    assert source.token() == "late.token.x"


@pytest.mark.parametrize(
    "content", [b"a.b.c", b"a.b.c\n", b" \t\r\n a.b.c \r\n", b"a.b.c=", b"A-z_0.9~+/.x=="]
)
def test_white_space_at_the_ends_is_removed(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    assert TokenFile(tmp_path / "token").token() == content.decode().strip()


UNUSABLE = [
    (b"", TokenFileEmpty, "is empty"),
    (b" \n\t\r\n", TokenFileEmpty, "is empty"),
    (b"a.b.c d.e.f", TokenFileMalformed, "white space inside"),
    (b"a.b.\nc", TokenFileMalformed, "white space inside"),
    (b"Bearer a.b.c", TokenFileMalformed, "white space inside"),
    (b'"a.b.c"', TokenFileMalformed, "characters that no token has"),
    (b"a.b.c\x00", TokenFileMalformed, "characters that no token has"),
    (b"\xef\xbb\xbfa.b.c", TokenFileMalformed, "characters that no token has"),
    ("a.b.c\u00a0".encode(), TokenFileMalformed, "characters that no token has"),
    (b"a.b.\xff", TokenFileMalformed, "characters that no token has"),
    (b"a=b.c", TokenFileMalformed, "characters that no token has"),
    (b"a" * 8193, TokenFileTooLarge, "longer than 8192 bytes"),
    (b" " * 9000, TokenFileTooLarge, "longer than 8192 bytes"),
]


@pytest.mark.parametrize(("content", "kind", "problem"), UNUSABLE)
def test_what_is_not_one_token_is_refused(
    tmp_path: Path, content: bytes, kind: type[TokenUnavailable], problem: str
) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(kind, match=problem):
        TokenFile(tmp_path / "token").token()


def test_a_token_as_long_as_a_gate_accepts_is_read(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"a" * 8192)
    assert len(TokenFile(tmp_path / "token").token()) == 8192


MISSING = [
    ("mounted/token", "though its directory does", "serviceAccountToken.path 'token'"),
    ("nowhere/token", "neither does its directory", "whose audience is one of the called service's"),
    ("nowhere/token", "neither does its directory", "label watchword.dev/call"),
    ("mounted/file/token", "neither does its directory", "label watchword.dev/call"),
    ("mounted/dangling", "though its directory does", "label watchword.dev/call"),
]


@pytest.mark.parametrize(("path", "problem", "remedy"), MISSING)
def test_a_missing_file_says_how_to_mount_one(tmp_path: Path, path: str, problem: str, remedy: str) -> None:
    (tmp_path / "mounted").mkdir()
    (tmp_path / "mounted" / "file").touch()
    (tmp_path / "mounted" / "dangling").symlink_to("..data/token")
    with pytest.raises(TokenFileMissing) as caught:
        TokenFile(tmp_path / path).token()
    assert problem in caught.value.problem
    assert remedy in caught.value.remedy
    assert caught.value.path == tmp_path / path


def test_a_directory_is_not_a_token_file(tmp_path: Path) -> None:
    with pytest.raises(TokenFileUnreadable, match="not a regular file"):
        TokenFile(tmp_path).token()


def test_a_fifo_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "token")
    with pytest.raises(TokenFileUnreadable, match="not a regular file"):
        TokenFile(tmp_path / "token").token()


def test_a_link_to_itself_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "token").symlink_to("token")
    with pytest.raises(TokenFileUnreadable, match="symbolic links"):
        TokenFile(tmp_path / "token").token()


def test_a_path_longer_than_the_file_system_allows_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(TokenFileUnreadable, match="too long"):
        TokenFile(tmp_path / ("a" * 1000)).token()


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_what_cannot_be_a_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="neither empty nor"):
        TokenFile(path)


def test_a_token_given_as_a_path_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="it was given a token") as caught:
        TokenFile("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl\n")
    assert "eyJ" not in str(caught.value)


def test_a_file_name_with_dots_is_no_token() -> None:
    assert TokenFile("my-service-account-token.v1.jwt").path == Path("my-service-account-token.v1.jwt")


def test_the_default_is_the_documented_path() -> None:
    assert (
        TokenFile.default({}).path == Path(DEFAULT_TOKEN_FILE) == Path("/var/run/secrets/watchword.dev/token")
    )


def test_the_environment_names_another_file() -> None:
    assert TokenFile.default({"WATCHWORD_TOKEN_FILE": "/run/other"}).path == Path("/run/other")


def test_an_empty_variable_is_not_the_default() -> None:
    with pytest.raises(ValueError, match="neither empty nor"):
        TokenFile.default({"WATCHWORD_TOKEN_FILE": ""})


def test_neither_repr_nor_copies_hold_the_token(volume: ProjectedVolume) -> None:
    source = TokenFile(volume.file)
    source.token()
    shown = (
        repr(source) + repr(source._reading) + repr(pickle.dumps(source)) + repr(vars(copy.deepcopy(source)))
    )
    assert "first.token" not in shown
    assert str(volume.file) in repr(source)


@pytest.mark.parametrize("content", [b"first.token.x second", b'"first.token.x"', b"first.token.x" * 1000])
def test_no_exception_holds_what_the_file_holds(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(TokenUnavailable) as caught:
        TokenFile(tmp_path / "token").token()
    assert "first.token" not in str(caught.value) + repr(caught.value) + repr(pickle.dumps(caught.value))


def test_an_unusable_file_survives_a_trip_through_a_queue(tmp_path: Path) -> None:
    with pytest.raises(TokenFileMissing) as caught:
        TokenFile(tmp_path / "token").token()
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own bytes
    assert (type(again), str(again)) == (TokenFileMissing, str(caught.value))
