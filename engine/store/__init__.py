"""The tables, and the two databases behind a few functions."""
