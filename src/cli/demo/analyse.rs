//! The demo's real task: where in a recording somebody speaks, and how loud it is.
//!
//! [`analyse`] reads a WAV file in one pass and in little memory, whatever its length: loudness by EBU R 128
//! ([`ebur128`]), speech by a small neural network ([`earshot`]) over frames of 16 ms, smoothed by a few rules
//! ([`Smoother`]). It knows nothing of queues, HTTP or clocks.
//!
//! The shipped `speech.wav` is synthetic: espeak-ng (`-v en-gb -s 150`) says three sentences, sox brings them to
//! 16 kHz, cuts their silent ends off, and sets them among 0.5, 0.8, 0.7 and 0.5 s of very quiet white noise.

use ebur128::{EbuR128, Mode};
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{self, BufReader, ErrorKind},
    path::Path,
};

/// Samples a second that the speech detector was trained on.
const SAMPLE_RATE: u32 = 16_000;
/// Samples a frame of the speech detector: 16 ms.
const FRAME: usize = 256;
/// A score from here on is speech: the detector's own advice.
const THRESHOLD: f32 = 0.5;
/// Shorter silences (in frames: 0.2 s) belong to the speech round them: the gaps within a sentence.
const MIN_SILENCE: u32 = 12;
/// Shorter speech (in frames: 0.1 s) is a click.
const MIN_SPEECH: u32 = 6;
/// The version told in each annotation.
const VERSION: &str = "1";

