#!/usr/bin/env python3
"""Writes a folder that litemamba loads (config.json and model.safetensors) from lite_mamba modules.

In Python, with the module at hand; the variant, the dilations and all sizes are read from it:

    from export import export
    export(lite_mamba.PTCNMamba(512, conv_dilations=(1, 2, 4, 8)), "my-block")
    export(language_model, "my-model", dtype="float16", tokenizer="bytes")
    export([block_a, block_b], "my-blocks")            # my-blocks/0, my-blocks/1

What it takes: PyTorch's BaselineMamba, Mamba or PTCNMamba, STCNMamba, DPWCMamba; TensorFlow's TFBaselineMamba, TFMamba
or TFPTCNMamba, TFSTCNMamba, TFDPWCMamba; a list or a torch.nn.ModuleList of those; and a torch.nn.Module that is a
language model of them, with the names backbone.embeddings, backbone.layers.N.norm, backbone.layers.N.mixer,
backbone.norm_f and, unless tied, lm_head. The norms are RMSNorm.

On the command line, from a saved PyTorch state_dict (.pt, .pth or .safetensors). There the dilations have to be said,
for no shape shows them, and the variant too where the names of the tensors leave it open:

    python3 tools/export.py block.pt my-block --conv-dilations 1,2,4,8
    python3 tools/export.py checkpoint.pt my-model --key model --conv-dilations 1,2,4 --tokenizer bytes --dtype float16

Needs the standard library and the framework that the module is of, nothing else.
"""
import argparse
import ctypes
import json
import math
import os
import re
import struct
import sys

VARIANTS = ("baseline", "ptcn", "stcn", "dpwc")
DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
MAX_BRANCHES, MAX_STATE, MAX_SIZE = 32, 256, 65536

# lite_mamba's classes, by name so that neither framework has to be imported to look. Mamba is what PTCNMamba derives from
# without a change; STCNMamba and DPWCMamba derive from it too, so the nearest class of a module's ancestry decides.
TORCH_CLASSES = {"BaselineMamba": "baseline", "Mamba": "ptcn", "PTCNMamba": "ptcn", "STCNMamba": "stcn",
                 "DPWCMamba": "dpwc"}
TF_CLASSES = {"TFBaselineMamba", "TFMamba", "TFPTCNMamba", "TFSTCNMamba", "TFDPWCMamba"}
BRANCH = {"ptcn": "conv1d_layers", "stcn": "conv1d_layers", "dpwc": "dw_conv1d_layers"}


class ExportError(ValueError):
    """What was given cannot be written; the text says why."""


def export(model, folder, dtype=None, tokenizer=None, norm_epsilon=None):
    """Writes `model` to `folder`, which is made if it is missing, and replaces what an earlier export left there.

    dtype          "float32", "float16" or "bfloat16" for the weights; None keeps each tensor's own type (float64 becomes
                   float32). A_log, D, norms, gates and dt_proj.bias stay float32.
    tokenizer      "bytes" where a token is a byte, so that the litemamba command can generate text.
    norm_epsilon   of the language model's norms, where they have no attribute that says it (eps, epsilon,
                   variance_epsilon).

    Returns what config.json says (of a list, a list). Raises ExportError.
    """
    if isinstance(model, (list, tuple)) or _is_module_list(model):
        if len(model) == 0:
            raise ExportError("the list to export is empty")
        for i, block in enumerate(model):
            if _block_class(block) is None:
                raise ExportError(f"entry {i} of the list is a {type(block).__name__}, not one of lite_mamba's blocks")
        return [export(block, os.path.join(folder, str(i)), dtype, tokenizer, norm_epsilon)
                for i, block in enumerate(model)]
    model = getattr(model, "_orig_mod", model)  # torch.compile
    if type(model).__name__ in ("DataParallel", "DistributedDataParallel"):
        model = model.module
    name = _block_class(model)
    if name in TF_CLASSES:
        state, hints = _tf_block(model)
    elif name:
        state, hints = model.state_dict(), _torch_hints(model)
    elif hasattr(model, "state_dict") and hasattr(model, "modules"):
        state, hints = _torch_language_model(model, norm_epsilon)
    else:
        raise ExportError(f"{type(model).__name__} is neither one of lite_mamba's blocks nor a torch.nn.Module; "
                          f"known are {', '.join([*TORCH_CLASSES, *sorted(TF_CLASSES)])}")
    return export_state(state, folder, dtype=dtype, tokenizer=tokenizer, **hints)


