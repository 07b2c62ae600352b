#!/usr/bin/env python3
"""Finds faces in a picture: faces.py PICTURE OUTPUT

Uses a cascade that the Python package of OpenCV brings along. Prints {"width", "height", "annotations"}, and leaves the
picture with a frame round each face in the directory OUTPUT.
"""

import json
import os
import sys

# A picture says itself how large it is: nothing larger than this is unpacked.
os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(100_000_000)
import cv2  # noqa: E402 (it reads the variable when it is loaded)

VERSION = "1"  # as `version` in gateway.toml
LARGEST = 1280  # the longer side that is searched, in pixels: more takes longer and finds no more


def find(picture):
    """Gives (x, y, width, height, score) of each face, from left to right."""
    scale = min(1.0, LARGEST / max(picture.shape[:2]))
    grey = cv2.equalizeHist(cv2.cvtColor(cv2.resize(picture, None, fx=scale, fy=scale), cv2.COLOR_BGR2GRAY))
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_alt2.xml")
    boxes, _, scores = cascade.detectMultiScale3(
        grey, scaleFactor=1.1, minNeighbors=5, minSize=(32, 32), outputRejectLevels=True
    )
    found = [(*(round(side / scale) for side in box), float(score)) for box, score in zip(boxes, scores)]
    return sorted(found)


def main(file, output):
    picture = cv2.imread(file, cv2.IMREAD_COLOR)
    if picture is None:
        sys.exit("not a picture that can be read")
    print("progress: 20", file=sys.stderr)
    annotations = []
    for x, y, width, height, score in find(picture):
        region = {"x": x, "y": y, "width": width, "height": height}
        annotations.append({"@id": "face", "@version": VERSION, "region": region, "score": round(score, 1)})
        cv2.rectangle(picture, (x, y), (x + width, y + height), (0, 200, 0), 2)
    print("progress: 90", file=sys.stderr)
    cv2.imwrite(os.path.join(output, "faces.jpg"), picture)
    height, width = picture.shape[:2]
    print(json.dumps({"width": width, "height": height, "annotations": annotations}))


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2])
    except cv2.error as error:
        sys.exit(f"the picture cannot be read: {error.err}")
