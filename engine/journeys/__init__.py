"""Journeys: who enters a flow, what each enrollment does next, and why.

`decide.py` and `admit.py` are pure; `enter.py`, `advance.py` and `leave.py` fetch what they need for a batch, decide,
and write states, journal and messages in the caller's transaction.
"""
