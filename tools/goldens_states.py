#!/usr/bin/env python3
"""Makes the goldens of states that lite-mamba 0.2.6 saved: see goldens.py, which has the options and most of the format.

A folder states-VARIANT has config.json and model.safetensors as the others, and

    state.safetensors   what lite-mamba's caches hold after STEPS steps, named and laid out as host/snapshot.c reads them
                        (conv_state.k (B, d_inner, S_k), the bare tensor conv_state of baseline, ssm_state)
    io.safetensors      x (B, STEPS + MORE, d_model)
                        y (B, MORE, d_model): how lite-mamba goes on from there, step by step, in float32; y64 in float64

Before one is written, the block of README's "What a block computes" (goldens.block64) has to come to the same state and to go on
the same way in float64.
"""
import os
import sys

import numpy as np

import export as ex
import goldens

BATCH, STEPS, MORE = 2, 50, 30
CASES = {
    "baseline": dict(d_model=16),
    "ptcn": dict(d_model=20, d_conv=3, conv_dilations=(1, 2, 5)),
    "stcn": dict(d_model=20, d_conv=3, conv_dilations=(4, 1), d_state=20, bias=True),
    "dpwc": dict(d_model=16, d_conv=2, conv_dilations=(1, 9)),
}


def block_of(folder, variant, arguments):
    """lite-mamba's module with a folder's weights."""
    return goldens.load_block(goldens.make_block(variant, arguments), goldens.read_weights(folder))


def names_of(module, count):
    """What its convolution states are called in a file."""
    return [f"conv_state.{k}" for k in range(count)] if hasattr(module, "conv_state_lens") else ["conv_state"]


def states_golden(root, variant, arguments):
    import torch
    name = f"states-{variant}"
    folder, random = os.path.join(root, name), np.random.RandomState(goldens.seed_of(name))
    block = goldens.make_block(variant, arguments)
    goldens.randomize(block, random, {})
    config = ex.export(block, folder)
    block = block_of(folder, variant, arguments)
    x = goldens.random_input(random, (BATCH, STEPS + MORE, arguments["d_model"]))
    with torch.no_grad():
        before, after = torch.from_numpy(x).split([STEPS, MORE], 1)
        _, conv, ssm = goldens.stream(block, before, torch.float32)
        # copies: the steps below move these on in place
        state = {key: value.numpy().copy() for key, value in [*zip(names_of(block, len(conv)), conv), ("ssm_state", ssm)]}
        y = goldens.stream_from(block, after, conv, ssm).numpy()
        with goldens.double_throughout(torch):
            block.double()
            _, conv64, ssm64 = goldens.stream(block, before.double(), torch.float64)
            y64 = goldens.stream_from(block, after.double(), conv64, ssm64).numpy()
    own, own_state = goldens.block64(config, goldens.read_weights(folder), x.astype(np.float64)[:, :STEPS])
    for key, value in [*zip(names_of(block, len(conv)), own_state[0]), ("ssm_state", own_state[1])]:
        assert goldens.error(state[key], value) < 2e-6, f"{name}: {key} after {STEPS} steps"
    own, _ = goldens.block64(config, goldens.read_weights(folder), x.astype(np.float64)[:, STEPS:], own_state)
    assert goldens.error(own, y64) < 1e-12, f"{name}: the documentation's block goes on otherwise"
    goldens.write_io(folder, state, "state.safetensors")
    goldens.write_io(folder, {"x": x, "y": y, "y64": y64})
    goldens.report(name, {"y": y, "y64": y64})
    return name


def states_goldens(root):
    import torch
    torch.set_num_threads(1)
    return [states_golden(root, variant, arguments) for variant, arguments in CASES.items()]


if __name__ == "__main__":
    sys.exit(goldens.main(states_goldens, "states-", "Make tests/goldens of states that lite-mamba saved."))
