#!/usr/bin/env python3
"""Makes tests/goldens: small blocks with random weights and what lite-mamba 0.2.6 computes with them.

    python3 tools/goldens.py                 writes every PyTorch golden and the index
    python3 tools/goldens.py --check         makes them again elsewhere and compares with the tree; 1 if they differ
    python3 tools/goldens_tf.py [--check]    the same for TensorFlow's
    python3 tools/goldens_states.py [--check]  states that lite-mamba saved, and how it goes on from them

Needs torch, numpy, lite-mamba 0.2.6 and einops. Each golden is a folder:

    config.json, model.safetensors   written by tools/export.py from the lite_mamba module
    io.safetensors (all F32)         x (B, L, d_model)
                                     y        lite_mamba in float32
                                     y64      lite_mamba in float64, rounded once
                                     y_steps  lite_mamba in float32, x fed token by token through step()
                                     conv_state.k (B, d_inner, S_k) and ssm_state (B, d_inner, d_state) after those steps

index.txt lists the blocks; index_states.txt those of goldens_states.py; index_lm.txt the language models, whose io.safetensors has tokens (B, L), and logits
(B, L, vocabulary) of lite_mamba in float32 and logits64 in float64.

What each is made from is read back from the files, so a golden also shows that the export is complete. Weights and inputs
come from NumPy's RandomState, whose stream is frozen: the same files anywhere; y may differ in its last bits.

Before a golden is written, three things have to hold:
  - `block64` below, written from README's "What a block computes" with nothing of lite_mamba in it, agrees with
    lite_mamba's float64 within 1e-12 of max|y|: what is documented is what the package does;
  - lite_mamba's float64 steps, and block64 in pieces, agree with its forward within 1e-12 too, as do the states;
  - every tensor matters: y moves by more than 1e-4 of max|y| when that tensor changes by 10 %, and when a dilation is off
    by one, so that no golden passes with a gate, a branch or A ignored.

Where lite_mamba 0.2.6 cannot be followed to the letter:
  - `module.double()` still scans in float32, because the scan says .float(); it is made to say .double() here.
  - forward with inference_params raises AttributeError on Mamba, PTCNMamba and STCNMamba (no _get_states_from_cache), and
    elsewhere restarts from zeros; streaming goldens use step() alone.
  - allocate_inference_cache raises TypeError when expand is a float (torch.zeros of d_model * 1.5); step() itself works, so
    the caches are made here.
  - L = 0 raises ZeroDivisionError; there is no golden of it.
  - step() in 16 bits computes softplus, gate and state in 16 bits; 16-bit goldens are the rounded weights in float32.
  - softplus is x above 20, off by 2e-9 there: no golden of float32 can see it, only the 1e-12 above, eased where it matters.
"""
import argparse
import contextlib
import math
import os
import shutil
import sys
import tempfile
import zlib

import numpy as np

import export as ex

PREFIXES = ("tf-", "states-")  # of those that other programs make
TREE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "goldens")
ALL = ("baseline", "ptcn", "stcn", "dpwc")
GATED = ("ptcn", "dpwc")
BRANCHED = ("ptcn", "stcn", "dpwc")

