"""The errors a user can cause. The command line prints them and exits with code 2; anything else is a bug.

Every message says what was found, what was expected, what to do, and which file, sample or recipe key it is about.
Messages never contain identifying DICOM tags.
"""


class UserError(ValueError):
    """Something outside the program is wrong: a file, a recipe, a data set, an option."""


class ReadError(UserError):
    """A file or folder could not be read as a medical image."""


class AmbiguousSourceError(ReadError):
    """A path holds several images; the message lists them and how to choose one."""


class SampleError(UserError):
    """A sample of a data set is invalid; the message names the sample."""


class RecipeError(UserError):
    """A recipe names something that does not exist or does not fit; the message names the key."""


class MissingExtraError(UserError):
    """An optional library is needed; the message names the extra to install."""


class BusyError(UserError):
    """Another process writes the same output; the message names it."""


class ReportedElsewhereError(UserError):
    """Another process of the same run reports on this machine why all of them end; the command line adds nothing."""