def export_state(state, folder, variant=None, dilations=None, expand=None, norm_epsilon=None, dtype=None, tokenizer=None):
    """As export(), from a dict of tensors with the names of a PyTorch state_dict, of a block or of a language model."""
    state = _canonical(dict(state))
    layers = _count(state, r"backbone\.layers\.(\d+)\.")
    prefix = "backbone.layers.0.mixer." if layers else ""
    config = _block_config(state, prefix, variant, dilations, expand)
    if layers:
        _add_language_model(config, state, layers, norm_epsilon)
    if tokenizer is not None:
        if tokenizer != "bytes" or config.get("vocab_size") != 256:
            raise ExportError("tokenizer can only be \"bytes\", of a language model with a vocabulary of 256")
        config["tokenizer_class"] = "bytes"
    if dtype is not None and dtype not in DTYPES:
        raise ExportError(f"dtype is {dtype!r}; it can be {', '.join(DTYPES)}")
    _check_shapes(state, _expected_shapes(config))
    tensors = [(name, *_encode(name, tensor, DTYPES.get(dtype))) for name, tensor in state.items()]
    os.makedirs(folder, exist_ok=True)
    write_safetensors(os.path.join(folder, "model.safetensors"), tensors)
    _write(os.path.join(folder, "config.json"), (json.dumps(config, indent=2) + "\n").encode())
    return config


# ---- what a module is -----------------------------------------------------------------------------------------------

def _block_class(module):
    """The name of the lite_mamba class that `module` is or derives from, or None."""
    for cls in type(module).__mro__:
        if cls.__module__.split(".")[0] == "lite_mamba" and (cls.__name__ in TORCH_CLASSES or cls.__name__ in TF_CLASSES):
            return cls.__name__
    return None


def _is_module_list(module):
    return type(module).__name__ in ("ModuleList", "Sequential") and all(_block_class(m) for m in module)


def _torch_hints(block):
    variant = TORCH_CLASSES[_block_class(block)]
    return {"variant": variant, "expand": block.expand,
            "dilations": [1] if variant == "baseline" else list(block.conv_dilations)}


def _torch_language_model(model, norm_epsilon):
    root = model.backbone if hasattr(model, "backbone") else model
    for name in ("embeddings", "layers", "norm_f"):
        if not hasattr(root, name):
            raise ExportError(f"{type(model).__name__} has no {'backbone.' if root is not model else ''}{name}; a language "
                              "model needs backbone.embeddings, backbone.layers.N.norm, .mixer and backbone.norm_f")
    hints, norms = None, [root.norm_f]
    for i, layer in enumerate(root.layers):
        mixer, norm = getattr(layer, "mixer", None), getattr(layer, "norm", None)
        if norm is None or mixer is None or _block_class(mixer) not in TORCH_CLASSES:
            raise ExportError(f"layer {i} needs a norm and a mixer that is one of lite_mamba's blocks")
        own = _torch_hints(mixer)
        if hints is not None and own != hints:
            raise ExportError(f"layer {i} has {own}, layer 0 has {hints}; config.json has one for all")
        hints = own
        norms.append(norm)
    if hints is None:
        raise ExportError(f"{type(model).__name__} has no layers")
    epsilons = set()
    for norm in norms:
        if type(norm).__name__ in ("LayerNorm", "BatchNorm1d", "GroupNorm"):
            raise ExportError(f"a norm is a {type(norm).__name__}; litemamba has RMSNorm")
        epsilons.add(next((getattr(norm, n) for n in ("eps", "epsilon", "variance_epsilon") if hasattr(norm, n)), None))
    if len(epsilons) > 1:
        raise ExportError(f"the norms differ in their epsilon: {sorted(map(str, epsilons))}")
    state = model.state_dict()
    if root is model:
        state = {(name if name.startswith("lm_head.") else f"backbone.{name}"): t for name, t in state.items()}
    own = epsilons.pop()
    return state, {**hints, "norm_epsilon": own if norm_epsilon is None else norm_epsilon}


