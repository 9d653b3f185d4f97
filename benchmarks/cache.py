"""Samples per second with and without the cache, for four 1024 x 1024 modalities as DELIVER stores them.

    python benchmarks/cache.py [--scenes 8] [--size 1024]

Scenes are written as PNG in DELIVER's layout, read file by file, cached, and read from the cache; one process, one
thread, every sample several times, medians. Both ways end in the same stored values: nothing is augmented.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from memorysam.config import DataSettings
from memorysam.data.cache import FOLDER
from memorysam.data.cache_writer import write_cache
from memorysam.data.catalog import DataSet, open_dataset
from memorysam.data.scenes import write_scenes


def rate(dataset: DataSet, repeats: int) -> tuple[float, list[float]]:
    """Return samples per second: the median over repeats, and all of them."""
    source = dataset.source("train")
    source.read(0, dataset.usual)  # files are mapped, libraries loaded
    rates = []
    for _ in range(repeats):
        began = time.perf_counter()
        total = 0.0
        for index in range(len(source.ids)):
            raw = source.read(index, dataset.usual)
            # Look at every value, as training would: a mapped page that nobody reads has cost nothing yet.
            total += sum(float(image.sum(dtype=np.int64)) for image in raw.images.values())
        rates.append(len(source.ids) / (time.perf_counter() - began))
    return statistics.median(rates), rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=8)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        root = Path(name)
        write_scenes(root, {"train": arguments.scenes}, (arguments.size, arguments.size))
        settings = DataSettings(dataset=str(root / "dataset.yaml"))
        files, all_files = rate(open_dataset(settings.model_copy(update={"cache": "off"}), (64, 64)), arguments.repeats)
        report = write_cache(open_dataset(settings, (64, 64)), root / FOLDER)
        cached, all_cached = rate(open_dataset(settings, (64, 64)), arguments.repeats)
    result = {
        "scenes": arguments.scenes,
        "size": arguments.size,
        "files_per_second": round(files, 2),
        "cached_per_second": round(cached, 2),
        "ratio": round(cached / files, 1),
        "cache_bytes": report.bytes,
        "spread": {"files": [round(min(all_files), 2), round(max(all_files), 2)],
                   "cached": [round(min(all_cached), 2), round(max(all_cached), 2)]},
        "machine": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
    }  # fmt: skip
    json.dump(result, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
