"""The web side: pages that mails link to, facts from shops, events from providers, health."""
