"""Figures, taken on booted nodes with the package installed (docs/benchmarks.md).

Absolute figures move with the machine. What is compared is therefore measured within one run, and
alerts are measured by turns: one of ours, one of the recipe that everyone uses, and again.
"""
