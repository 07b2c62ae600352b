//! Worker exceptions as result codes.

use std::collections::BTreeMap;

/// The code of everything not in the table.
pub const UNKNOWN: u16 = 101;

/// Class names (module ignored) and their codes, sorted by code.
pub const TABLE: &[(&str, u16)] = &[
    ("NoneType", 100),
    ("Exception", UNKNOWN),
    ("PyMongoError", 102),
    // `ConfigParser.Error` (Python 2) and `configparser.Error`: the class itself is called `Error`.
    ("Error", 103),
    ("ConfigParser.Error", 103),
    ("TypeError", 104),
    ("ValueError", 105),
    ("gaierror", 106),
    ("IOError", 107),
    ("OSError", 107),
    ("KeyError", 108),
    ("TaskRevokedError", 109),
    ("SettingsException", 200),
    ("VersionException", 201),
    ("UnknownServiceError", 202),
    ("UnknownUUIDError", 203),
    ("VersionMismatchError", 204),
    ("AMQPError", 205),
    ("MissingParameterError", 206),
    ("DocumentUrlNotValidException", 207),
    ("InvalidAnnotationFormat", 300),
    ("DownloadError", 301),
    ("UploadError", 302),
    ("ConfigFileNotFound", 303),
    ("InvalidDocumentPath", 304),
    ("InvalidDocumentType", 305),
    ("RuntimeError", 306),
    ("InsufficientResources", 400),
    ("MinimumWorkersReached", 401),
    ("OverflowError", 500),
    ("NotImplementedError", 501),
    ("FFMpegError", 502),
    ("FFMpegConvertError", 503),
    ("ConverterError", 504),
    ("TranscoderError", 505),
    ("SwiftException", 506),
    ("CInternalError", 600),
    ("WavPathInvalid", 630),
    ("WavFormatInvalid", 631),
    ("WavHeaderInvalid", 632),
    ("SubprocessProblem", 633),
    ("PathInvalidError", 640),
    ("SegmentsTooLongException", 641),
    ("SubprocessError", 642),
    ("TranscriptionEmptyError", 643),
];

/// The code of an exception by its class name: the service's own table first, then [`TABLE`], else [`UNKNOWN`].
///
/// ```
/// # use std::collections::BTreeMap;
/// let own = BTreeMap::from([("ModelNotLoaded".to_owned(), 650)]);
/// assert_eq!(gateway_celery::code_of("ModelNotLoaded", &own), 650);
/// assert_eq!(gateway_celery::code_of("DownloadError", &own), 301);
/// assert_eq!(gateway_celery::code_of("Whatever", &own), 101);
/// ```
pub fn code_of(class: &str, extra: &BTreeMap<String, u16>) -> u16 {
    let own = extra.get(class).copied();
    let built_in = || TABLE.iter().find(|(name, _)| *name == class).map(|(_, code)| *code);
    own.or_else(built_in).unwrap_or(UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_stands_once_and_the_table_is_sorted() {
        for (i, (name, _)) in TABLE.iter().enumerate() {
            assert!(TABLE[i + 1..].iter().all(|(other, _)| other != name), "{name} twice");
        }
        assert!(TABLE.is_sorted_by_key(|(_, code)| *code));
        assert_eq!(TABLE.len(), 45);
    }

    #[test]
    fn a_services_own_code_wins() {
        let own = BTreeMap::from([("ValueError".to_owned(), 999)]);
        assert_eq!(code_of("ValueError", &own), 999);
        assert_eq!(code_of("ValueError", &BTreeMap::new()), 105);
        assert_eq!(code_of("", &own), UNKNOWN);
    }
}
