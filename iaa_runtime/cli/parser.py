"""A command's parser: says its own usage with every error, and knows which options do nothing without others."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import UsageError
from ..images.names import at_home

PATHS = ("FILE", "DIR", "PICTURE", "DATA")
"""How the names of values begin that are paths."""

Rule = Callable[[argparse.Namespace], object]
"""Raises :class:`UsageError` for arguments that do not go together."""


class CommandParser(argparse.ArgumentParser):
    """Parses a command's arguments and checks them against each other.

    What it parsed carries ``parser``, the parser of the command itself. Words between options that it did not expect
    are more of the ``rest``, an argument of several values: ``caption a.png --json b.png``.
    """

    rest: str | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._rules: list[Rule] = []

    def rule(self, check: Rule) -> None:
        """Adds a check of the parsed arguments."""
        self._rules.append(check)

    def needs(self, names: str, *wanted: str, where: Callable[[argparse.Namespace], bool] | None = None) -> None:
        """Refuses options that do nothing unless another is given.

        Args:
            names: of the options, as attributes of what is parsed, with blanks between.
            wanted: those of which one has to be given.
            where: it is needed only then.
        """

        def check(options: argparse.Namespace) -> None:
            if (where is None or where(options)) and not any(self.is_given(options, name) for name in wanted):
                for name in filter(lambda name: self.is_given(options, name), names.split()):
                    others = " or ".join(map(self.spelled, wanted))
                    raise UsageError(f"{self.spelled(name)} has no effect without {others}. Add it, or leave it out.")

        self.rule(check)

    def excludes(self, name: str, others: str) -> None:
        """Refuses options that do nothing beside another: ``others``, with blanks between, beside ``name``."""

        def check(options: argparse.Namespace) -> None:
            for other in others.split() if self.is_given(options, name) else ():
                if self.is_given(options, other):
                    raise UsageError(
                        f"{self.spelled(other)} has no effect beside {self.spelled(name)}. Give one of them."
                    )

        self.rule(check)

    def is_given(self, options: argparse.Namespace, name: str) -> bool:
        """Whether an option has another value than its default."""
        return hasattr(options, name) and getattr(options, name) != self.get_default(name)

    def spelled(self, name: str) -> str:
        """How an option is written: ``--top-k`` for ``top_k``."""
        words = [action.option_strings or [str(action.metavar)] for action in self._actions if action.dest == name]
        return next((word[-1] for word in words if word[-1].startswith("-")), words[-1][-1])

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parses; what a command does not know is its own error, not that of the program."""
        options, unknown = super().parse_known_args(args, namespace)
        if self._subparsers is not None:
            return options, unknown
        if self.rest is not None and not any(word.startswith("-") and word != "-" for word in unknown):
            self._take(options, unknown)
            unknown = []
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        options.parser = self
        try:
            for check in self._rules:
                check(options)
        except UsageError:
            self.print_usage(sys.stderr)
            raise
        return options, []

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        """Converts an argument; of a path, ``~`` is the home folder: in ``--out=~/x`` no shell says so."""
        is_path = isinstance(action.metavar, str) and action.metavar.startswith(PATHS)
        return super()._get_value(action, at_home(arg_string) if is_path else arg_string)

    def _take(self, options: argparse.Namespace, words: Sequence[str]) -> None:
        """Appends words to the argument of several values."""
        action = next(a for a in self._actions if a.dest == self.rest and not a.option_strings)
        action(self, options, list(words))
