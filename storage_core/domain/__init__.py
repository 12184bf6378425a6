"""The words and decisions of the product: pure, without I/O, clock or randomness."""