/// Why a file cannot be analysed. Each text says what to do about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnalyseError {
    /// There is no such file, or it cannot be read.
    #[error("the sound file cannot be read: {0}")]
    Read(#[source] io::Error),
    /// The file is something else, or its header is broken.
    #[error("not a WAV file: {0}")]
    NotWav(String),
    /// A WAV file, but not with 16-bit integer samples.
    #[error("16-bit integer samples are needed, not {0}: convert it with `sox IN -b 16 -e signed-integer OUT`")]
    Encoding(String),
    /// Another sample rate than the detector's, in Hz.
    #[error("a sample rate of 16000 Hz is needed, not {0} Hz: convert it with `sox IN -r 16000 OUT`")]
    SampleRate(u32),
    /// Neither mono nor stereo.
    #[error("one or two channels are needed, not {0}: convert it with `sox IN -c 1 OUT`")]
    Channels(u16),
    /// A correct file with no samples.
    #[error("the sound file is empty: it has a header and no samples")]
    Empty,
    /// The header promises more than there is.
    #[error("the sound file is cut off after {read} of {promised} samples")]
    Truncated {
        /// Samples that were there, all channels counted.
        read: u32,
        /// Samples that the header promises, all channels counted.
        promised: u32,
    },
    /// The loudness meter refused the samples.
    #[error("loudness cannot be measured: {0}")]
    Loudness(#[from] ebur128::Error),
}

/// Measures the WAV file `wav`: 16 kHz, 16-bit integer samples, one or two channels.
///
/// Calls `progress` with the percentage done whenever it changes; the last call is 100. Blocks on the file and computes:
/// not for an asynchronous thread.
///
/// Gives `{"duration", "sample_rate", "channels", "loudness_lufs", "peak_dbfs", "annotations"}`: duration in seconds;
/// integrated loudness (EBU R 128), `null` for a file too quiet or too short (0.4 s) to have one; sample peak in dB of
/// full scale, `null` for digital silence. The annotations `{"@id": "speech" | "silence", "@version", "start", "end"}`
/// (seconds) follow each other from 0 to the duration without a gap, the two kinds by turns.
///
/// # Errors
/// See [`AnalyseError`]; nothing is given for a file that is only partly readable.
pub(crate) fn analyse(wav: &Path, mut progress: impl FnMut(u8)) -> Result<Value, AnalyseError> {
    let file = File::open(wav).map_err(AnalyseError::Read)?;
    let mut reader = hound::WavReader::new(BufReader::new(file)).map_err(header_error)?;
    let spec = reader.spec();
    check(spec)?;
    let (promised, channels) = (reader.len(), usize::from(spec.channels));
    if promised == 0 {
        return Err(AnalyseError::Empty);
    }

    let mut meter = EbuR128::new(spec.channels.into(), spec.sample_rate, Mode::I | Mode::SAMPLE_PEAK)?;
    let mut detector = earshot::Detector::default_boxed();
    let mut smoother = Smoother::default();
    let mut frame = Vec::with_capacity(FRAME * channels);
    let (mut read, mut told) = (0_u32, None);
    for sample in reader.samples::<i16>() {
        frame.push(sample.map_err(|error| sample_error(error, read, promised))?);
        read += 1;
        if frame.len() < FRAME * channels && read < promised {
            continue;
        }
        meter.add_frames_i16(&frame)?;
        smoother.hear(detector.predict_i16(&mono(&frame, channels)) >= THRESHOLD);
        frame.clear();
        let percent = percent(read, promised);
        if told.replace(percent) != Some(percent) {
            progress(percent);
        }
    }

    let duration = f64::from(promised / u32::from(spec.channels)) / f64::from(spec.sample_rate);
    Ok(json!({
        "duration": rounded(duration, 3),
        "sample_rate": spec.sample_rate,
        "channels": spec.channels,
        "loudness_lufs": rounded(meter.loudness_global()?, 1),
        "peak_dbfs": rounded(peak(&meter, spec.channels)?, 1),
        "annotations": annotations(smoother.finish(), duration),
    }))
}

/// Is it a format that the detector can hear?
fn check(spec: hound::WavSpec) -> Result<(), AnalyseError> {
    if spec.sample_format != hound::SampleFormat::Int || spec.bits_per_sample != 16 {
        let kind = if spec.sample_format == hound::SampleFormat::Float { "floating point" } else { "integer" };
        return Err(AnalyseError::Encoding(format!("{}-bit {kind}", spec.bits_per_sample)));
    }
    if !(1..=2).contains(&spec.channels) {
        return Err(AnalyseError::Channels(spec.channels));
    }
    if spec.sample_rate != SAMPLE_RATE {
        return Err(AnalyseError::SampleRate(spec.sample_rate));
    }
    Ok(())
}

/// What a failure within the header means.
fn header_error(error: hound::Error) -> AnalyseError {
    match error {
        hound::Error::IoError(error) if ran_out(&error) => AnalyseError::NotWav("it ends within its header".into()),
        hound::Error::IoError(error) => AnalyseError::Read(error),
        hound::Error::Unsupported => AnalyseError::Encoding("a compressed or unknown encoding".into()),
        other => AnalyseError::NotWav(other.to_string()),
    }
}

/// What a failure after `read` of `promised` samples means.
fn sample_error(error: hound::Error, read: u32, promised: u32) -> AnalyseError {
    match error {
        hound::Error::IoError(error) if ran_out(&error) => AnalyseError::Truncated { read, promised },
        hound::Error::IoError(error) => AnalyseError::Read(error),
        other => AnalyseError::NotWav(other.to_string()),
    }
}

/// Did the file end too early? hound has no error of its own for it: it says `Other`, which the system never does.
fn ran_out(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::Other)
}

/// One frame for the detector from interleaved samples: channels averaged, a short last frame filled with silence.
fn mono(interleaved: &[i16], channels: usize) -> [i16; FRAME] {
    let mut frame = [0; FRAME];
    for (out, samples) in frame.iter_mut().zip(interleaved.chunks_exact(channels)) {
        let sum: i32 = samples.iter().map(|&sample| i32::from(sample)).sum();
        // One or two channels (`check`), so the average is again within i16.
        *out = (sum / if channels == 2 { 2 } else { 1 }) as i16;
    }
    frame
}

/// `read` of `all` in whole percent; `all` is not 0 and `read` is at most `all`.
fn percent(read: u32, all: u32) -> u8 {
    (u64::from(read) * 100 / u64::from(all)) as u8
}

/// The loudest sample of any channel, in dB of full scale; minus infinity for digital silence.
fn peak(meter: &EbuR128, channels: u16) -> Result<f64, ebur128::Error> {
    let mut peak = 0.0_f64;
    for channel in 0..channels {
        peak = peak.max(meter.sample_peak(channel.into())?);
    }
    Ok(20.0 * peak.log10())
}

