# SPDX-License-Identifier: Apache-2.0
"""Everything that `make test` runs, in three lanes at once: `python -m testing.lanes`.

Tests of clusters and nodes mostly wait, for servers to come, for faults to be felt, for a kubelet to renew a
token; all others mostly reckon. A lane that is free takes the next of the commands that are left, so no lane
stands idle while another has two to go. One lane is shown as it goes, the next from where it is once that has
ended; marks and folders decide which command a test is in, so none can be in none.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

NODE, CLUSTER = "node", "cluster and not node and not floods"
# Floods judge memory and a good caller next to them, for a quarter of an hour and alone: `make floods`.
REST = "not cluster and not node and not floods"
# Folders of cluster tests that are a command each; the rest of them is one more.
APART = (("tests/cluster/operator",), ("tests/cluster/keys", "tests/kind", "tests/policies"))
LANES = 3
Command = Sequence[str]


class Lane:
    """Commands one after the other, whatever became of those before; what they print goes to a file."""

    def __init__(self, commands: deque[Command], log: Path) -> None:
        """Take from these commands, which other lanes may take from as well."""
        self._commands, self._log = commands, log
        self._command: Command = ()
        self._process: subprocess.Popen[bytes] | None = None
        self.failed: list[Command] = []

    def is_running(self) -> bool:
        """Whether there is more to come; starts the next command when one has ended."""
        if self._process is not None:
            if self._process.poll() is None:
                return True
            if self._process.returncode != 0:
                self.failed.append(self._command)
            self._process = None
        if not self._commands:
            return False
        self._command = self._commands.popleft()
        with self._log.open("ab") as output:
            # In a session of its own: Ctrl-C reaches it through `stop`, once, and it can tidy up.
            self._process = subprocess.Popen(
                self._command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        return True

    def stop(self) -> None:
        """End what runs as Ctrl-C would, and wait until it has tidied up."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait()


def run(lanes: Sequence[Lane], logs: Sequence[Path]) -> list[Command]:
    """Run lanes at once, showing one log after the other; what failed."""
    with ExitStack() as stack:
        for lane in lanes:
            stack.callback(lane.stop)
        places = [0] * len(logs)
        shown = 0
        while shown < len(logs):
            running = [lane.is_running() for lane in lanes]
            with logs[shown].open("rb") as log:
                log.seek(places[shown])
                new = log.read()
            places[shown] += len(new)
            os.write(sys.stdout.fileno(), new)
            if not running[shown] and not new:
                shown += 1
            else:
                time.sleep(0.2)
    return [command for lane in lanes for command in lane.failed]


def main() -> int:
    """Exit status: 0 when every command of every lane ended well, else 1."""
    python = sys.executable
    ignored = [f"--ignore={folder}" for folders in APART for folder in folders]
    # The longest first: what is left at the end is short.
    commands: deque[Command] = deque(
        [
            [python, "-m", "pytest", "-m", REST],
            [python, "-m", "pytest", "-m", NODE],
            *([python, "-m", "pytest", "-m", CLUSTER, *folders] for folders in APART[:1]),
            [python, "-m", "pytest", "-m", CLUSTER, *ignored],
            *([python, "-m", "pytest", "-m", CLUSTER, *folders] for folders in APART[1:]),
            [python, "-m", "testing.fuzz", *sys.argv[1:]],
            [python, "-m", "testing.framing", *sys.argv[1:]],
        ]
    )
    with tempfile.TemporaryDirectory() as folder:
        logs = [Path(folder) / f"lane-{number}" for number in range(LANES)]
        for log in logs:
            log.touch()
        failed = run([Lane(commands, log) for log in logs], logs)
    for command in failed:
        print(f"failed: {' '.join(command[1:])}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
