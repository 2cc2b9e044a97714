"""Offers: what a mail gives, and the code that belongs to it."""
