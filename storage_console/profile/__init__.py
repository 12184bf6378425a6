"""One's own account: sign-ins, API tokens, password, preferences."""
