"""Everything that answers a query, behind one protocol."""
