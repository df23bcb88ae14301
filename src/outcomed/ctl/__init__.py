"""outcomectl: what a person types. Reads the ledger and the configuration, never the daemon."""