# name, variants, constructor arguments (baseline leaves conv_dilations out), B, L, and what else is special:
#   dtype       of the exported weights; "mixed" deals F32, F16 and BF16 out in turn
#   spelling    how branch 0 is named in the file: "conv1d", "numbered" or "both"
#   extreme     steps and decays far outside what training gives
#   steps       False: no streaming part (it would take long and add nothing)
CASES = [
    ("default", ALL, dict(d_model=16), 2, 33, {}),
    ("usual", ALL, dict(d_model=32, d_conv=3, conv_dilations=(1, 2, 4, 8)), 2, 50, {}),
    ("expand-1.5", ALL, dict(d_model=12, expand=1.5, conv_dilations=(1, 2)), 2, 21, {}),
    ("expand-1.3", ("ptcn",), dict(d_model=11, expand=1.3, conv_dilations=(1, 2)), 1, 19, {}),
    ("bias", ALL, dict(d_model=16, bias=True, conv_dilations=(1, 2)), 2, 20, {}),
    ("no-conv-bias", ALL, dict(d_model=16, conv_bias=False, conv_dilations=(1, 2)), 2, 20, {}),
    ("d-conv-1", ALL, dict(d_model=8, d_conv=1, conv_dilations=(1, 3)), 2, 20, {}),
    ("d-conv-2", ALL, dict(d_model=8, d_conv=2, conv_dilations=(1, 3)), 2, 20, {}),
    ("one-branch-dilation-3", BRANCHED, dict(d_model=16, conv_dilations=(3,)), 2, 24, {}),
    ("eight-branches", BRANCHED, dict(d_model=8, d_conv=3, conv_dilations=(1, 2, 3, 4, 5, 8, 13, 21)), 2, 60, {}),
    ("unsorted-dilations", BRANCHED, dict(d_model=8, conv_dilations=(5, 1, 2, 1)), 2, 30, {}),
    ("d-state-1", ALL, dict(d_model=16, d_state=1, conv_dilations=(1, 2)), 2, 33, {}),
    ("d-state-17", ALL, dict(d_model=8, d_state=17, conv_dilations=(1, 2)), 2, 33, {}),
    ("d-state-64", ALL, dict(d_model=8, d_state=64, conv_dilations=(1, 2)), 2, 33, {}),
    ("d-state-256", ALL, dict(d_model=8, d_state=256, conv_dilations=(1, 2)), 1, 20, {}),
    ("dt-rank-1", ALL, dict(d_model=24, dt_rank=1, conv_dilations=(1, 2)), 1, 25, {}),
    ("dt-rank-7", ALL, dict(d_model=8, dt_rank=7, conv_dilations=(1, 2)), 1, 25, {}),
    ("primes", ALL, dict(d_model=13, d_state=7, d_conv=5, dt_rank=3, conv_dilations=(1, 3, 7)), 3, 37, {}),
    ("length-1", ALL, dict(d_model=16, d_conv=3, conv_dilations=(1, 2)), 3, 1, {}),
    ("short", ALL, dict(d_model=16, d_conv=4, conv_dilations=(1, 16)), 2, 3, {}),
    ("long", ALL, dict(d_model=4, d_conv=3, conv_dilations=(1, 64)), 1, 4099, dict(steps=False)),
    ("extreme", ALL, dict(d_model=16, conv_dilations=(1, 2)), 2, 40, dict(extreme=True)),
    ("f16", ALL, dict(d_model=16, bias=True, conv_dilations=(1, 2)), 2, 20, dict(dtype="float16")),
    ("bf16", ALL, dict(d_model=16, bias=True, conv_dilations=(1, 2)), 2, 20, dict(dtype="bfloat16")),
    ("mixed", ALL, dict(d_model=13, bias=True, conv_dilations=(1, 2)), 2, 20, dict(dtype="mixed")),
    *((f"spelling-{spelling}", BRANCHED, dict(d_model=8, conv_dilations=(1, 2)), 1, 12, dict(spelling=spelling))
      for spelling in ("conv1d", "numbered", "both")),
]

# Language models beside those of models/: name, variant, block arguments, layers, vocabulary, tied head, epsilon, dtype.
LANGUAGE_MODELS = [
    ("lm-untied", "ptcn", dict(d_model=12, d_conv=3, conv_dilations=(1, 2), bias=True), 2, 61, False, 1e-3, None),
    ("lm-tied-bf16", "stcn", dict(d_model=13, expand=1.5, conv_dilations=(1, 3)), 3, 100, True, 1e-5, "bfloat16"),
]

# Largest |ours - y64| relative to max|y64| where it is not 2e-6, and why.
TOLERANCES = {}


# ---- a block in float64, from its documentation ---------------------------------------------------------------------

def silu(x):
    return x / (1 + np.exp(-x))


