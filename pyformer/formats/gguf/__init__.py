"""GGUF, the one-file format of llama.cpp: read, checked before memory is taken for anything, and written."""
