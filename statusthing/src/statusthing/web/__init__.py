"""The web: the pages, and what probes ask for."""
