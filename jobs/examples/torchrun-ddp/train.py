"""Data-parallel training with PyTorch: `torchrun --nproc-per-node 2 train.py`, or a Trainyard job.

A perceptron learns which of ten points in space a noisy copy came from. Nothing here is special to
Trainyard but `save` and `load`, which use its folders where it names them.
"""

import argparse
import json
import os
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

FEATURES, CLASSES = 32, 10


def batch(step, rank, size, centers):
    """The samples of one rank's step: the same whenever they are asked for."""
    generator = torch.Generator().manual_seed(step * 10_000 + rank)
    labels = torch.randint(CLASSES, (size,), generator=generator)
    return centers[labels] + torch.randn(size, FEATURES, generator=generator), labels


def save(folder, step, state):
    """A checkpoint is a folder that appears under its name when all of it is on disk."""
    tmp, done = folder / f".step-{step:012}.tmp", folder / f"step-{step:012}"
    tmp.mkdir(parents=True, exist_ok=True)
    torch.save(state, tmp / "state.pt")
    (tmp / "checkpoint.json").write_text(json.dumps({"format": 1, "step": step, "parts": 1}))
    for path in [*tmp.iterdir(), tmp]:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    if not done.exists():
        tmp.rename(done)


def load():
    """The checkpoint that this attempt resumes from, if any."""
    file = Path(os.environ.get("YARD_RESUME_DIR") or ".") / "state.pt"
    return torch.load(file) if file.exists() else None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=64)
    args = parser.parse_args()

    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    print(f"rank {rank} of {world}: started", flush=True)
    torch.manual_seed(0)
    centers = torch.randn(CLASSES, FEATURES)
    model = nn.Sequential(nn.Linear(FEATURES, 128), nn.ReLU(), nn.Linear(128, CLASSES))
    ddp = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(ddp.parameters(), lr=0.05, momentum=0.9)
    first = 0
    if state := load():
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
        print(f"rank {rank} of {world}: resumed from step {first}", flush=True)

    folder = Path(os.environ.get("YARD_CHECKPOINT_DIR", "checkpoints"))
    every, saved = float(os.environ.get("YARD_CHECKPOINT_EVERY", 60)), time.monotonic()
    for step in range(first, args.steps):
        inputs, labels = batch(step, rank, args.batch_size, centers)
        optimizer.zero_grad()
        loss = F.cross_entropy(ddp(inputs), labels)
        loss.backward()
        optimizer.step()
        if (step + 1) % 20 == 0:
            print(f"rank {rank} of {world}: step {step + 1}/{args.steps} loss {loss.item():.4f}", flush=True)
        if rank == 0 and time.monotonic() - saved >= every:
            saved = time.monotonic()
            save(folder, step + 1, {"step": step + 1, "model": model.state_dict(), "optimizer": optimizer.state_dict()})

    inputs, labels = batch(args.steps, world + rank, 2000, centers)
    right = (model(inputs).argmax(1) == labels).sum().double()
    dist.all_reduce(right)
    if rank == 0:
        print(f"accuracy {right.item() / (2000 * world):.4f}", flush=True)
        if artifacts := os.environ.get("YARD_ARTIFACT_DIR"):
            Path(artifacts).mkdir(parents=True, exist_ok=True)
            torch.save(model.state_dict(), Path(artifacts) / "model.pt")
            Path(artifacts, "metrics.json").write_text(json.dumps({"val_accuracy": right.item() / (2000 * world)}))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
