"""What the core asks of the outside world: small protocols with their contracts."""
