#!/usr/bin/env python3
"""Where somebody speaks in a recording, and what is said: speech.py FILE.WAV

Silence is told from speech by the detector of PocketSphinx, words are recognised with the American English model that
its Python package brings along. Prints {"duration", "annotations"}; the annotations follow each other without a gap.
"""

import json
import sys
import wave

from pocketsphinx import Decoder, Endpointer

VERSION = "1"  # as `version` in gateway.toml
RATE = 16000  # what the model was trained on


def annotation(kind, start, end, **more):
    return {"@id": kind, "@version": VERSION, "start": round(start, 2), "end": round(end, 2), **more}


def utterances(recording):
    """Gives (start, end, samples) of each stretch of speech, and tells the progress."""
    detector = Endpointer(sample_rate=RATE)
    size, done, pieces = detector.frame_bytes // 2, 0, []
    while samples := recording.readframes(size):
        done += len(samples) // 2
        last = len(samples) < detector.frame_bytes
        piece = detector.end_stream(samples) if last else detector.process(samples)
        if piece:
            pieces.append(piece)
            if not detector.in_speech:
                yield detector.speech_start, detector.speech_end, b"".join(pieces)
                pieces = []
        print("progress:", 100 * done // recording.getnframes(), file=sys.stderr)
    if pieces:  # the recording ends with the last whole frame, in the middle of a word
        yield detector.speech_start, done / RATE, b"".join(pieces)


def recognise(decoder, samples):
    decoder.start_utt()
    decoder.process_raw(samples, full_utt=True)
    decoder.end_utt()
    heard = decoder.hyp()
    return heard.hypstr if heard else ""


def analyse(recording):
    if (recording.getnchannels(), recording.getsampwidth(), recording.getframerate()) != (1, 2, RATE):
        sys.exit("one channel, 16 bit and 16000 Hz are needed: convert it with `ffmpeg -i IN -ac 1 -ar 16000 OUT.wav`")
    decoder = Decoder(samprate=RATE, loglevel="FATAL")
    duration = recording.getnframes() / RATE
    annotations, at = [], 0.0
    for start, end, samples in utterances(recording):
        start, end = max(start, at), min(end, duration)
        if start > at:
            annotations.append(annotation("silence", at, start))
        annotations.append(annotation("speech", start, end, text=recognise(decoder, samples)))
        at = end
    if duration > at:
        annotations.append(annotation("silence", at, duration))
    return {"duration": round(duration, 2), "annotations": annotations}


if __name__ == "__main__":
    try:
        with wave.open(sys.argv[1]) as wav:
            print(json.dumps(analyse(wav)))
    except (wave.Error, EOFError) as error:
        sys.exit(f"not a WAV file: {error or 'it ends too early'}")
