"""One module for each noun; main.py names them and loads the one that is typed."""