def block64(config, weights, x, state=None):
    """One block on x (B, L, d_model); `weights` as read from the file. Returns y and the state after it: a list of the
    last S_k inputs of each branch (B, d_inner, S_k), and the scan's s (B, d_inner, d_state)."""
    batch, length, _ = x.shape
    variant, taps, dilations = config["variant"], config["conv_kernel"], config["conv_dilations"]
    rank, states = config["time_step_rank"], config["state_size"]
    inner = int(config["expand"] * config["hidden_size"])
    if state is None:
        state = ([np.zeros((batch, inner, (taps - 1) * d + 1)) for d in dilations], np.zeros((batch, inner, states)))
    pasts, s = state
    w = lambda name: weights.get(name)

    xz = x @ w("in_proj.weight").T + (0 if w("in_proj.bias") is None else w("in_proj.bias"))
    u, z = xz[..., :inner], xz[..., inner:]

    def branch(k, h):
        name = "conv1d" if variant == "baseline" else f"{ex.BRANCH[variant]}.{k}"
        span = (taps - 1) * dilations[k]
        seen = np.concatenate([pasts[k].transpose(0, 2, 1), h], axis=1)  # S_k = span + 1 older inputs, then h
        c = np.zeros_like(h) if w(f"{name}.bias") is None else np.zeros_like(h) + w(f"{name}.bias")
        for j in range(taps):
            start = span + 1 - (taps - 1 - j) * dilations[k]
            c = c + w(f"{name}.weight")[:, 0, j] * seen[:, start:start + length]
        return silu(c), seen[:, seen.shape[1] - span - 1:].transpose(0, 2, 1)

    if variant in GATED:
        gates = np.exp(w("conv_gates") - w("conv_gates").max())
        gates = gates / gates.sum()
        mixed, after = 0, []
        for k in range(len(dilations)):
            c, past = branch(k, u)
            if variant == "dpwc":
                c = c @ w(f"pw_conv1d_layers.{k}.weight")[:, :, 0].T + w(f"pw_conv1d_layers.{k}.bias")
            mixed = mixed + gates[k] * c
            after.append(past)
        u = mixed
    else:
        after = []
        for k in range(len(dilations)):
            u, past = branch(k, u)
            after.append(past)

    projected = u @ w("x_proj.weight").T
    low, b, c = np.split(projected, [rank, rank + states], axis=-1)
    delta = np.logaddexp(0, low @ w("dt_proj.weight").T + w("dt_proj.bias"))
    a = -np.exp(w("A_log"))
    y = np.empty_like(u)
    for t in range(length):
        s = np.exp(delta[:, t, :, None] * a) * s + (delta[:, t] * u[:, t])[..., None] * b[:, t, None, :]
        y[:, t] = (s * c[:, t, None, :]).sum(-1) + w("D") * u[:, t]
    y = (y * silu(z)) @ w("out_proj.weight").T + (0 if w("out_proj.bias") is None else w("out_proj.bias"))
    return y, (after, s)


# ---- files ----------------------------------------------------------------------------------------------------------

def read_weights(folder):
    """{name: float64 array} of a model.safetensors."""
    weights = {}
    for name, (code, shape, data) in ex.read_safetensors(os.path.join(folder, "model.safetensors")).items():
        if code == "BF16":
            array = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            array = np.frombuffer(data, {"F32": "<f4", "F16": "<f2"}[code])
        weights[name] = array.reshape(shape).astype(np.float64)
    return weights


def write_io(folder, arrays, file="io.safetensors"):
    tensors = []
    for name, array in arrays.items():
        array = np.ascontiguousarray(array, np.float32)
        assert np.isfinite(array).all(), f"{folder}: {name} is not finite"
        tensors.append((name, "F32", array.shape, array.tobytes()))
    ex.write_safetensors(os.path.join(folder, file), tensors)


def read_io(folder):
    return read_arrays(os.path.join(folder, "io.safetensors"))


def read_arrays(path):
    """{name: array} of a file of F32."""
    return {name: np.frombuffer(data, "<f4").reshape(shape) for name, (_, shape, data) in ex.read_safetensors(path).items()}


def error(a, b):
    """max|a - b| relative to max|b|."""
    return float(np.abs(np.asarray(a, np.float64) - b).max() / max(np.abs(b).max(), 1e-300))


# ---- random weights and checks, for both frameworks -----------------------------------------------------------------

def seed_of(name):
    return zlib.crc32(name.encode())


