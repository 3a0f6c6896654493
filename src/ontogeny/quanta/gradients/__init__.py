"""Gradients of single tokens' losses, of all parameters a layer at a time, and what can be added up of them."""
