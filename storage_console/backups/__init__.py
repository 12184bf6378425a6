"""Backups: what is stored, what is proven, how to get it back."""
