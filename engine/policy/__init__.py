"""Policy: consent, suppression, caps, quiet hours and the gate that asks them all."""
