"""Benchmarks: one module each, with ``async def run(size_mb: int) -> dict[str, float | str]``."""
