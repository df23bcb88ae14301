"""The ways in which outcomed says no, each with a hint kept apart from the fault.

Core and adapters raise these; whoever runs the program prints them once. None of them carries a
traceback to a user: the sentence has to be enough.
"""

from __future__ import annotations

EXIT_FINE = 0
EXIT_BAD = 1
EXIT_USAGE = 2
EXIT_NO_ANSWER = 3


class OutcomedError(Exception):
    """Something a person has to read. `exit_code` is what a program ends with because of it."""

    exit_code = EXIT_NO_ANSWER

    def __init__(self, fault: str, *, hint: str | None = None) -> None:
        super().__init__(fault)
        self.fault = fault
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.fault}\n  hint: {self.hint}" if self.hint else self.fault


class UsageError(OutcomedError):
    """The caller asked for something that does not exist or is spelled wrongly."""

    exit_code = EXIT_USAGE


class LedgerError(OutcomedError):
    """The ledger cannot be used; it is left exactly as it was found."""


class BusError(OutcomedError):
    """The system bus or systemd did not answer a question."""


class RefusedError(BusError):
    """systemd answered, and said no: asking again will not help."""


class JournalError(OutcomedError):
    """The journal could not be read, written or synchronized."""


class CalendarError(OutcomedError):
    """systemd-analyze did not say which moments a calendar expression names."""
