"""Measures what the README claims: how long a tick takes, and how long facts take to come in."""
