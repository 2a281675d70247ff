"""How scans lie in folders: MVTec 3D-AD's way, Eyecandies' way, and a user's simple ones."""
