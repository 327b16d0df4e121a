"""How many feeds a ward carries, how little they disturb each other, and how long it lasts."""
