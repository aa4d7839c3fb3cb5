"""Readers of items and reference sets, queries and their splits."""
