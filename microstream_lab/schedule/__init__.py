"""Notebooks by the clock: which job is due when, in a process of its own, accounted for.

Invariant: what is due is decided by pure code that is told the time; files, processes and the
clock itself are touched by `scheduler.py`, `worker.py`, `process.py` and `locks.py` alone.
"""
