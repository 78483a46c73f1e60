"""What committees and runs look like: surfaces and errors."""
