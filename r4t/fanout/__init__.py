"""Query → prompt → language model → completion → sub-queries."""
