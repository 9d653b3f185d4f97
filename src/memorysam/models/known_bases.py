"""Published weights that training starts from: what they are called where, and under which licence they are."""

import re
from dataclasses import dataclass

from memorysam.models.hub import FILES


@dataclass(frozen=True)
class KnownBase:
    """Weights as their publishers offer them."""

    title: str
    hub: str | None
    """Their id on the Hub, where they are there."""
    license: str = "unknown"
    """An identifier that the Hub knows; `other` with a name and a link; `unknown`."""
    license_name: str | None = None
    license_link: str | None = None

    @property
    def licence(self) -> str:
        """For people."""
        return {"apache-2.0": "Apache-2.0"}.get(self.license, self.license_name or self.license)


_MIT = {
    "license": "other",
    "license_name": "nvidia-source-code-license-for-segformer",
    "license_link": "https://github.com/NVlabs/SegFormer/blob/master/LICENSE",
}
_SIZES = {"t": "tiny", "s": "small", "b": "base", "l": "large", "h": "huge"}


def known_base(name: str) -> KnownBase | None:
    """Return what is known of weights by their file name or Hub id; None where it is nothing.

    Args:
        name: `sam2.1_hiera_tiny.pt`, `facebook/sam2.1-hiera-tiny`, `facebook/sam2.1-hiera-tiny@main`, ...
    """
    last = re.split(r"[/\\]", name.partition("@")[0])[-1].lower()
    for ending in FILES:
        last = last.removesuffix(ending)
    if found := re.fullmatch(r"(sam2(?:\.1)?)[_-]hiera[_-](tiny|small|base[_-]plus|large)", last):
        hub = f"facebook/{found[1]}-hiera-{found[2].replace('_', '-')}"
        return KnownBase(f"{found[1].upper().replace('SAM2', 'SAM 2')} (Meta)", hub, "apache-2.0")
    if found := re.fullmatch(r"sam[_-]vit[_-](b|l|h|base|large|huge)(_[0-9a-f]+)?", last):
        return KnownBase("SAM (Meta)", f"facebook/sam-vit-{_SIZES.get(found[1], found[1])}", "apache-2.0")
    if found := re.fullmatch(r"mit[_-](b[0-5])", last):
        return KnownBase("MiT (NVIDIA, not for commercial use)", f"nvidia/mit-{found[1]}", **_MIT)
    if re.fullmatch(r"resnet101-[0-9a-f]+", last):
        return KnownBase("ResNet-101 (torchvision)", None)
    return None
