"""The verbs of the program `r4t`, one file each; each starts quickly and imports late."""
