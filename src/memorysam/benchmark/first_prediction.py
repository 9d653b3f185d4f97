"""Load a checkpoint and predict, twice, in this process; print the seconds of each as JSON. Run by `start_up`.

python -m memorysam.benchmark.first_prediction CHECKPOINT
"""

import json
import sys
import time


def main(checkpoint: str) -> dict[str, float]:
    """Return seconds by part."""
    marks = [time.perf_counter()]
    from memorysam.loading import load

    marks.append(time.perf_counter())
    model = load(checkpoint, device="cpu", verbose=False)
    marks.append(time.perf_counter())
    import numpy as np

    height, width = model.task.image_size
    images = {m.name: np.full((height, width, m.channels), 100, np.uint8) for m in model.task.modalities}
    for _ in range(2):
        model.predict(images)
        marks.append(time.perf_counter())
    names = ("imports", "load", "first prediction", "second prediction")
    return {name: end - begin for name, begin, end in zip(names, marks, marks[1:], strict=False)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1])))
