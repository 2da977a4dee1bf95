"""The door of cryptography: keys, streams of sealed chunks, small sealed values."""