/// A number with so many decimals; `null` if it is none (JSON has no infinity).
fn rounded(value: f64, decimals: i32) -> Value {
    let scale = 10_f64.powi(decimals);
    if value.is_finite() { json!((value * scale).round() / scale) } else { Value::Null }
}

/// A stretch of frames of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    speech: bool,
    frames: u32,
}

/// Turns one verdict a frame into runs by turns of speech and silence, none of them too short.
///
/// A change counts from its first frame, but only once it has lasted: until then its frames are `pending`. So a gap
/// within a sentence and a click leave no trace.
#[derive(Debug, Default)]
struct Smoother {
    runs: Vec<Run>,
    pending: u32,
}

impl Smoother {
    /// Takes the next frame's verdict.
    fn hear(&mut self, speech: bool) {
        let current = self.runs.last().is_some_and(|run| run.speech);
        self.pending += 1;
        if speech == current {
            self.keep(current);
        } else if self.pending >= if speech { MIN_SPEECH } else { MIN_SILENCE } {
            self.runs.push(Run { speech, frames: self.pending });
            self.pending = 0;
        }
    }

    /// Adds what is pending to the current run; before the first run there is silence.
    fn keep(&mut self, speech: bool) {
        let frames = std::mem::take(&mut self.pending);
        match self.runs.last_mut() {
            Some(run) => run.frames += frames,
            None => self.runs.push(Run { speech, frames }),
        }
    }

    /// The runs; a change that had no time to last belongs to the last of them.
    fn finish(mut self) -> Vec<Run> {
        if self.pending > 0 {
            self.keep(self.runs.last().is_some_and(|run| run.speech));
        }
        self.runs
    }
}

