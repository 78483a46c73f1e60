"""Liquid water: what AMOEBA knows of it."""