def random_weight(random, name, shape, extreme=False):
    """Away from every initial value, so that each tensor shows in y. `name` is the PyTorch state_dict's."""
    leaf = name.split(".", 1)[-1] if ".layers." not in name else name
    uniform = lambda low, high: random.uniform(low, high, shape)
    if name.endswith("A_log"):
        return uniform(-6, 7) if extreme else np.log(np.arange(1, shape[-1] + 1)) * 0.7 + uniform(-0.8, 0.8)
    if name.endswith("dt_proj.bias"):
        if extreme:
            return uniform(-30, 30)
        dt = np.exp(uniform(math.log(2e-3), math.log(0.5)))
        return dt + np.log(-np.expm1(-dt))
    if name.endswith("conv_gates"):
        return uniform(-1.2, 1.2)
    if name.endswith((".D", "norm.weight", "norm_f.weight")) or name == "D":
        return uniform(0.4, 1.6)
    if name.endswith("embeddings.weight"):
        return uniform(-1, 1)
    fan_in = shape[1] if len(shape) == 2 else int(np.prod(shape[1:])) or 1
    gain = 3 if "conv1d" in name and "pw_" not in name else 2.5 if "x_proj" in name or extreme else 1.5
    if leaf.endswith("bias") or len(shape) == 1:
        return uniform(-0.5, 0.5)
    return uniform(-gain, gain) / math.sqrt(fan_in)


def random_input(random, shape, extreme=False):
    x = random.uniform(-1.7, 1.7, shape)
    if extreme:
        x[:, ::7] *= 30  # SiLU and softplus at both ends
        x[:, 3::11] = 0
    return x.astype(np.float32)


def check_pieces(name, config, weights, x, y64, limit=1e-12):
    """block64 in ragged pieces with carried state is one forward; returns the state at the end."""
    state, pieces, at, size = None, [], 0, 1
    while at < x.shape[1]:
        y, state = block64(config, weights, x[:, at:at + size], state)
        pieces.append(y)
        at, size = at + size, size * 3 + 1
    assert error(np.concatenate(pieces, 1), y64) < limit, f"{name}: block64 in pieces"
    return state


def check_sensitivity(name, config, weights, x, y64):
    """Every tensor and every dilation matters."""
    random = np.random.RandomState(1)
    alone = len(config["conv_dilations"]) == 1
    for tensor, value in weights.items():
        if (tensor == "conv_gates" and alone) or (tensor == "A_log" and x.shape[1] == 1):
            continue  # softmax of one gate is 1; the first token has no past to decay
        changed = {**weights, tensor: value * (1 + 0.1 * random.choice([-1, 1], value.shape)) + (value == 0)}
        moved = error(block64(config, changed, x)[0], y64)
        assert moved > 1e-4, f"{name}: {tensor} hardly matters ({moved:.1e})"
    for k, dilation in enumerate(config["conv_dilations"]):
        reach = (dilation if dilation > 1 else 2) if config["variant"] != "baseline" else 2
        if config["conv_kernel"] == 1 or x.shape[1] <= reach:
            continue  # no older tap, or none inside the sequence
        other = [d + (i == k) for i, d in enumerate(config["conv_dilations"])]
        moved = error(block64({**config, "conv_dilations": other}, weights, x)[0], y64)
        assert moved > 1e-4, f"{name}: dilation {k} hardly matters ({moved:.1e})"


def report(name, arrays):
    steps = f"  steps {error(arrays['y_steps'], arrays['y64']):.1e}" if "y_steps" in arrays else ""
    print(f"{name:32} float32 against float64 {error(arrays['y'], arrays['y64']):.1e}{steps}")


# ---- PyTorch --------------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def double_throughout(torch):
    """lite_mamba's own code in float64: it says .float() of A_log and inside the scan."""
    own = torch.Tensor.__dict__.get("float")
    torch.Tensor.float = lambda self: self.double()
    try:
        yield
    finally:
        if own is None:
            del torch.Tensor.float
        else:
            torch.Tensor.float = own


def make_block(variant, arguments):
    import lite_mamba
    cls = {"baseline": lite_mamba.BaselineMamba, "ptcn": lite_mamba.PTCNMamba, "stcn": lite_mamba.STCNMamba,
           "dpwc": lite_mamba.DPWCMamba}[variant]
    arguments = {key: value for key, value in arguments.items() if key != "conv_dilations" or variant != "baseline"}
    return cls(**arguments).eval()


def randomize(module, random, special):
    import torch
    with torch.no_grad():
        for name, parameter in sorted(module.named_parameters()):
            value = random_weight(random, name, tuple(parameter.shape), special.get("extreme", False))
            parameter.copy_(torch.from_numpy(np.asarray(value, np.float32)))
        if special.get("dtype") is not None:
            # Subnormal halves, and the smallest of them; both zeros.
            weight = next(p for n, p in module.named_parameters() if n.endswith("in_proj.weight"))
            weight[0, :5] = torch.tensor([3e-6, -6e-8, 6.1e-5, 0.0, -0.0])


