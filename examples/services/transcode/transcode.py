#!/usr/bin/env python3
"""Brings sound or film into another format with ffmpeg: transcode.py FILE PARAMS OUTPUT

The argument `format` of the submission is mp4 (the default), webm or ogg. The new file goes to the directory OUTPUT.
Prints {"duration", "format", "annotations"}: what the new file holds, and the shots of a film, found in the same run.
ffmpeg's own standard error is ours: the gateway reads the progress from it.
"""

import json
import os
import subprocess
import sys

VERSION = "1"  # as `version` in gateway.toml
FORMATS = {
    "mp4": "-c:v libx264 -preset veryfast -pix_fmt yuv420p -c:a aac -movflags +faststart",
    "webm": "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -row-mt 1 -pix_fmt yuv420p -c:a libopus",
    "ogg": "-c:a libopus -b:a 32k",
}
# What may come in, by its content. Playlists and the like stay out: they make ffmpeg read other files.
CONTAINERS = "aac,aiff,avi,flac,flv,m4v,matroska,webm,mov,mp4,mp3,mpeg,mpegts,ogg,wav"
CUT = 0.4  # so much of a picture is new: another shot


def probe(file):
    command = ["ffprobe", "-v", "error", "-protocol_whitelist", "file", "-format_whitelist", CONTAINERS]
    command += ["-show_format", "-show_streams", "-of", "json", file]
    answer = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if answer.returncode != 0:
        sys.exit("not a sound or film file that can be read")
    return json.loads(answer.stdout)


def transcode(file, has_picture, has_sound, new, cuts):
    command = ["ffmpeg", "-nostdin", "-hide_banner", "-stats_period", "0.2", "-y"]
    command += ["-protocol_whitelist", "file", "-format_whitelist", CONTAINERS, "-i", file]
    if has_picture:
        find_cuts = f"select='gt(scene,{CUT})',metadata=print:file={cuts},nullsink"
        command += ["-filter_complex", f"[0:v:0]split[film][seen];[seen]{find_cuts}", "-map", "[film]"]
    if has_sound:
        command += ["-map", "0:a:0"]
    command += FORMATS[new.rpartition(".")[2]].split()
    status = subprocess.run([*command, new], stdout=subprocess.DEVNULL, check=False).returncode
    if status != 0:
        sys.exit(status)  # its last line said why


def annotation(kind, start, end, **more):
    return {"@id": kind, "@version": VERSION, "start": round(start, 2), "end": round(end, 2), **more}


def shots(cuts, duration):
    with open(cuts, encoding="ascii") as file:
        times = [float(line.split("pts_time:")[1]) for line in file if "pts_time:" in line]
    edges = [0.0, *(time for time in times if 0.0 < time < duration), duration]
    return [annotation("shot", start, end) for start, end in zip(edges, edges[1:])]


def described(stream):
    keys = ("codec_type", "codec_name", "width", "height", "sample_rate", "channels")
    return {key: stream[key] for key in keys if key in stream}


def main(file, params, output):
    with open(params, encoding="utf-8") as argument:
        wanted = json.load(argument)["service"]["misc"].get("format", "mp4")
    if wanted not in FORMATS:
        sys.exit(f"format must be one of {', '.join(FORMATS)}")
    kinds = {stream["codec_type"] for stream in probe(file)["streams"]}
    has_picture, has_sound = "video" in kinds and wanted != "ogg", "audio" in kinds
    if not (has_picture or has_sound):
        sys.exit("there is nothing in it that this format could hold")
    new, cuts = os.path.join(output, f"transcoded.{wanted}"), "cuts.txt"
    transcode(file, has_picture, has_sound, new, cuts)
    made = probe(new)
    duration = float(made["format"]["duration"])
    annotations = [annotation("medium", 0.0, duration, streams=[described(stream) for stream in made["streams"]])]
    if has_picture:
        annotations += shots(cuts, duration)
    print(json.dumps({"duration": round(duration, 2), "format": wanted, "annotations": annotations}))


if __name__ == "__main__":
    main(*sys.argv[1:4])
