"""The error tree of sources, outputs and options.

    PartumError (engines.errors)
     + StreamError
        + SourceError
        |  + SourceNotFound    (FileNotFoundError)   nothing at that path or URI
        |  + SourceUnavailable (ImportError)         the kind of source needs an extra that is not installed
        |  + SourceUnreadable  (ValueError)          the file is not what its name says, or holds no frames
        |  |  + NoPictures                           a sound file of another kind: a report, an index
        |  + SourceTruncated   (EOFError)            it ended before its own header said it would
        |  + SourceDenied      (PermissionError)     the peer refuses user name or password
        + OutputError          (OSError)             results cannot be written there
        + RunUnreadable        (ValueError)          the folder is no run, not a finished one, or of another version
        + MaskError            (ValueError)          a mask file with codes or a shape we do not know
        + TrackError           (ValueError)          a track was given time that goes back, or no number
        + ExtraMissing         (ImportError)         an option needs an extra that is not installed; exit code 2
        + OptionError          (ValueError)          an option's value is not one of those allowed; exit code 2

Missing anatomy is data (`stream.frames.reason.Reason`), never an exception.
"""

from __future__ import annotations

from engines.errors import PartumError


class StreamError(PartumError):
    """Something between capture and result failed."""


class SourceError(StreamError):
    """Frames could not be read."""


class SourceNotFound(SourceError, FileNotFoundError):
    """There is nothing at that path or URI."""


class SourceUnavailable(SourceError, ImportError):
    """This kind of source needs an extra that is not installed."""


class SourceUnreadable(SourceError, ValueError):
    """The file is not what its name says, or holds no frames."""


class NoPictures(SourceUnreadable):
    """The file is sound and of a kind that holds no pictures."""


class SourceTruncated(SourceError, EOFError):
    """The recording ended before its own header said it would."""


class SourceDenied(SourceError, PermissionError):
    """The peer refuses user name or password."""


class OutputError(StreamError, OSError):
    """Results cannot be written there."""


class RunUnreadable(StreamError, ValueError):
    """The folder holds no run that can be read: none at all, an unfinished or damaged one, or another version's."""


class MaskError(StreamError, ValueError):
    """A mask has codes or a shape that are not known."""


class TrackError(StreamError, ValueError):
    """A track was given time that goes back, or something that is not a number."""


class ExtraMissing(StreamError, ImportError):
    """An option or command needs an extra that is not installed."""


class OptionError(StreamError, ValueError):
    """An option's value is not one of those allowed."""
