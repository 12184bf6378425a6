"""The browser console over storage_core."""
