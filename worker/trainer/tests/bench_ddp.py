"""Steps a second of a perceptron under Python's DistributedDataParallel: what `yard-train bench-ddp`
measures, in the same way and with the same JSON. Starts its own ranks unless RANK is set.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--warmup", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def launch(ranks):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = dict(os.environ, WORLD_SIZE=str(ranks), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    children = [
        subprocess.Popen([sys.executable, *sys.argv], env=dict(env, RANK=str(rank), LOCAL_RANK=str(rank)))
        for rank in range(ranks)
    ]
    return max(child.wait() for child in children)


def bench(args):
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    dist.init_process_group("gloo")
    torch.manual_seed(7)
    width = args.width
    model = nn.Sequential(
        nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)
    )
    ddp = DistributedDataParallel(model, gradient_as_bucket_view=True)
    optimizer = torch.optim.SGD(ddp.parameters(), lr=0.01, momentum=0.9)
    inputs, targets = torch.randn(args.batch_size, width), torch.randint(10, (args.batch_size,))

    def step():
        optimizer.zero_grad()
        loss = F.cross_entropy(ddp(inputs), targets)
        loss.backward()
        optimizer.step()
        return loss

    first_loss = step().item()
    for _ in range(1, args.warmup):
        step()
    dist.barrier()
    started = time.perf_counter()
    for _ in range(args.steps):
        loss = step()
    last_loss = loss.item()
    dist.barrier()
    seconds = time.perf_counter() - started
    if dist.get_rank() == 0:
        result = {
            "implementation": "python-ddp",
            "backend": "gloo",
            "device": "Cpu",
            "width": width,
            "batch_size": args.batch_size,
            "world_size": dist.get_world_size(),
            "steps": args.steps,
            "steps_per_s": args.steps / seconds,
            "first_loss": first_loss,
            "last_loss": last_loss,
            "weights_sum": sum(p.double().sum().item() for p in model.parameters()),
        }
        print(json.dumps(result), flush=True)
    dist.destroy_process_group()


def main():
    args = arguments()
    if "RANK" not in os.environ:
        sys.exit(launch(args.ranks))
    bench(args)


if __name__ == "__main__":
    main()
