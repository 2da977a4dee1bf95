"""The command line: one file for each noun under commands/, loaded when it is typed."""
