"""Test kit that ships with the library: contracts, tiny models and made-up search problems."""
