"""Measuring artifacts: accuracy, latency, size, and under which conditions."""
