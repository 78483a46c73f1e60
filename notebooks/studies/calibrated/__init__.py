"""Structures of a chosen error in liquid water (Cezar 2025, Figs. 2 and 3)."""
