"""Definitions: what a marketer writes, as values; where it stands, what is wrong with it, what changed."""
