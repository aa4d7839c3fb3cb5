"""The objectives that ship with r4t, found through entry points like any other plug-in."""
