"""Engines: the only home of drivers for users' data, a folder per engine, and what wraps them."""
