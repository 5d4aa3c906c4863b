#!/usr/bin/env python3
"""Makes the goldens of lite-mamba 0.2.6's TensorFlow blocks; see goldens.py, which has the options and the format.

Needs tensorflow and lite-mamba; torch is not imported (lite_mamba's own __init__ would). Here y, y_steps and the states are
what TensorFlow computes in float32; its scan casts to float32, so y64 is block64's, on the exported weights.

What tf_mamba.py does, read and checked by these goldens: SiLU after each depthwise convolution (left padding, oldest tap
first), softmax gates in ptcn and dpwc with two branches or more and none with one, softplus of dt_proj with its bias, SiLU
of z; the same as PyTorch's. Its convolution states are (B, S_k, d_inner). TFBaselineMamba fixes conv_dilations, so a
fourth positional argument raises TypeError; allocate_inference_cache takes a fractional expand, which PyTorch's does not.
"""
import importlib
import importlib.util
import json
import os
import sys
import types

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np

import export as ex
import goldens

CASES = [
    ("tf-baseline", "TFBaselineMamba", dict(d_model=16), 2, 30, None),
    ("tf-baseline-expand-1.5", "TFBaselineMamba", dict(d_model=10, expand=1.5, d_conv=2, bias=True), 2, 20, None),
    ("tf-ptcn", "TFPTCNMamba", dict(d_model=16, d_conv=3, conv_dilations=(1, 2, 4)), 2, 30, None),
    ("tf-ptcn-one-branch", "TFPTCNMamba", dict(d_model=8, conv_dilations=(3,), bias=True), 3, 20, None),
    ("tf-ptcn-mamba", "TFMamba", dict(d_model=12, conv_dilations=(1, 2), conv_bias=False, dt_rank=3), 1, 20, None),
    ("tf-stcn", "TFSTCNMamba", dict(d_model=16, d_conv=3, conv_dilations=(1, 2, 4), bias=True), 2, 30, None),
    ("tf-stcn-one-branch", "TFSTCNMamba", dict(d_model=8, conv_dilations=(2,), d_state=5), 2, 20, None),
    ("tf-dpwc", "TFDPWCMamba", dict(d_model=16, d_conv=3, conv_dilations=(1, 2, 4)), 2, 30, None),
    ("tf-dpwc-one-branch", "TFDPWCMamba", dict(d_model=8, conv_bias=False), 2, 20, None),
    ("tf-dpwc-f16", "TFDPWCMamba", dict(d_model=8, conv_dilations=(1, 3)), 2, 20, "float16"),
    ("tf-ptcn-bf16", "TFPTCNMamba", dict(d_model=8, conv_dilations=(1, 3)), 2, 20, "bfloat16"),
]


def import_tf_mamba():
    """lite_mamba.tf_mamba without the package's __init__, which imports torch."""
    spec = importlib.util.find_spec("lite_mamba")
    if spec is None:
        raise SystemExit("goldens_tf.py: lite_mamba is not installed (pip install --no-deps lite-mamba==0.2.6)")
    package = types.ModuleType("lite_mamba")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["lite_mamba"] = package
    return importlib.import_module("lite_mamba.tf_mamba")


def assign(block, state):
    """Puts tensors with PyTorch's names and layouts into a block: the reverse of what the export does, written apart."""
    for name, value in state.items():
        owner, _, leaf = name.rpartition(".")
        value = value.astype(np.float32)
        if name in ("A_log", "D"):
            getattr(block, name).assign(value)
        elif name == "conv_gates":
            if block.conv_gates is not None:
                block.conv_gates.assign(value)
        elif owner.startswith("pw_conv1d_layers"):
            dense = block.pw_layers[int(owner.rsplit(".", 1)[1])]
            dense.kernel.assign(value[:, :, 0].T) if leaf == "weight" else dense.bias.assign(value)
        elif "conv1d" in owner:
            i = 0 if owner == "conv1d" else int(owner.rsplit(".", 1)[1])
            block.dw_kernels[i].assign(value[:, 0, :].T) if leaf == "weight" else block.dw_biases[i].assign(value)
        else:
            dense = getattr(block, owner)
            dense.kernel.assign(value.T) if leaf == "weight" else dense.bias.assign(value)


def tf_golden(tf, module, root, name, cls, arguments, batch, length, dtype):
    folder, random = os.path.join(root, name), np.random.RandomState(goldens.seed_of(name))

    def make():
        block = getattr(module, cls)(**arguments)
        block(tf.zeros((1, 2, arguments["d_model"])))  # makes the weights
        return block

    block = make()
    shapes = {n: tuple(v.shape) for n, v in ex._tf_block(block)[0].items()}
    drawn = {n: goldens.random_weight(random, n, shape) for n, shape in sorted(shapes.items())}
    assign(block, drawn)
    config = ex.export(block, folder, dtype=dtype)
    assert config == json.load(open(os.path.join(folder, "config.json"), encoding="utf-8"))
    weights = goldens.read_weights(folder)
    # The same weights have to come out as went in, but for gates that the block does not have.
    for n, value in weights.items():
        absent = n == "conv_gates" and block.conv_gates is None
        value_in = np.ones(1) if absent else drawn[n]
        assert goldens.error(value, value_in) < {None: 1e-7, "float16": 5e-4, "bfloat16": 4e-3}[dtype], f"{name}: {n}"

    block = make()
    assign(block, weights)
    x = goldens.random_input(random, (batch, length, arguments["d_model"]))
    arrays = {"x": x, "y": block(tf.constant(x)).numpy()}
    conv, ssm = block.allocate_inference_cache(batch, length)
    steps = []
    for t in range(length):
        y, conv, ssm = block.step(tf.constant(x[:, t:t + 1]), conv, ssm)
        steps.append(y.numpy())
    arrays["y_steps"], arrays["ssm_state"] = np.concatenate(steps, 1), ssm.numpy()
    arrays.update({f"conv_state.{k}": state.numpy().transpose(0, 2, 1) for k, state in enumerate(conv)})

    x = x.astype(np.float64)
    arrays["y64"], (own_conv, own_ssm) = goldens.block64(config, weights, x)
    for tensor, own in (("y", arrays["y64"]), ("y_steps", arrays["y64"]), ("ssm_state", own_ssm),
                        *((f"conv_state.{k}", state) for k, state in enumerate(own_conv))):
        assert goldens.error(arrays[tensor], own) < 2e-6, f"{name}: {tensor} is not what the documentation's block gives"
    goldens.check_pieces(name, config, weights, x, arrays["y64"])
    goldens.check_sensitivity(name, config, weights, x, arrays["y64"])
    goldens.write_io(folder, arrays)
    goldens.report(name, arrays)
    return name


def tf_goldens(root):
    module = import_tf_mamba()
    import tensorflow as tf
    tf.config.threading.set_intra_op_parallelism_threads(1)
    return [tf_golden(tf, module, root, *case) for case in CASES]


if __name__ == "__main__":
    sys.exit(goldens.main(tf_goldens, "tf-", "Make tests/goldens with lite-mamba's TensorFlow blocks."))
