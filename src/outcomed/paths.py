"""Where things lie on a node (outcomed(8), FILES). Defaults; tests pass others."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Paths(NamedTuple):
    """The three directories everything hangs on, and the names below them."""

    config: Path = Path("/etc/outcomed")
    state: Path = Path("/var/lib/outcomed")
    runtime: Path = Path("/run/outcomed")
    vendor: Path = Path("/usr/lib/outcomed")

    @property
    def config_file(self) -> Path:
        return self.config / "outcomed.yaml"

    @property
    def job_dirs(self) -> tuple[Path, ...]:
        """Lowest precedence first, as systemd orders its unit directories."""
        return (self.vendor / "jobs.d", self.runtime / "jobs.d", self.config / "jobs.d")

    @property
    def ledger(self) -> Path:
        return self.state / "ledger.db"

    @property
    def job_states(self) -> Path:
        """One world-readable JSON file a job, for scripts and `gate`."""
        return self.state / "state"

    @property
    def checks(self) -> Path:
        """Requests to and findings of outcomed-check@.service."""
        return self.state / "checks"

    @property
    def requests(self) -> Path:
        """What others ask of the daemon: open alerts of units that have no job file."""
        return self.spool / "in"

    @property
    def compiled(self) -> Path:
        """The last good configuration, for the hook when the files are broken."""
        return self.state / "config.json"

    @property
    def parsed(self) -> Path:
        """What parsing the job files came to, by their content (parsed)."""
        return self.state / "parsed.json"

    @property
    def spool(self) -> Path:
        return self.state / "spool"

    @property
    def sinks(self) -> Path:
        """What the delivery process needs to know of the configuration."""
        return self.spool / "sinks" / "sinks.json"

    @property
    def lock(self) -> Path:
        """Locked by the daemon as long as it lives."""
        return self.runtime / "lock"

    @property
    def looking(self) -> Path:
        """What the daemon is looking at just now (guard)."""
        return self.runtime / "looking"

    @property
    def deaths(self) -> Path:
        """What it died at since the boot, and when."""
        return self.runtime / "deaths"

    @property
    def wake(self) -> Path:
        """Datagram socket of the daemon: look at the files again."""
        return self.runtime / "wake"

    @property
    def deliver_socket(self) -> Path:
        return self.runtime / "deliver.sock"

    @property
    def problems(self) -> Path:
        """What was wrong with the files when the daemon last read them (config.Problem)."""
        return self.runtime / "problems.json"

    @property
    def bad(self) -> Path:
        """One flag file for each job with an open incident; outcome@.service tests it."""
        return self.runtime / "bad"


PATHS = Paths()
