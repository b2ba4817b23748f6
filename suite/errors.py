"""The errors a user may meet. The command line prints them in one line, without a traceback."""


class SuiteError(Exception):
    """Something the user can act on; the message says what is wrong and what to do."""


class BadInput(SuiteError):
    """A file, an option or a data set that cannot be used as it is (exit status 2)."""


class StoreError(SuiteError):
    """The local store cannot be read or written (exit status 2)."""
