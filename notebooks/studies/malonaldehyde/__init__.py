"""A molecule of one's own: malonaldehyde, whose hydrogen moves from one oxygen to the other."""
