"""Adapters that serve the product itself: artifacts, archive, keys, queue, bus, private servers."""
