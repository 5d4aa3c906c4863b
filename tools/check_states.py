#!/usr/bin/env python3
"""Checks that states go from litemamba to lite-mamba 0.2.6 and back: what tests/ cannot, as it needs PyTorch.

    python3 tools/check_states.py [--litemamba build/litemamba] [--device cpu]...

For each golden states-VARIANT of tests/goldens: `litemamba run --save-state` runs its first 50 tokens; lite-mamba takes the file
and goes on, and so does lite-mamba from its own state: the outputs may differ by 1e-5 of the largest. Then the other way:
`litemamba run --load-state` goes on from the file that lite-mamba wrote, and from one that holds what litemamba wrote and
lite-mamba then moved on by 10 tokens.
"""
import argparse
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch

import goldens
import goldens_states as gs

LIMIT = 1e-5


def save(path, conv, ssm):
    """Caches of lite-mamba as a file."""
    goldens.write_io(os.path.dirname(path), {**{f"conv_state.{k}": c.numpy() for k, c in enumerate(conv)}, "ssm_state": ssm.numpy()},
                     os.path.basename(path))


def load(path):
    """A file as caches of lite-mamba."""
    arrays = goldens.read_arrays(path)
    conv = [arrays[f"conv_state.{k}"] for k in range(len(arrays) - 1)]
    return [torch.from_numpy(c.copy()) for c in conv], torch.from_numpy(arrays["ssm_state"].copy())


def run(options, device, folder, work, x, *states):
    np.save(os.path.join(work, "x.npy"), x)
    subprocess.run([options.litemamba, "run", folder, "--device", device, "--input", os.path.join(work, "x.npy"), "--output",
                    os.path.join(work, "y.npy"), *states], check=True)
    return np.load(os.path.join(work, "y.npy"))


def check(options, device, variant, arguments, work):
    folder = os.path.join(goldens.TREE, f"states-{variant}")
    io, block = goldens.read_io(folder), gs.block_of(folder, variant, arguments)
    x, more = io["x"][:, :gs.STEPS], io["x"][:, gs.STEPS:]
    ours, moved = os.path.join(work, "ours.safetensors"), os.path.join(work, "moved.safetensors")
    run(options, device, folder, work, x, "--save-state", ours)
    conv, ssm = load(ours)
    there = goldens.stream_from(block, torch.from_numpy(more.copy()), conv, ssm).numpy()
    here = run(options, device, folder, work, more, "--load-state", os.path.join(folder, "state.safetensors"))
    conv, ssm = load(ours)
    goldens.stream_from(block, torch.from_numpy(more[:, :10].copy()), conv, ssm)
    save(moved, conv, ssm)
    back = run(options, device, folder, work, more[:, 10:], "--load-state", moved)
    errors = [goldens.error(there, io["y"]), goldens.error(here, io["y"]), goldens.error(back, io["y"][:, 10:])]
    print(f"{device:10} {variant:10} ours there {errors[0]:.1e}   theirs here {errors[1]:.1e}   there and back {errors[2]:.1e}")
    return max(errors) <= LIMIT


def main():
    parser = argparse.ArgumentParser(description="Check that states go from litemamba to lite-mamba and back.")
    parser.add_argument("--litemamba", default=os.path.join(os.path.dirname(__file__), "..", "build", "litemamba"))
    parser.add_argument("--device", action="append", help="of litemamba; may be given more than once [cpu]")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work, torch.no_grad():
        good = [check(options, device, variant, arguments, work)
                for device in options.device or ["cpu"] for variant, arguments in gs.CASES.items()]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
