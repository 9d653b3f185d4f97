"""Tiny copies of published data sets: real folder names, bit depths and quirks; random content, which is returned."""

from pathlib import Path

import cv2
import numpy as np

CONDITIONS = ("cloud", "fog", "night", "rain", "sun")
FAILURES = ("", "_motionblur", "_overexposure", "_underexposure", "_lidarjitter", "_eventlowres")


def put(path: Path, values) -> None:
    """Write RGB(A) or grey values as PNG, or anything as NPY."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
        return
    codes = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    stored = cv2.cvtColor(values, codes[values.shape[2]]) if values.ndim == 3 else values
    assert cv2.imwrite(str(path), stored)


def write_deliver(root: Path, size: int = 26, raw_depth: bool = False):
    """DELIVER: every condition, split and failure once; returns {(split, id): {modality or 'label': values}}."""
    rng = np.random.default_rng(5)
    content = {}
    for split in ("train", "val", "test"):
        for c, condition in enumerate(CONDITIONS):
            for f, failure in enumerate(FAILURES):
                sequence, frame = f"MAP_{7 + c}_point{f}{failure}", f"{100 * c + f:06d}"
                # The image folder has an alpha channel here and there.
                shapes = {"rgb": (size, size, 4 if f % 2 else 3), "depth": (size, size, 3), "lidar": (size, size, 3)}
                shapes["event"] = (size // 2, size // 2, 3) if failure == "_eventlowres" else (size, size, 3)
                values = {kind: rng.integers(0, 256, shape, np.uint8) for kind, shape in shapes.items()}
                label = rng.integers(26, 255, (size, size, 4), np.uint8)  # only the first channel means anything
                label[..., 0] = rng.choice([*range(26), 255], (size, size))
                values["label"] = label
                folders = {"rgb": "img", "depth": "hha", "event": "event", "lidar": "lidar", "label": "semantic"}
                if raw_depth:
                    values["raw_depth"], folders["raw_depth"] = values["depth"][::-1].copy(), "depth"
                for kind, folder in folders.items():
                    suffix = {"label": "semantic", "raw_depth": "depth"}.get(kind, kind)
                    put(root / folder / condition / split / sequence / f"{frame}_{suffix}_front.png", values[kind])
                content[split, f"{condition}/{sequence}/{frame}"] = values
    return content


def write_mcubes(root: Path, wide: bool = True, height: int = 24, width: int = 220, angle: str = "doubled"):
    """MCubeS: RGB and NIR of 16 or 8 bit; returns {id: {kind: values}}."""
    rng = np.random.default_rng(6)
    dtype, most = (np.uint16, 65536) if wide else (np.uint8, 256)
    content = {}
    for split, count in {"train": 3, "val": 2, "test": 2}.items():
        names = [f"outscene{split}_{i:04d}" for i in range(count)]
        for name in names:
            phi = rng.uniform(0, np.pi, (height, width))
            if angle == "doubled":
                phi = 2 * phi
            elif angle == "centred":
                phi = phi - np.pi / 2
            values = {
                "polL_color": rng.integers(0, most, (height, width, 3), dtype),
                "NIR_warped": rng.integers(0, most, (height, width), dtype),
                "polL_aolp_sin": np.sin(phi),
                "polL_aolp_cos": np.cos(phi),
                "polL_dolp": rng.uniform(0, 1, (height, width)),
                "NIR_warped_mask": (rng.random((height, width)) < 0.2).astype(np.uint8) * 255,
                "GT": rng.choice([*range(20), 255], (height, width)).astype(np.uint8),
                "SSmask": rng.integers(0, 10, (height, width), np.uint8),
            }
            for folder, array in values.items():
                extension = "npy" if array.dtype.kind == "f" else "png"
                put(root / folder / f"{name}.{extension}", array)
            content[name] = values
        (root / "list_folder").mkdir(exist_ok=True)
        (root / "list_folder" / f"{split}.txt").write_text("\n".join(names) + "\n")
    return content


def write_mfnet(root: Path, size=(12, 16)):
    """MFNet: PNG pictures of day and night; returns {id: {kind: values}}."""
    rng = np.random.default_rng(8)
    content = {}
    for split, names in {"train": ["00001D", "00003N"], "val": ["00006N"], "test": ["00093D", "01606D"]}.items():
        for name in names:
            values = {
                "rgb": rng.integers(0, 256, (*size, 3), np.uint8),
                "ther": rng.integers(0, 256, size, np.uint8),
                "labels": rng.integers(0, 9, size).astype(np.uint8),
            }
            for folder, array in values.items():
                put(root / folder / f"{name}.png", array)
            content[name] = values
        (root / f"{split}.txt").write_text("\n".join(names) + "\n")
    return content


def write_nyuv2(root: Path, size=(12, 16)):
    """NYUv2: JPEG colour and HHA, whose values are those that the file decodes to; returns {id: {kind: values}}."""
    rng = np.random.default_rng(9)
    content = {}
    for split, names in {"train": ["2", "3", "4"], "test": ["0", "1"]}.items():
        for name in names:
            values = {"Label": rng.choice([*range(41), 255], size).astype(np.uint8)}
            put(root / "Label" / f"{name}.png", values["Label"])
            for folder in ("RGB", "HHA"):
                path = root / folder / f"{name}.jpg"
                put(path, rng.integers(0, 256, (*size, 3), np.uint8))
                values[folder] = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
            content[name] = values
        (root / f"{split}.txt").write_text("\n".join(names) + "\n")
    return content


def write_muses(root: Path, size=(18, 32)):
    """MUSES after its own projection to the camera; returns {(split, id): {kind: values}}."""
    rng = np.random.default_rng(10)
    content = {}
    for split in ("train", "val"):
        for w, weather in enumerate(("clear", "fog", "rain", "snow")):
            for t, time in enumerate(("day", "night")):
                name, place = f"REC{w:04d}_frame_{t:06d}", Path(split, weather, time)
                holes = rng.random(size) < 0.9
                metres = np.where(holes, 0, rng.uniform(1, 200, size))
                height = np.where(holes, 0, rng.uniform(-11, 40, size))
                lidar = ((np.stack([height, rng.uniform(0, 255, size) * ~holes, metres], 2) + 100) * 150).astype(
                    np.uint16
                )
                radar = lidar[::-1].copy()
                radar[..., 0] = 15000
                event = rng.integers(0, 256, (*size, 3), np.uint8)
                event[..., 0] = 0
                values = {
                    "rgb": rng.integers(0, 256, (*size, 3), np.uint8), "event": event, "lidar": lidar, "radar": radar,
                    "label": rng.choice([*range(19), 255], size).astype(np.uint8),
                }  # fmt: skip
                put(root / "frame_camera" / place / f"{name}_frame_camera.png", values["rgb"])
                put(root / "gt_semantic" / place / f"{name}_gt_labelTrainIds.png", values["label"])
                put(root / "gt_semantic" / place / f"{name}_gt_labelColor.png", values["rgb"])  # not to be picked up
                for kind, sensor in (("event", "event_camera"), ("lidar", "lidar"), ("radar", "radar")):
                    put(root / "projected_to_rgb" / sensor / place / f"{name}_{sensor}.png", values[kind])
                content[split, f"{weather}/{time}/{name}"] = values
    return content
