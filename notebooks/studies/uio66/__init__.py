"""Water in the metal-organic framework UiO-66 (Cezar 2025, Secs. II G and IV E 3)."""
