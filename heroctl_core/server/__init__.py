"""The HTTP API: a table of routes over the services; only http.py knows the library."""
