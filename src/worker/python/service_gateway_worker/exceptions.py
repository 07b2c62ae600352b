"""Exceptions that the gateway has codes for. It goes by the class's name, so a subclass under another name counts as
unknown (101), unless the service's ``errors`` in ``gateway.toml`` names it.

Built-in exceptions have codes, too: TypeError 104, ValueError 105, OSError 107, KeyError 108, RuntimeError 306,
OverflowError 500, NotImplementedError 501.
"""

from typing import ClassVar


class WorkerError(Exception):
    """Any of these. ``code`` is what clients see beside the text."""

    code: ClassVar[int] = 101


class SettingsException(WorkerError):
    """The worker is set up wrongly."""

    code = 200


class VersionException(WorkerError):
    """A version is not the one that is needed."""

    code = 201


class UnknownServiceError(WorkerError):
    """There is no such service."""

    code = 202


class UnknownUUIDError(WorkerError):
    """There is no such task."""

    code = 203


class VersionMismatchError(WorkerError):
    """The worker has another version than the gateway expects."""

    code = 204


class AMQPError(WorkerError):
    """The broker cannot be used."""

    code = 205


class MissingParameterError(WorkerError):
    """An argument is missing."""

    code = 206


class DocumentUrlNotValidException(WorkerError):
    """The document's URL is not valid."""

    code = 207


class InvalidAnnotationFormat(WorkerError):
    """Annotations are not a list of objects."""

    code = 300


class DownloadError(WorkerError):
    """The document could not be fetched."""

    code = 301


class UploadError(WorkerError):
    """Annotations or a file could not be stored."""

    code = 302


class ConfigFileNotFound(WorkerError):
    """A configuration file is missing."""

    code = 303


class InvalidDocumentPath(WorkerError):
    """The document is not where it should be."""

    code = 304


class InvalidDocumentType(WorkerError):
    """The document is of a kind that the service does not understand."""

    code = 305


class InsufficientResources(WorkerError):
    """This machine has too little of something."""

    code = 400


class MinimumWorkersReached(WorkerError):
    """There may not be fewer workers."""

    code = 401


class FFMpegError(WorkerError):
    """ffmpeg failed."""

    code = 502


class FFMpegConvertError(WorkerError):
    """ffmpeg could not convert the document."""

    code = 503


class ConverterError(WorkerError):
    """The document could not be converted."""

    code = 504


class TranscoderError(WorkerError):
    """The document could not be transcoded."""

    code = 505


class SwiftException(WorkerError):
    """The object store failed; clients are not shown the text."""

    code = 506


class CInternalError(WorkerError):
    """A library in C failed."""

    code = 600


class WavPathInvalid(WorkerError):
    """There is no WAV file at that path."""

    code = 630


class WavFormatInvalid(WorkerError):
    """The WAV file has a format that is not understood."""

    code = 631


class WavHeaderInvalid(WorkerError):
    """The WAV file's header is damaged."""

    code = 632


class SubprocessProblem(WorkerError):
    """A program that was started had a problem."""

    code = 633


class PathInvalidError(WorkerError):
    """A path is not valid."""

    code = 640


class SegmentsTooLongException(WorkerError):
    """Segments are too long."""

    code = 641


class SubprocessError(WorkerError):
    """A program that was started failed."""

    code = 642


class TranscriptionEmptyError(WorkerError):
    """Nothing was transcribed."""

    code = 643
