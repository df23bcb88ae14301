"""outcomed: systemd knows that a job exited 0; this knows whether it worked."""

__version__ = "0.1.0"
