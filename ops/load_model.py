"""Loads a pulled image classifier with plain PyTorch and compares its outputs with the trainer's.

Knows nothing of Trainyard. It reads `model.pt` (TorchScript), `signature.json` (how a pixel becomes
a number) and `sample_outputs.json` (what the trainer's model said of some test images), and the
images themselves from the data set's own files.
"""

import gzip
import json
import pathlib
import sys

import numpy
import torch

DATA = pathlib.Path("/usr/share/datasets/fashion-mnist")


def test_images(rows: int, columns: int) -> torch.Tensor:
    """All test images, bytes as they are in the file."""
    header = 16
    content = gzip.decompress((DATA / "t10k-images-idx3-ubyte.gz").read_bytes())
    pixels = numpy.frombuffer(content, dtype=numpy.uint8, offset=header)
    return torch.from_numpy(pixels.reshape(-1, 1, rows, columns).copy())


def main() -> int:
    folder = pathlib.Path(sys.argv[1])
    model = torch.jit.load(folder / "model.pt").eval()
    signature = json.loads((folder / "signature.json").read_text())
    sample = json.loads((folder / "sample_outputs.json").read_text())
    scaling = signature["normalization"]
    _, _, rows, columns = signature["inputs"][0]["shape"]
    images = test_images(rows, columns)[sample["indices"]]
    inputs = (images.float() / 255 - scaling["mean"]) / scaling["std"]
    wanted = torch.tensor(sample["logits"])
    with torch.no_grad():
        found = model(inputs)
    gap = (found - wanted).abs().max().item()
    print(f"{len(wanted)} images, labels {sample['labels']}, classified {found.argmax(1).tolist()}")
    print(f"largest difference from the trainer's outputs: {gap:.1e}")
    return 0 if torch.allclose(found, wanted, atol=1e-5) else 1


if __name__ == "__main__":
    sys.exit(main())
