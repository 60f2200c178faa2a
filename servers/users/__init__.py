"""Who may do what: logins, tokens, API keys, users, roles and the audit log."""
