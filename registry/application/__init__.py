"""The one door for every command and question, whoever sends it: load, decide, append."""