def _tf_block(block):
    """A TensorFlow block's weights under PyTorch's names and in its layouts, as NumPy arrays.

    Dense kernels are (in, out) there and (out, in) here; depthwise kernels (K, d_inner) and (d_inner, 1, K), both with the
    oldest tap first; pointwise ones (in, out) and (out, in, 1). With one branch it has no gates: softmax of one is 1
    whatever it is, so a 1 is written.
    """
    if not block.built:
        raise ExportError(f"{type(block).__name__} has no weights yet: call it once on an input of its shape")
    branches, one = block.num_conv_branches, block.num_conv_branches == 1
    if block.stacked_convs and block.pointwise and not one:
        raise ExportError("stacked branches with pointwise products have no counterpart in litemamba")
    if block.pointwise:
        variant = "dpwc"
    elif _block_class(block) == "TFBaselineMamba":
        variant = "baseline"
    else:
        variant = "stcn" if block.stacked_convs else "ptcn"
    array = lambda weight: weight.numpy() if hasattr(weight, "numpy") else weight
    state = {"A_log": array(block.A_log), "D": array(block.D), "dt_proj.bias": array(block.dt_proj.bias)}
    for name in ("in_proj", "x_proj", "dt_proj", "out_proj"):
        state[f"{name}.weight"] = array(getattr(block, name).kernel).T
        if name in ("in_proj", "out_proj") and block.bias:
            state[f"{name}.bias"] = array(getattr(block, name).bias)
    for i in range(branches):
        conv = "conv1d" if variant == "baseline" else f"{BRANCH[variant]}.{i}"
        state[f"{conv}.weight"] = array(block.dw_kernels[i]).T[:, None, :]
        if block.dw_biases[i] is not None:
            state[f"{conv}.bias"] = array(block.dw_biases[i])
        if block.pointwise:
            state[f"pw_conv1d_layers.{i}.weight"] = array(block.pw_layers[i].kernel).T[:, :, None]
            state[f"pw_conv1d_layers.{i}.bias"] = array(block.pw_layers[i].bias)
    if variant in ("ptcn", "dpwc"):
        gates = block.conv_gates
        state["conv_gates"] = array(block.D)[:1] * 0 + 1 if gates is None else array(gates)
    return state, {"variant": variant, "dilations": list(block.conv_dilations), "expand": block.expand}


# ---- names, shapes, config.json -------------------------------------------------------------------------------------

def _count(state, pattern):
    numbers = {int(found.group(1)) for found in map(re.compile(pattern).match, state) if found}
    if numbers != set(range(len(numbers))):
        raise ExportError(f"the numbers in {pattern.replace(chr(92), '')} are {sorted(numbers)}; they should go from 0 on")
    return len(numbers)


def _canonical(state):
    """One name a tensor: branch 0 is registered twice in ptcn, stcn and dpwc; a tied head may be there under two names."""
    for name in [n for n in state if re.search(r"(^|\.)conv1d\.(weight|bias)$", n)]:
        stem, leaf = name.rsplit("conv1d.", 1)
        has = lambda layers: any(n.startswith(f"{stem}{layers}.") for n in state)
        if has("pw_conv1d_layers"):
            twin = f"{stem}{BRANCH['dpwc']}.0.{leaf}"
        elif has("conv1d_layers"):
            twin = f"{stem}{BRANCH['ptcn']}.0.{leaf}"
        else:
            continue  # baseline, or a single branch under this name alone: the variant tells
        if twin in state and not _equal(state[twin], state[name]):
            raise ExportError(f"{name} and {twin} are two names of one tensor, and differ")
        state.setdefault(twin, state.pop(name))
    head, embeddings = "lm_head.weight", "backbone.embeddings.weight"
    if head in state and embeddings in state and _equal(state[head], state[embeddings]):
        del state[head]
    return state


def _equal(a, b):
    return tuple(a.shape) == tuple(b.shape) and bool((a == b).all())


