"""Inputs that a user may give by mistake, as tables: what is done, and what must be said. See `case.Case`."""
