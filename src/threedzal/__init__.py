"""3DzAL: zero-shot 3D anomaly localisation (WACV 2025)."""
