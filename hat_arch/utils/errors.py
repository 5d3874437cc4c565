"""The base class of errors that a user can mend."""

from __future__ import annotations


class UserError(Exception):
    """What went wrong, in a message that names the file, key or option and says what to do about it.

    The ``basicsr`` command prints the message alone, without a traceback, and exits with 2.
    """


def in_one_line(error: BaseException) -> str:
    """Type and message of an error that foreign code raised, on one line."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
