"""Measured values and what is said about them."""

import math
from dataclasses import dataclass, field


@dataclass
class Samples:
    values: list[float] = field(default_factory=list)

    def add(self, value: float) -> None:
        self.values.append(value)

    def percentile(self, percent: float) -> float:
        """By nearest rank: a value that was measured."""
        ordered = sorted(self.values)
        return ordered[max(math.ceil(percent / 100 * len(ordered)) - 1, 0)]

    @property
    def p50(self) -> float:
        return self.percentile(50)

    @property
    def p99(self) -> float:
        return self.percentile(99)

    def summary(self) -> dict[str, float]:
        if not self.values:
            return {"n": 0}
        summary = {
            "n": len(self.values),
            "min": min(self.values),
            "mean": sum(self.values) / len(self.values),
            "p50": self.p50,
            "p95": self.percentile(95),
            "p99": self.p99,
            "max": max(self.values),
        }
        return {name: round(value, 3) for name, value in summary.items()}
