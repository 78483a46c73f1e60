"""Adversarial against random sampling on the double well (Schwalbe-Koda 2021, Sec. 3.1)."""
