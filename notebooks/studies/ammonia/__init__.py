"""Nitrogen inversion of ammonia with density functional theory (Schwalbe-Koda 2021, Sec. 3.2)."""
