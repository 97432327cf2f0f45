"""Python's side of the parity test: the recipe `image-classifier`, by torch and DistributedDataParallel.

Reads the initial weights that yard-train wrote (`--trace`), takes the same steps on the same samples,
and writes the loss of every step to `losses-<rank>.txt` in its own folder. Run one process a rank with
torchrun's environment.
"""

import argparse
import gzip
import json
import math
import os
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15


def splitmix64(state):
    """Yields the numbers of SplitMix64 from this state."""
    while True:
        state = (state + GOLDEN) & MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        yield z ^ (z >> 31)


def order(samples, seed, epoch, rank, world):
    """This rank's samples in this epoch, as the trainer's `data::Order` deals them."""
    random = splitmix64(next(splitmix64(seed)) ^ ((epoch * GOLDEN) & MASK))
    items = list(range(samples))
    for last in range(samples - 1, 0, -1):
        other = next(random) % (last + 1)
        items[last], items[other] = items[other], items[last]
    return items[rank::world]


class ConvNorm(nn.Module):
    def __init__(self, inputs, outputs, size, stride):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return self.norm(self.conv(x))


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.first = ConvNorm(inputs, outputs, 3, stride)
        self.second = ConvNorm(outputs, outputs, 3, 1)
        self.shortcut = None if inputs == outputs and stride == 1 else ConvNorm(inputs, outputs, 1, stride)

    def forward(self, x):
        y = self.second(F.relu(self.first(x)))
        return F.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResidualNet(nn.Module):
    def __init__(self, width, classes):
        super().__init__()
        self.stem = ConvNorm(1, width, 3, 2)
        self.block1 = Block(width, width, 1)
        self.block2 = Block(width, 2 * width, 2)
        self.block3 = Block(2 * width, 4 * width, 2)
        self.head = nn.Linear(4 * width, classes)

    def forward(self, x):
        x = F.relu(self.stem(x))
        return self.head(self.block3(self.block2(self.block1(x))).mean((2, 3)))


def read_idx(path, header):
    with gzip.open(path) as file:
        return np.frombuffer(file.read(), np.uint8)[header:].copy()


def read_safetensors(path):
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    body = raw[8 + length :]
    tensors = {}
    for name, entry in json.loads(raw[8 : 8 + length]).items():
        if name != "__metadata__":
            start, end = entry["data_offsets"]
            values = np.frombuffer(body[start:end], np.float32).copy()
            tensors[name] = torch.from_numpy(values).reshape(entry["shape"])
    return tensors


def learning_rate(params, step, total):
    warmup = sum(1 for s in range(total) if s < params["warmup"] * total)
    if step < warmup:
        return params["lr"] * (step + 1) / warmup
    return params["lr"] * 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(total - warmup, 1)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--params-json", type=json.loads, required=True)
    parser.add_argument("--initial", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    params = args.params_json
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()

    data = Path(params["data"])
    images = torch.from_numpy(read_idx(data / "train-images-idx3-ubyte.gz", 16)).reshape(-1, 1, 28, 28)
    labels = torch.from_numpy(read_idx(data / "train-labels-idx1-ubyte.gz", 8)).long()
    model = ResidualNet(params["width"], int(labels.max()) + 1)
    missing, unexpected = model.load_state_dict(read_safetensors(args.initial), strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing), (missing, unexpected)
    ddp = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(
        ddp.parameters(), lr=0.0, momentum=params["momentum"], weight_decay=params["weight_decay"]
    )

    batch, total = params["batch_size"], params["max_steps"]
    steps_per_epoch = len(labels) // world // batch
    with open(args.out / f"losses-{rank}.txt", "w") as losses:
        for step in range(total):
            epoch, index = divmod(step, steps_per_epoch)
            if index == 0:
                mine = torch.tensor(order(len(labels), params["seed"], epoch, rank, world))
            chosen = mine[index * batch : (index + 1) * batch]
            inputs = images[chosen].float().div(255.0).sub(0.2860).div(0.3530)
            optimizer.zero_grad()
            loss = F.cross_entropy(ddp(inputs), labels[chosen])
            loss.backward()
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(params, step, total)
            optimizer.step()
            print(repr(loss.item()), file=losses)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
