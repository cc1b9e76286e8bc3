"""The figures that Tenure is held to: `make bench` runs all of them and prints a table. Never part of the tests."""