def _block_config(state, prefix, variant, dilations, expand):
    shape = lambda name: _shape(state, prefix + name)
    branches = {layers: _count(state, rf"{re.escape(prefix)}{layers}\.(\d+)\.") for layers in set(BRANCH.values())}
    if variant is None:
        if branches["dw_conv1d_layers"]:
            variant = "dpwc"
        elif f"{prefix}conv_gates" in state:
            variant = "ptcn"
        elif branches["conv1d_layers"]:
            variant = "stcn"
        else:
            raise ExportError("the names of the tensors do not tell baseline from a one-branch stcn; say the variant")
    if variant not in VARIANTS:
        raise ExportError(f"variant is {variant!r}; it can be {', '.join(VARIANTS)}")
    if variant != "baseline" and not branches[BRANCH[variant]]:
        for name in [n for n in state if re.search(r"(^|\.)conv1d\.(weight|bias)$", n)]:
            stem, leaf = name.rsplit("conv1d.", 1)
            state[f"{stem}{BRANCH[variant]}.0.{leaf}"] = state.pop(name)
    conv = "conv1d" if variant == "baseline" else f"{BRANCH[variant]}.0"
    count = 1 if variant == "baseline" else _count(state, rf"{re.escape(prefix)}{BRANCH[variant]}\.(\d+)\.")
    if dilations is None:
        if variant != "baseline":
            raise ExportError(f"the dilations of the {count} branches are not in the tensors; say them")
        dilations = [1]
    dilations = [int(d) for d in dilations]
    if variant == "baseline" and dilations != [1]:
        raise ExportError(f"baseline has one branch with dilation 1, not {dilations}")
    if len(dilations) != count:
        raise ExportError(f"{len(dilations)} dilations {dilations} for {count} branches")
    d_inner, d_model = shape("in_proj.weight")[0] // 2, shape("in_proj.weight")[1]
    if expand is None:
        expand = _expand(d_inner, d_model)
    elif int(expand * d_model) != d_inner:
        raise ExportError(f"expand {expand} of {d_model} channels is not the {d_inner} that in_proj.weight has")
    config = {
        "architectures": ["LiteMambaBlock"], "model_type": "lite_mamba", "variant": variant, "hidden_size": d_model,
        "state_size": shape("A_log")[-1], "conv_kernel": shape(f"{conv}.weight")[-1], "conv_dilations": dilations,
        "expand": expand, "time_step_rank": shape("dt_proj.weight")[-1], "use_bias": f"{prefix}in_proj.bias" in state,
        "use_conv_bias": f"{prefix}{conv}.bias" in state,
    }
    for name, value, most in (("d_state", config["state_size"], MAX_STATE), ("the number of branches", count, MAX_BRANCHES),
                              *((n, config[k], MAX_SIZE) for n, k in (("d_model", "hidden_size"), ("d_conv", "conv_kernel"),
                                                                      ("dt_rank", "time_step_rank"))),
                              *(("a dilation", d, MAX_SIZE) for d in dilations)):
        if not 1 <= value <= most:
            raise ExportError(f"{name} is {value}; litemamba has 1 to {most}")
    return config


def _expand(d_inner, d_model):
    """The shortest factor for which int(expand · d_model) is d_inner again."""
    if d_inner % d_model == 0:
        return d_inner // d_model
    for digits in range(1, 18):
        expand = round(d_inner / d_model, digits)
        if int(expand * d_model) == d_inner:
            return expand
    return math.nextafter(d_inner / d_model, math.inf)


def _add_language_model(config, state, layers, norm_epsilon):
    if norm_epsilon is None:
        raise ExportError("the norms do not say their epsilon; give norm_epsilon")
    config["architectures"] = ["LiteMambaForCausalLM"]
    config["num_hidden_layers"] = layers
    config["vocab_size"] = _shape(state, "backbone.embeddings.weight")[0]
    config["layer_norm_epsilon"] = norm_epsilon
    config["tie_word_embeddings"] = "lm_head.weight" not in state


def _shape(state, name):
    if name not in state:
        raise ExportError(f"there is no tensor {name}; is this a lite_mamba block or a language model of them?")
    return tuple(int(n) for n in state[name].shape)


def _expected_shapes(config):
    dm, n, k, r = (config[key] for key in ("hidden_size", "state_size", "conv_kernel", "time_step_rank"))
    di, variant, m = int(config["expand"] * dm), config["variant"], len(config["conv_dilations"])
    block = {"A_log": (di, n), "D": (di,), "in_proj.weight": (2 * di, dm), "x_proj.weight": (r + 2 * n, di),
             "dt_proj.weight": (di, r), "dt_proj.bias": (di,), "out_proj.weight": (dm, di)}
    if config["use_bias"]:
        block.update({"in_proj.bias": (2 * di,), "out_proj.bias": (dm,)})
    if variant in ("ptcn", "dpwc"):
        block["conv_gates"] = (m,)
    for i in range(m):
        conv = "conv1d" if variant == "baseline" else f"{BRANCH[variant]}.{i}"
        block[f"{conv}.weight"] = (di, 1, k)
        if config["use_conv_bias"]:
            block[f"{conv}.bias"] = (di,)
        if variant == "dpwc":
            block.update({f"pw_conv1d_layers.{i}.weight": (di, di, 1), f"pw_conv1d_layers.{i}.bias": (di,)})
    if "num_hidden_layers" not in config:
        return block
    shapes = {"backbone.embeddings.weight": (config["vocab_size"], dm), "backbone.norm_f.weight": (dm,)}
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (config["vocab_size"], dm)
    for layer in range(config["num_hidden_layers"]):
        shapes[f"backbone.layers.{layer}.norm.weight"] = (dm,)
        shapes.update({f"backbone.layers.{layer}.mixer.{name}": shape for name, shape in block.items()})
    return shapes


