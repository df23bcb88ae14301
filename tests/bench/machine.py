"""What the figures were taken on, as far as it explains them. No names of anything."""

import os
import platform
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench.samples import Samples
from tests.nodes import cache_dir
from tests.nodes.build import source_hash


def facts(deb: Path) -> dict[str, Any]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _field("/proc/cpuinfo", "model name"),
        "processors": os.cpu_count(),
        "memory": _field("/proc/meminfo", "MemTotal"),
        "kernel": platform.release(),
        "fsync_ms": _fsync().summary(),
        "package": deb.name,
        "sources": source_hash(),
        "load": {},
    }


def load() -> list[float]:
    return [round(value, 2) for value in os.getloadavg()]


def _field(file: str, name: str) -> str:
    for line in Path(file).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"


def _fsync() -> Samples:
    """What the disk under the nodes takes for one durable write: the floor of every commit."""
    samples = Samples()
    with tempfile.TemporaryFile(dir=cache_dir()) as file:
        for _ in range(100):
            began = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
            samples.add((time.perf_counter() - began) * 1000)
    return samples