def load_block(module, weights):
    """Puts a file's tensors into a fresh module, which has branch 0 under two names."""
    import torch
    state = {name: torch.from_numpy(value).float() for name, value in weights.items()}
    for name in module.state_dict():
        if name not in state:
            state[name] = next(state[n] for n in (name.replace("conv1d.", f"{layers}.0.", 1)
                                                  for layers in ("conv1d_layers", "dw_conv1d_layers")) if n in state)
    module.load_state_dict(state, strict=True)
    return module


def empty_cache(module, batch, dtype):
    """The list of convolution states of a new sequence, and its scan state."""
    import torch
    lengths = getattr(module, "conv_state_lens", [module.d_conv])
    conv = [torch.zeros(batch, module.d_inner, length, dtype=dtype) for length in lengths]
    return conv, torch.zeros(batch, module.d_inner, module.d_state, dtype=dtype)


def stream_from(module, x, conv, ssm):
    """x token by token through step(), which moves the states on in place: outputs."""
    import torch
    cache = conv if hasattr(module, "conv_state_lens") else conv[0]  # BaselineMamba takes a bare tensor
    return torch.cat([module.step(x[:, t:t + 1], cache, ssm)[0] for t in range(x.shape[1])], 1)


def stream(module, x, dtype):
    """x token by token from nothing: outputs, the list of convolution states, the scan state."""
    conv, ssm = empty_cache(module, x.shape[0], dtype)
    return stream_from(module, x, conv, ssm), conv, ssm


def export_mixed(block, folder):
    """F32, F16 and BF16 in turn over the tensors that may be of 16 bits."""
    import torch
    state = ex._canonical(dict(block.state_dict()))
    types = (torch.float16, torch.bfloat16, torch.float32)
    for i, name in enumerate(sorted(n for n in state if not ex._stays_float32(n))):
        state[name] = state[name].to(types[i % 3])
    ex.export_state(state, folder, **ex._torch_hints(block))


def respell(folder, variant, spelling):
    """What PyTorch users have: save_model keeps conv1d.*, save_file of a cleaned dict the numbered name."""
    path = os.path.join(folder, "model.safetensors")
    tensors = ex.read_safetensors(path)
    for leaf in ("weight", "bias"):
        numbered = f"{ex.BRANCH[variant]}.0.{leaf}"
        if spelling != "numbered":
            tensors[f"conv1d.{leaf}"] = tensors[numbered]
        if spelling == "conv1d":
            del tensors[numbered]
    ex.write_safetensors(path, [(name, *rest) for name, rest in tensors.items()])


def torch_golden(root, case, variant):
    import torch
    label, _, arguments, batch, length, special = case
    name = f"{variant}-{label}"
    folder = os.path.join(root, name)
    # The three spellings are three files of one block.
    random = np.random.RandomState(seed_of(name if "spelling" not in special else f"{variant}-spelling"))
    block = make_block(variant, arguments)
    randomize(block, random, special)
    if special.get("dtype") == "mixed":
        export_mixed(block, folder)
    else:
        ex.export(block, folder, dtype=special.get("dtype"))
    weights = read_weights(folder)
    if "spelling" in special:
        respell(folder, variant, special["spelling"])
    config = ex.json.load(open(os.path.join(folder, "config.json"), encoding="utf-8"))
    block = load_block(make_block(variant, arguments), weights)
    x = random_input(random, (batch, length, arguments["d_model"]), special.get("extreme", False))

    arrays = {"x": x}
    with torch.no_grad():
        arrays["y"] = block(torch.from_numpy(x)).numpy()
        if special.get("steps", True):
            y_steps, conv, ssm = stream(block, torch.from_numpy(x), torch.float32)
            arrays["y_steps"] = y_steps.numpy()
            arrays.update({f"conv_state.{k}": state.numpy() for k, state in enumerate(conv)})
            arrays["ssm_state"] = ssm.numpy()
        with double_throughout(torch):
            block.double()
            y64 = block(torch.from_numpy(x).double()).numpy()
            if special.get("steps", True):
                y_steps64, conv64, ssm64 = stream(block, torch.from_numpy(x).double(), torch.float64)
    arrays["y64"] = y64

    limit = 1e-8 if special.get("extreme") else 1e-12  # torch's softplus above 20
    x = x.astype(np.float64)
    own, (own_conv, own_ssm) = block64(config, weights, x)
    assert error(own, y64) < limit, f"{name}: the documentation's block differs by {error(own, y64):.1e}"
    check_pieces(name, config, weights, x, own)
    if special.get("steps", True):
        assert error(y_steps64.numpy(), y64) < limit, f"{name}: lite_mamba's steps differ from its forward"
        assert error(own_ssm, ssm64.numpy()) < limit, f"{name}: ssm_state"
        for k, state in enumerate(conv64):
            assert error(own_conv[k], state.numpy()) < limit, f"{name}: conv_state.{k}"
    if not special.get("extreme"):
        check_sensitivity(name, config, weights, x, own)
    write_io(folder, arrays)
    report(name, arrays)
    return name


