"""Steering: text that a snapshot writes while its activations are changed, beside what it writes untouched."""
