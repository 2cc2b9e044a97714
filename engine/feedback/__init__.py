"""What providers tell about mails that were handed over: events of SendGrid, delivery reports of mail servers."""
