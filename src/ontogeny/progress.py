"""What a person sees of a run: bars on a terminal, plain lines everywhere else; all on standard error."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 10.0

Advance = Callable[[int, str], None]
"""Takes what is done so far and a few words on it."""


class Reporter:
    """Says which stage runs, how far it is, and what is odd about its inputs. Results go to standard output."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(file=sys.stderr)

    def say(self, text: str) -> None:
        """One line."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """One line that should not be missed."""
        self.console.print(f"warning: {text}", style="yellow", highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def measure(self, title: str, total: int, first: int = 0) -> Iterator[Advance]:
        """A function to call with (done, words) while work goes through `total` units, `first` of them done before.

        A bar, or a line at most every `SECONDS_BETWEEN_LINES`; where there were words, the last of them stay.
        """
        meter = _Meter(self, title, total, first)
        if not self.console.is_terminal:
            yield meter.advance_lines
        else:
            with meter.bar:
                yield meter.advance_bar
        if meter.words:
            self.say(meter.line())


class _Meter:
    """How far one piece of work is."""

    def __init__(self, reporter: Reporter, title: str, total: int, first: int) -> None:
        self.words = ""
        self._reporter, self._title, self._total, self._done = reporter, title, total, first
        self._last = time.monotonic()
        columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.bar = Progress(
            *columns, TextColumn("{task.fields[words]}"), console=reporter.console, transient=True
        )  # not shown before it is entered
        self._bar_task = self.bar.add_task(title, total=total, completed=first, words="")

    def line(self) -> str:
        return f"{self._title} {self._done}/{self._total}  {self.words}".rstrip()

    def advance_bar(self, done: int, words: str) -> None:
        self._done, self.words = done, words
        self.bar.update(self._bar_task, completed=done, words=words)

    def advance_lines(self, done: int, words: str) -> None:
        self._done, self.words = done, words
        if done < self._total and time.monotonic() - self._last >= SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            self._reporter.say(self.line())
