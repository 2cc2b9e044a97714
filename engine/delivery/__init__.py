"""Handing mails over: the providers, the bytes they send, and what their answers mean."""