def _check_shapes(state, expected):
    missing, extra = [n for n in expected if n not in state], [n for n in state if n not in expected]
    if missing:
        raise ExportError(f"missing: {', '.join(missing[:5])}{' …' if len(missing) > 5 else ''}")
    if extra:
        raise ExportError(f"litemamba has no place for {', '.join(extra[:5])}{' …' if len(extra) > 5 else ''}")
    for name, shape in expected.items():
        if _shape(state, name) != shape:
            raise ExportError(f"{name} has shape {_shape(state, name)}; it should be {shape}")


# ---- tensors and files ----------------------------------------------------------------------------------------------

def _stays_float32(name):
    return re.search(r"(^|\.)(A_log|D|conv_gates|dt_proj\.bias|norm\.weight|norm_f\.weight)$", name) is not None


def _encode(name, tensor, dtype):
    """(type, shape, little-endian bytes) of a torch tensor or a NumPy array; dtype None keeps its own."""
    encode = _encode_torch if hasattr(tensor, "detach") else _encode_numpy
    code, data = encode(name, tensor, "F32" if _stays_float32(name) else dtype)
    return code, tuple(int(n) for n in tensor.shape), data


def _encode_torch(name, tensor, dtype):
    import torch
    types = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    if tensor.dtype not in (torch.float64, *types.values()) or tensor.is_meta:
        raise ExportError(f"{name} is {'without data' if tensor.is_meta else tensor.dtype}; it should be floating point")
    own = next((code for code, t in types.items() if t == tensor.dtype), "F32")
    code = dtype or own
    out = tensor.detach().to(device="cpu", dtype=types[code]).contiguous()
    if bool((torch.isinf(out) & ~torch.isinf(tensor.detach().to("cpu"))).any()):
        raise ExportError(f"{name} has values too large for {code}")
    return code, ctypes.string_at(out.data_ptr(), out.numel() * out.element_size())


def _encode_numpy(name, array, dtype):
    import numpy as np
    own = {"float32": "F32", "float64": "F32", "float16": "F16", "bfloat16": "BF16"}.get(str(array.dtype))
    if own is None:
        raise ExportError(f"{name} is {array.dtype}; it should be floating point")
    code = dtype or own
    with np.errstate(over="ignore"):
        out = np.asarray(array, np.float16 if code == "F16" else np.float32)
    if code == "BF16":  # round to nearest even; a NaN keeps its upper half with the quiet bit set
        bits = out.view(np.uint32)
        rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
        rounded = np.where(np.isnan(out), ((bits >> 16) | 0x40).astype(np.uint16), rounded)
        infinite, out = (rounded & 0x7FFF) == 0x7F80, rounded
    else:
        infinite = np.isinf(out)
    if (infinite & ~np.isinf(np.asarray(array, np.float64))).any():
        raise ExportError(f"{name} has values too large for {code}")
    return code, np.ascontiguousarray(out).tobytes()


