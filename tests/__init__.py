"""Tests, and the machines they run on (`tests.nodes`)."""
