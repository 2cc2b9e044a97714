"""Facts in over the web: Segment's calls, and the webhooks of shops; written in bulk, durable when acknowledged."""
