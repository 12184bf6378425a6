"""Settings: configuration, people and their roles, sign-ins, API tokens, secrets, approvals, notifications."""
