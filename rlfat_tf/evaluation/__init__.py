"""Judging robustness."""
