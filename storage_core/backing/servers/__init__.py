"""Private local servers: real engines below the home, each held by a detached keeper.

Nothing is imported here: the keeper runs from this package for months and stays small.
"""
