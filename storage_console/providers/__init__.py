"""Providers: the engines the console reaches, their tests, the private local servers."""
