"""The errors a user may meet. The command line prints them in one line, without a traceback."""


class SuiteError(Exception):
    """Something the user can act on; the message says what is wrong and what to do."""


class BadInput(SuiteError):
    """A file, an option or a data set that cannot be used as it is (exit status 2)."""


class Untrained(SuiteError):
    """Networks could not be trained (exit status 2); all else was done first, and the next run tries them again."""


class StoreError(SuiteError):
    """The local store cannot be read or written (exit status 2)."""


def first_line(error: BaseException) -> str:
    """An error's kind and the first line of its message, at most 300 characters, whatever that error is.

    The suite's own errors are sentences for users, without their kind.

    It may be a stranger's: its message may not be text at all, or not be text that a database or a file can hold.
    """
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - an error about an error
        message = "(its message cannot be had)"
    named = message if isinstance(error, SuiteError) and message else f"{type(error).__name__}: {message}"
    line = named.splitlines()[0][:300].encode("utf-8", "replace").decode()
    return printable(line)


def printable(text: str) -> str:
    """A text of strangers without orders to a terminal: each character that cannot be shown is replaced."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