def write_safetensors(path, tensors):
    """`tensors` is a list of (name, type, shape, bytes). Wider types come first, then names in order, so that the file does
    not depend on the order given and every tensor is aligned to its type."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    tensors = sorted(tensors, key=lambda t: (t[1] != "F32", t[0]))
    for name, code, shape, data in tensors:
        header[name] = {"dtype": code, "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    _write(path, struct.pack("<Q", len(text)), text, *(data for _, _, _, data in tensors))


def read_safetensors(path):
    """{name: (type, shape, bytes)}; for files one trusts: litemamba itself is the strict reader."""
    with open(path, "rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        header, data = json.loads(file.read(length)), file.read()
    header.pop("__metadata__", None)
    return {name: (entry["dtype"], tuple(entry["shape"]), data[slice(*entry["data_offsets"])])
            for name, entry in header.items()}


def _write(path, *parts):
    """Whole or not at all: a temporary file beside it, then renamed."""
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as file:
            for part in parts:
                file.write(part)
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


# ---- command line ---------------------------------------------------------------------------------------------------

def _load_state(path, key, prefix):
    import torch
    if path.endswith(".safetensors"):
        types = {"F32": torch.float32, "F64": torch.float64, "F16": torch.float16, "BF16": torch.bfloat16}
        state = {}
        for name, (code, shape, data) in read_safetensors(path).items():
            if code not in types:
                raise ExportError(f"{name} is {code}; it should be floating point")
            state[name] = torch.frombuffer(bytearray(data), dtype=types[code]).reshape(shape)
    else:
        # weights_only: a checkpoint is data, not code to run.
        state = torch.load(path, map_location="cpu", weights_only=True)
    for part in key or []:
        if not isinstance(state, dict) or part not in state:
            raise ExportError(f"{path} has no entry {part!r}")
        state = state[part]
    if not isinstance(state, dict) or not state or not all(hasattr(t, "shape") for t in state.values()):
        keys = ", ".join(map(str, list(state)[:8])) if isinstance(state, dict) else type(state).__name__
        raise ExportError(f"{path} is not a state_dict (it has {keys}); --key names the entry that is one")
    for wrapper in (prefix, "_orig_mod.", "module."):  # torch.compile and data-parallel wrappers
        if wrapper and (wrapper == prefix or all(name.startswith(wrapper) for name in state)):
            state = {name[len(wrapper):]: t for name, t in state.items() if name.startswith(wrapper)}
            if not state:
                raise ExportError(f"no tensor's name starts with {prefix!r}")
    if "embeddings.weight" in state:
        state = {(name if name.startswith("lm_head.") else f"backbone.{name}"): t for name, t in state.items()}
    return state


def _dilations(text):
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list like 1,2,4,8") from None


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description="Write a folder that litemamba loads from a saved PyTorch state_dict of a lite_mamba block, or of a "
                    "language model of them. With the module itself at hand, and for TensorFlow, call "
                    "export(module, folder) from Python: it needs no options.",
        epilog="example: export.py checkpoint.pt my-model --key model --conv-dilations 1,2,4,8 --tokenizer bytes")
    parser.add_argument("state", metavar="STATE", help="a .pt or .pth file from torch.save, or a .safetensors file")
    parser.add_argument("folder", metavar="FOLDER", help="where config.json and model.safetensors go; made if missing")
    parser.add_argument("--variant", choices=VARIANTS, help="where the names of the tensors do not tell")
    parser.add_argument("--conv-dilations", type=_dilations, metavar="D,D,…", help="of the branches, in order")
    parser.add_argument("--expand", type=float, help="as the block was made with, if fractional [d_inner / d_model]")
    parser.add_argument("--dtype", choices=DTYPES,
                        help="of the weights; A_log, D, norms, gates and dt_proj.bias stay float32 [as they are]")
    parser.add_argument("--norm-epsilon", type=float, default=1e-5, help="of a language model's norms [1e-5]")
    parser.add_argument("--tokenizer", choices=["bytes"], help="a language model whose tokens are bytes")
    parser.add_argument("--key", action="append", help="entry of the file that is the state_dict; again for one inside it")
    parser.add_argument("--prefix", help="take only the tensors whose names start so, without it: a block inside a model")
    options = parser.parse_args(arguments)
    try:
        state = _load_state(options.state, options.key, options.prefix)
        config = export_state(state, options.folder, options.variant, options.conv_dilations, options.expand,
                              options.norm_epsilon, options.dtype, options.tokenizer)
    except (ExportError, OSError, ImportError) as error:
        print(f"export.py: {error}", file=sys.stderr)
        return 1
    except Exception as error:  # torch.load's own, of many types
        print(f"export.py: {options.state}: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
              file=sys.stderr)
        return 1
    print(f"{options.folder}: {config['variant']}, d_model {config['hidden_size']}, "
          f"dilations {' '.join(map(str, config['conv_dilations']))}"
          + (f", {config['num_hidden_layers']} layers" if "num_hidden_layers" in config else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
