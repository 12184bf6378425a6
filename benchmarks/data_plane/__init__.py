"""What `benchmarks/sdk.py` compares: the same work through raw drivers, ORMs and the SDK."""
