"""Jobs: long work, live, each at its own address."""
