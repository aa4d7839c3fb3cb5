"""Results → tables, plots, pages and sentences that people read."""
