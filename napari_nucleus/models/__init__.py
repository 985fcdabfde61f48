"""The networks: torch inside, numpy at the door; each system in a folder of its own."""
