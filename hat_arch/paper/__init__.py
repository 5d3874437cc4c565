"""The papers' networks, studies, tables and figures, for ``basicsr paper``."""
