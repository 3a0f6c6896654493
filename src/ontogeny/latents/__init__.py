"""One pass over all codes, and what several analyses need of codes, norms and directions. No tables, no pages."""
