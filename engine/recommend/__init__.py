"""What a customer might want next, and when what they have runs out: built by night, served to batches of mails."""
