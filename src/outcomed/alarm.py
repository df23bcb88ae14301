"""What wakes the daemon at a moment of the calendar, and when the clock is set."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Container

from outcomed.model import SECOND, Usec

NEVER = Usec(2**32 * SECOND)  # the year 2106

if sys.version_info >= (3, 13):

    class Alarm:
        """timerfd_create(2). A machine that wakes from sleep sets the clock, too."""

        def __init__(self) -> None:
            flags = os.TFD_NONBLOCK | os.TFD_CLOEXEC
            self._fd = os.timerfd_create(time.CLOCK_REALTIME, flags=flags)
            self._at = 0
            self._noticed = False  # that the clock was set, before anybody was woken for it
            self.set(None)

        def files(self) -> list[int]:
            return [self._fd]

        def timeout(self) -> float | None:
            """Seconds after which to look without being woken; None: never."""
            return 0.0 if self._noticed else None

        def set(self, at: Usec | None) -> None:
            wanted = NEVER if at is None else max(at, 1)
            if wanted != self._at:
                self._at = wanted
                flags = os.TFD_TIMER_ABSTIME | os.TFD_TIMER_CANCEL_ON_SET
                try:
                    os.timerfd_settime_ns(self._fd, flags=flags, initial=wanted * 1000)
                except OSError as error:  # it is set, and says so once
                    if error.errno != errno.ECANCELED:
                        raise
                    self._noticed = True

        def was_set(self, readable: Container[int]) -> bool:
            """After a wake-up: whether the clock was set. The alarm has to be set again then."""
            noticed, self._noticed = self._noticed, False
            if self._fd not in readable:
                return noticed
            self._at = 0
            try:
                os.read(self._fd, 8)
            except BlockingIOError:
                return noticed
            except OSError as error:
                return noticed or error.errno == errno.ECANCELED
            return noticed

        def close(self) -> None:
            os.close(self._fd)

else:

    class Alarm:
        """An older Python has no timerfd: a clock that was set is noticed at the next deadline."""

        def __init__(self) -> None:
            self._at: Usec | None = None

        def files(self) -> list[int]:
            return []

        def timeout(self) -> float | None:
            return None if self._at is None else max(0.0, self._at / SECOND - time.time())

        def set(self, at: Usec | None) -> None:
            self._at = at

        def was_set(self, readable: Container[int]) -> bool:
            return False

        def close(self) -> None:
            pass
