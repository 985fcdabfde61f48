"""Benchmarks: ``python -m benchmarks [NAME …]`` prints measured figures beside their targets."""
