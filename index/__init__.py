"""Vectors to neighbours, and the durable records that every index is rebuilt from."""
