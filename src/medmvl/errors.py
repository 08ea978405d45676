"""The errors a user can cause. The command line prints them and exits with code 2; anything else is a bug.

Every message says what was found, what was expected, what to do, and which file, sample or recipe key it is about.
Messages never contain identifying DICOM tags.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import Self


class UserError(ValueError):
    """Something outside the program is wrong: a file, a recipe, a data set, an option."""

    def reworded(self, words: Callable[[str], str]) -> Self:
        """The same error with another message, such as with the file's name before it; all else that it carries stays.

        Args:
            words: makes the new message from the old one.
        """
        other = copy(self)
        other.args = (words(str(self)), *self.args[1:])
        return other


class ReadError(UserError):
    """A file or folder could not be read as a medical image."""


@dataclass(frozen=True)
class Choice:
    """How one of several images of a source is named: by a number from 1 to `count`."""

    key: str
    """"series", "frame" or "time"."""
    count: int
    already: str = ""
    """Part of the selector that is given already, such as `#series=2`."""
    place: str = ""
    """"file" or "folder", where the advice for a path shows a whole one."""

    @property
    def selector(self) -> str:
        """An example that exists, such as `series=2#frame=3`."""
        number = min(3 if self.key == "frame" else 2, self.count)
        return f"{self.already}#{self.key}={number}".removeprefix("#")

    def on_path(self) -> str:
        """The advice where the source is a path, as on the command line."""
        if self.place:
            return f"choose one by adding #{self.key}=N to the path ({self.place}#{self.selector})"
        part = f"{self.already}#{self.key}"
        return f"choose one with {part}=1 ... {part}={self.count}"


class AmbiguousSourceError(ReadError):
    """A source holds several images: what they are, and how to choose one, in words for whoever can choose.

    Args:
        found: what the source holds, up to the advice.
        choice: what to choose by; None where only a message is known, as of a process that cannot hand over more.
        rest: what follows the advice, such as a list of the images.
    """

    def __init__(self, found: str, choice: Choice | None = None, rest: str = "") -> None:
        super().__init__(found, choice, rest)

    @property
    def choice(self) -> Choice | None:
        """What to choose by."""
        choice: Choice | None = self.args[1]
        return choice

    def __str__(self) -> str:
        return self.worded(Choice.on_path)

    def worded(self, advice: Callable[[Choice], str]) -> str:
        """The message, with the advice in other words than for a path."""
        found, choice, rest = self.args
        return str(found) if choice is None else f"{found}; {advice(choice)}{rest}"

    def reworded(self, words: Callable[[str], str]) -> Self:
        """As of any error; the choice stays what it is."""
        found, choice, rest = self.args
        other = copy(self)
        before, _, after = words(f"{found}{_ADVICE}{rest}").partition(_ADVICE)
        other.args = (before, choice, after)
        return other


_ADVICE = "\N{OBJECT REPLACEMENT CHARACTER}"
"""Stands for the advice while the words around it are changed."""


class SampleError(UserError):
    """A sample of a data set is invalid; the message names the sample."""


class RecipeError(UserError):
    """A recipe names something that does not exist or does not fit; the message names the key."""


class MissingExtraError(UserError):
    """An optional library is needed; the message names the extra to install.

    Args:
        message: what needs it, and how it is installed.
        elsewhere: the same for somebody who can install nothing, as a client of a server.
    """

    def __init__(self, message: str, elsewhere: str | None = None) -> None:
        super().__init__(message, elsewhere)
        self.elsewhere = elsewhere

    def __str__(self) -> str:
        return str(self.args[0])


class BusyError(UserError):
    """Another process writes the same output; the message names it."""


class ReportedElsewhereError(UserError):
    """Another process of the same run reports on this machine why all of them end; the command line adds nothing."""
