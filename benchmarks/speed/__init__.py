"""Speed of each stage against a straightforward way of doing it: `python -m benchmarks.speed` (docs/performance.md)."""
