"""What providers tell about mails that were handed over."""