/// The runs as annotations, in seconds; the last ends where the recording does, within its last frame.
fn annotations(runs: Vec<Run>, duration: f64) -> Vec<Value> {
    let seconds = |frame: u32| (f64::from(frame) * FRAME as f64 / f64::from(SAMPLE_RATE)).min(duration);
    let mut frame = 0;
    runs.into_iter()
        .map(|run| {
            let start = seconds(frame);
            frame += run.frames;
            json!({
                "@id": if run.speech { "speech" } else { "silence" },
                "@version": VERSION,
                "start": rounded(start, 3),
                "end": rounded(seconds(frame), 3),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// The recording that the demo ships.
    const SPEECH: &[u8] = include_bytes!("speech.wav");

    /// `bytes` as a file in a directory that lives as long as the first part of the pair.
    fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.wav");
        std::fs::write(&path, bytes).unwrap();
        (directory, path)
    }

    fn analyse_bytes(bytes: &[u8]) -> Result<Value, AnalyseError> {
        let (_directory, path) = file(bytes);
        analyse(&path, |_| ())
    }

    /// A WAV file of that format with these samples.
    fn wav<S: hound::Sample + Copy>(spec: hound::WavSpec, samples: &[S]) -> Vec<u8> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
        samples.iter().for_each(|&sample| writer.write_sample(sample).unwrap());
        writer.finalize().unwrap();
        bytes.into_inner()
    }

    fn spec(channels: u16, sample_rate: u32, bits_per_sample: u16) -> hound::WavSpec {
        hound::WavSpec { channels, sample_rate, bits_per_sample, sample_format: hound::SampleFormat::Int }
    }

    /// Kind, start and end of each annotation.
    fn segments(value: &Value) -> Vec<(&str, f64, f64)> {
        let annotations = value["annotations"].as_array().unwrap();
        let number = |value: &Value| value.as_f64().unwrap();
        annotations.iter().map(|a| (a["@id"].as_str().unwrap(), number(&a["start"]), number(&a["end"]))).collect()
    }

    #[test]
    fn finds_the_three_sentences_of_the_shipped_recording() {
        let value = analyse_bytes(SPEECH).unwrap();
        // Where the recording was put together. The detector needs a moment to be sure that speech is over.
        let expected = [0.0, 0.5, 2.918, 3.718, 6.439, 7.139, 8.255, 8.755];
        let segments = segments(&value);
        assert_eq!(segments.len(), expected.len() - 1, "{segments:?}");
        for (index, &(kind, start, end)) in segments.iter().enumerate() {
            assert_eq!(kind, if index % 2 == 0 { "silence" } else { "speech" });
            assert!((start - expected[index]).abs() < 0.15, "{kind} starts at {start}, not {}", expected[index]);
            assert!((end - expected[index + 1]).abs() < 0.15, "{kind} ends at {end}, not {}", expected[index + 1]);
        }
        assert!(segments.windows(2).all(|pair| pair[0].2 == pair[1].1), "gaps in {segments:?}");
    }

    #[test]
    fn measures_the_shipped_recording() {
        let value = analyse_bytes(SPEECH).unwrap();
        assert_eq!((&value["sample_rate"], &value["channels"]), (&json!(16000), &json!(1)));
        assert_eq!(value["duration"], json!(8.755));
        assert_eq!(value["peak_dbfs"], json!(-3.0)); // sox was told so
        let loudness = value["loudness_lufs"].as_f64().unwrap();
        assert!((loudness - -21.0).abs() <= 0.2, "{loudness} LUFS"); // by another meter, pyloudnorm: -21.05
    }

    #[test]
    fn tells_its_progress_in_rising_steps_up_to_100() {
        let (_directory, path) = file(SPEECH);
        let mut told = Vec::new();
        analyse(&path, |percent| told.push(percent)).unwrap();
        assert!(told.is_sorted_by(|a, b| a < b), "{told:?}");
        assert_eq!(told.last(), Some(&100));
        assert!(told.len() > 50, "{told:?}");
    }

    #[test]
    fn a_reference_tone_has_its_defined_loudness() {
        // ITU-R BS.1770: a sine of 997 Hz at full scale in one channel reads -3.01 LUFS.
        let tone = |t: u32| (f64::from(t) * 997.0 * std::f64::consts::TAU / 16_000.0).sin();
        let samples: Vec<i16> = (0..32_000).map(|t| (tone(t) * 32_767.0) as i16).collect();
        let value = analyse_bytes(&wav(spec(1, 16_000, 16), &samples)).unwrap();
        assert!((value["loudness_lufs"].as_f64().unwrap() + 3.0).abs() <= 0.1, "{value}");
        assert_eq!(value["peak_dbfs"], json!(0.0));
    }

    #[test]
    fn silence_has_no_loudness_and_no_speech() {
        let value = analyse_bytes(&wav(spec(1, 16_000, 16), &[0_i16; 16_001])).unwrap();
        assert_eq!((&value["loudness_lufs"], &value["peak_dbfs"]), (&Value::Null, &Value::Null));
        assert_eq!(segments(&value), [("silence", 0.0, 1.0)]);
    }

    #[test]
    fn stereo_is_heard_as_its_average() {
        let mono: Vec<i16> = hound::WavReader::new(SPEECH).unwrap().samples().map(Result::unwrap).collect();
        let stereo =
            |left: bool| mono.iter().flat_map(|&right| [if left { right } else { 0 }, right]).collect::<Vec<_>>();
        let value = analyse_bytes(&wav(spec(2, 16_000, 16), &stereo(true))).unwrap();
        let expected = analyse_bytes(SPEECH).unwrap();
        assert_eq!(value["channels"], json!(2));
        assert_eq!((&value["annotations"], &value["duration"]), (&expected["annotations"], &expected["duration"]));
        let right_alone = analyse_bytes(&wav(spec(2, 16_000, 16), &stereo(false))).unwrap();
        assert_eq!(segments(&right_alone).len(), segments(&expected).len());
    }

    #[test]
    fn one_sample_is_enough() {
        let value = analyse_bytes(&wav(spec(1, 16_000, 16), &[i16::MIN])).unwrap();
        assert_eq!((&value["peak_dbfs"], &value["loudness_lufs"]), (&json!(0.0), &Value::Null));
        assert_eq!(segments(&value), [("silence", 0.0, 0.0)]);
    }

    #[test]
    fn gaps_and_clicks_leave_no_trace() {
        let runs = |verdicts: &[(bool, u32)]| {
            let mut smoother = Smoother::default();
            for &(speech, frames) in verdicts {
                (0..frames).for_each(|_| smoother.hear(speech));
            }
            smoother.finish().iter().map(|run| (run.speech, run.frames)).collect::<Vec<_>>()
        };
        assert_eq!(runs(&[]), []);
        assert_eq!(runs(&[(false, 3)]), [(false, 3)]);
        assert_eq!(runs(&[(true, 5)]), [(false, 5)], "a click alone");
        assert_eq!(runs(&[(true, 6)]), [(true, 6)], "speech from the first frame on");
        assert_eq!(runs(&[(false, 20), (true, 5), (false, 20)]), [(false, 45)], "a click");
        assert_eq!(runs(&[(false, 1), (true, 20), (false, 11), (true, 20)]), [(false, 1), (true, 51)], "a gap");
        assert_eq!(runs(&[(true, 20), (false, 12), (true, 6)]), [(true, 20), (false, 12), (true, 6)]);
        assert_eq!(runs(&[(true, 20), (false, 11)]), [(true, 31)], "an end too short to be sure");
    }

    #[test]
    fn bad_files_are_explained() {
        let text = |bytes: &[u8]| analyse_bytes(bytes).unwrap_err().to_string();
        assert_eq!(text(b""), "not a WAV file: it ends within its header");
        assert_eq!(text(&SPEECH[..30]), "not a WAV file: it ends within its header");
        assert!(
            text(b"<html>404 not found: what a storage service may well answer</html>").starts_with("not a WAV file")
        );
        assert_eq!(
            text(&wav::<i16>(spec(1, 16_000, 16), &[])),
            "the sound file is empty: it has a header and no samples"
        );
        let samples = 140_085;
        assert_eq!(text(&SPEECH[..44 + 2001]), format!("the sound file is cut off after 1000 of {samples} samples"));
        assert!(text(&wav(spec(1, 44_100, 16), &[0_i16; 100])).contains("16000 Hz is needed, not 44100 Hz"));
        assert!(text(&wav(spec(6, 16_000, 16), &[0_i16; 6])).contains("one or two channels are needed, not 6"));
        assert!(text(&wav(spec(1, 16_000, 24), &[0_i32; 100])).contains("needed, not 24-bit integer"));
        assert!(text(&wav(spec(1, 16_000, 8), &[0_i8; 100])).contains("needed, not 8-bit integer"));
        let float = hound::WavSpec { sample_format: hound::SampleFormat::Float, ..spec(1, 16_000, 32) };
        assert!(text(&wav(float, &[0.0_f32; 100])).contains("needed, not 32-bit floating point"));
    }

    #[test]
    fn a_header_without_channels_or_of_an_unknown_encoding_is_refused() {
        let with = |at: usize, value: u16| {
            let mut bytes = wav(spec(1, 16_000, 16), &[0_i16; 100]);
            bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
            analyse_bytes(&bytes).unwrap_err()
        };
        assert!(matches!(with(22, 0), AnalyseError::NotWav(_)), "no channels");
        assert!(matches!(with(20, 0x55), AnalyseError::Encoding(_)), "MP3 in a WAV");
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_told_from_a_bad_one() {
        let directory = tempfile::tempdir().unwrap();
        let open = |path: &Path| analyse(path, |_| ()).unwrap_err();
        assert!(matches!(open(&directory.path().join("none")), AnalyseError::Read(_)));
        assert!(matches!(open(directory.path()), AnalyseError::Read(_)), "a directory");
    }

    #[test]
    fn no_header_makes_it_panic() {
        let good = wav(spec(1, 16_000, 16), &[100_i16; 600]);
        let header = good.len() - 1200;
        let mut refused = 0;
        for at in 0..header {
            for value in [0, 1, 2, 3, 16, 127, 128, 254, 255] {
                let mut bytes = good.clone();
                bytes[at] = value;
                refused += usize::from(analyse_bytes(&bytes).is_err());
            }
        }
        assert!(refused > 100, "only {refused} broken headers were refused");
    }
}
