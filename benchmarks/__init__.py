"""Benchmarks: every claim of speed, each behind one command (see README.md)."""
