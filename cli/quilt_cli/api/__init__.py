"""How the command talks to the API server."""