def make_language_model(variant, arguments, layers, vocabulary, tied, epsilon):
    """x = embeddings[token]; per layer x = x + mixer(norm(x)); norm_f; the head."""
    import torch
    from torch import nn

    class RMSNorm(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.eps = nn.Parameter(torch.ones(arguments["d_model"])), epsilon

        def forward(self, x):
            return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.mixer = RMSNorm(), make_block(variant, arguments)

    class Backbone(nn.Module):
        def __init__(self):
            super().__init__()
            self.embeddings = nn.Embedding(vocabulary, arguments["d_model"])
            self.layers, self.norm_f = nn.ModuleList(Layer() for _ in range(layers)), RMSNorm()

    class LanguageModel(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = Backbone()
            self.lm_head = nn.Linear(arguments["d_model"], vocabulary, bias=False)
            if tied:
                self.lm_head.weight = self.backbone.embeddings.weight

        def forward(self, tokens):
            x = self.backbone.embeddings(tokens)
            for layer in self.backbone.layers:
                x = x + layer.mixer(layer.norm(x))
            return self.lm_head(self.backbone.norm_f(x))

    return LanguageModel().eval()


def language_model64(config, weights, tokens):
    """The same from its documentation, in NumPy."""
    def norm(x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + config["layer_norm_epsilon"]) * weights[name]

    embeddings = weights["backbone.embeddings.weight"]
    x = embeddings[tokens]
    for layer in range(config["num_hidden_layers"]):
        prefix = f"backbone.layers.{layer}.mixer."
        mixer = {name[len(prefix):]: value for name, value in weights.items() if name.startswith(prefix)}
        x = x + block64(config, mixer, norm(x, f"backbone.layers.{layer}.norm.weight"))[0]
    return norm(x, "backbone.norm_f.weight") @ weights.get("lm_head.weight", embeddings).T


def torch_language_model(root, name, variant, arguments, layers, vocabulary, tied, epsilon, dtype):
    import torch
    folder, random = os.path.join(root, name), np.random.RandomState(seed_of(name))
    make = lambda: make_language_model(variant, arguments, layers, vocabulary, tied, epsilon)
    model = make()
    randomize(model, random, {})
    config = ex.export(model, folder, dtype=dtype)
    weights = read_weights(folder)
    model = make()
    state = {n: torch.from_numpy(value).float() for n, value in weights.items()}
    for n in model.state_dict():
        if n not in state:  # the second names of branch 0 and of a tied head
            twin = n.replace("conv1d.", f"{ex.BRANCH[variant]}.0.") if "conv1d." in n else "backbone.embeddings.weight"
            state[n] = state[twin]
    model.load_state_dict(state, strict=True)
    tokens = random.randint(0, vocabulary, (2, 17))
    with torch.no_grad():
        logits = model(torch.from_numpy(tokens)).numpy()
        with double_throughout(torch):
            logits64 = model.double()(torch.from_numpy(tokens)).numpy()
    own = language_model64(config, weights, tokens)
    assert error(own, logits64) < 1e-12, f"{name}: the documentation's model differs by {error(own, logits64):.1e}"
    write_io(folder, {"tokens": tokens, "logits": logits, "logits64": logits64})
    print(f"{name:32} float32 against float64 {error(logits, logits64):.1e}")
    return name


def torch_goldens(root):
    import torch
    torch.set_num_threads(1)
    names = [torch_golden(root, case, variant) for case in CASES for variant in case[1]]
    return names + [torch_language_model(root, *case) for case in LANGUAGE_MODELS]


# ---- the tree -------------------------------------------------------------------------------------------------------

INDEX_HEAD = """\
# The goldens, one folder a line, then the largest |result - y64| over max|y64| where 2e-6 is not enough.
# Against y, what lite_mamba computes in float32, 1e-5 holds everywhere. Made by tools/goldens.py and tools/goldens_tf.py.
"""
INDEX_STATES_HEAD = """\
# States that lite-mamba saved, and how it goes on from them. Made by tools/goldens_states.py, which says what is in them.
"""
INDEX_LM_HEAD = """\
# The language models among the goldens: tokens, logits, logits64. The same tolerances.
"""


def write_index(root):
    folders = sorted(n for n in os.listdir(root) if os.path.exists(os.path.join(root, n, "io.safetensors")))
    models = [n for n in folders if n.startswith("lm-")]
    states = [n for n in folders if n.startswith("states-")]
    names = [n for n in folders if n not in models + states]
    for index, head, listed in (("index_lm.txt", INDEX_LM_HEAD, models), ("index_states.txt", INDEX_STATES_HEAD, states)):
        with open(os.path.join(root, index), "w", encoding="utf-8") as file:
            file.write(head + "".join(f"{name}\n" for name in listed))
    with open(os.path.join(root, "index.txt"), "w", encoding="utf-8") as file:
        file.write(INDEX_HEAD)
        for name in names:
            tolerance, reason = TOLERANCES.get(name.split("-", 1)[1], (None, None))
            file.write(f"# {reason}\n{name} {tolerance}\n" if tolerance else f"{name}\n")


def compare(made, name):
    """Lines about what differs between a golden just made and the tree's."""
    old, new = os.path.join(TREE, name), os.path.join(made, name)
    if not os.path.isdir(old):
        return [f"{name}: not in the tree"]
    lines = []
    for file in ("config.json", "model.safetensors"):
        if open(os.path.join(old, file), "rb").read() != open(os.path.join(new, file), "rb").read():
            lines.append(f"{name}: {file} differs")
    was, now = read_io(old), read_io(new)
    for arrays, folder in ((was, old), (now, new)):
        state = os.path.join(folder, "state.safetensors")
        arrays.update(read_arrays(state) if os.path.exists(state) else {})
    if set(was) != set(now):
        return [*lines, f"{name}: tensors {sorted(set(was) ^ set(now))} are in one of the two only"]
    for tensor, value in now.items():
        # x and what is rounded from float64 are the same anywhere but for a last bit; float32 sums differ with the CPU.
        limit = 0 if tensor in ("x", "tokens") else 2e-7 if tensor.endswith("64") else 1e-5
        if was[tensor].shape != value.shape or not error(value, was[tensor].astype(np.float64)) <= limit:
            lines.append(f"{name}: {tensor} differs")
    return lines


def main(make, prefix, summary):
    """Writes or checks the goldens that make(root) makes; the tree's others of this prefix are old ones and go."""
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("--check", action="store_true", help="make them again elsewhere and compare with the tree")
    options = parser.parse_args()
    kind = lambda name: next((p for p in PREFIXES if name.startswith(p)), "")
    mine = lambda name: kind(name) == prefix and os.path.isdir(os.path.join(TREE, name))
    with tempfile.TemporaryDirectory() as made:
        names = make(made)
        stale = [n for n in sorted(os.listdir(TREE)) if mine(n) and n not in names] if os.path.isdir(TREE) else []
        if options.check:
            lines = [line for name in names for line in compare(made, name)]
            lines += [f"{name}: in the tree, but not made" for name in stale]
            print("\n".join(lines) if lines else f"{len(names)} goldens are as in the tree")
            return 1 if lines else 0
        os.makedirs(TREE, exist_ok=True)
        for name in [*stale, *names]:
            shutil.rmtree(os.path.join(TREE, name), ignore_errors=True)
        for name in names:
            shutil.copytree(os.path.join(made, name), os.path.join(TREE, name))
    write_index(TREE)
    print(f"{len(names)} goldens in {os.path.normpath(TREE)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(torch_goldens, "", "Make tests/goldens with lite-mamba's PyTorch blocks."))
