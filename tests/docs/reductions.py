"""What is made smaller than the pages say, so that all of them run in minutes. The whole of it, on one screen.

A command keeps its own words. Behind them come those of the longest entry that it begins with; of an option that is
given twice the last one counts.
"""

LESS = {
    # One pass over a few samples of few pixels; folders of data are as small as their stand-ins.
    "memorysam train": "--train.epochs 1 --train.warmup-epochs 0 --train.batch-size 2 --train.accumulate 1"
    " --model.image-size 64 96 --data.scenes 8 4 4 --data.workers 0",
    "memorysam demo": "--data.scenes 8 4 4 --data.workers 0 --model.image-size 64 64",
    "memorysam evaluate": "--workers 0",
    # RMM is left out; docs/robustness.md has it with runs/micro.
    "memorysam evaluate runs/rgbdel --robustness": "--workers 0 --robustness-parts emm nm",
    "memorysam evaluate RGBDEL_epoch95_65.38.pth": "--workers 0 --image-size 64 64",
    "memorysam evaluate RGBDEL_epoch95_65.38.pth --dataset deliver --root data/DELIVER --robustness": "--workers 0"
    " --image-size 64 64 --robustness-parts emm nm",
    "memorysam evaluate micro": "--workers 0 --dataset data/scenes",  # its own 300 scenes are drawn, not read
    "memorysam export runs/rgbdel": "--image-size 64 96",
    "memorysam reproduce": "--toy-scenes 8 --toy-epochs 1 --seeds 1",
    "memorysam compare": "--scenes 8 --epochs 1 --val-scenes 2 --test-scenes 2 --seeds 1 --lrs 0.001",
    "memorysam benchmark": "--size 64 --batch 1 --repeats 1 --threads 1",
    # Fresh processes know real sizes only.
    "memorysam benchmark --backbone sam2-base-plus --start-up": "--backbone micro --size 64 --repeats 1",
    "memorysam app": "--no-browser",
    "memorysam view": "--no-browser",
    "python benchmarks/potholes.py": "--seeds 1",
    "python benchmarks/export.py": "--models micro --sizes 64x96 --modalities 2 --threads 1",
    "python -m tests.fuzz": "--inputs 20",
    # They run where they stand; here it is that they are there.
    "python -m pytest": "--collect-only --quiet",
    "python -m pytest tests/evaluation/test_metrics.py -k by_hand": "--quiet",
    # A virtual environment, but nothing is installed into it.
    "python3 -m venv": "--without-pip",
}

RUNS = {
    "model.image_size": [64, 96],
    "data.scenes": [8, 4, 4],
    "data.workers": 0,
    "train.epochs": 1,
    "train.warmup_epochs": 0,
    "train.batch_size": 2,
    "train.accumulate": 1,
}
"""Settings of the runs of `reproduce`, `compare` and benchmarks/potholes.py, which have no options for them."""

CONSTANTS = {
    "memorysam.benchmark.memory_table.BACKBONES": ("sam2-base-plus",),
    "memorysam.benchmark.memory_table.SIZES": (64,),
    "memorysam.benchmark.memory_table.MODALITIES": (1, 2),
    "memorysam.benchmark.machine.SIDES": (256,),
}
"""What `memorysam benchmark` goes through: models whose memory is counted, matrices that tell the machine's limits."""

_NARROW = {
    "embed": (16, 32, 64, 128),
    "width": 64,
    "attention_mlp": 256,
    "decoder_heads": 4,
    "decoder_mlp": 256,
    "fuser_mlp": 128,
}
_SHORT = {"global_blocks": (3,), "attention_layers": 2}
BACKBONES = {
    "tiny": _NARROW,  # with as many blocks as in the release's checkpoint, whose names are used
    "small": {**_NARROW, **_SHORT, "blocks": (1, 1, 3, 1)},
    "base-plus": {**_NARROW, **_SHORT, "blocks": (1, 1, 4, 1)},
    "large": {**_NARROW, **_SHORT, "blocks": (1, 1, 5, 1)},
}
"""What is smaller in a SAM2 backbone; its name stays, and so do those of files with its weights."""
MIT = {"widths": (16, 32, 80, 128), "embed": 64}
"""The same for every MiT."""

AGAIN = {
    # On one page, two ways to the same thing: the second one finds what was before the first.
    'model.save_pretrained("shared/potholes")': ["shared/potholes", "user/potholes"],
}
"""The line of a block before which something on the stage, or on the Hub, is taken away."""


def less(text: str) -> list[str]:
    """Return the words to put behind a command."""
    found = [begin for begin in LESS if f"{text} ".startswith(f"{begin} ")]
    return LESS[max(found, key=len)].split() if found else []
