"""Adapters to the places where models are trained and served, one folder each, behind `providers.ports`."""
