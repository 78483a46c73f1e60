"""What committees and runs look like: surfaces, errors, paths and descriptors."""
