"""Analysis of committees and attacks: surfaces, errors, paths and descriptors."""
