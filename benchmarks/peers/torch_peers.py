"""PyTorch beside `./saccade bench --table`: the same cases, from the same list.

    python3 torch_peers.py --out torch.jsonl
    ./saccade bench --table --merge torch.jsonl

Needs a Python with PyTorch (2.11 was written for) and a GPU; no Java. Each line of the file is one
measurement, {"case", "peer", "microseconds", "low", "high"}: the median of the turns between CUDA events and
their quartiles. Operands are normally distributed, never zeros, and go round so many sets that the cache
holds none; before each turn a fill of 256 MiB empties the cache and keeps the GPU busy while the host
queues the runs.

Peers: `torch` is PyTorch's own operation; `torch-cudnn`, `torch-flash` its attention backends;
`torch-compile` the same formula through torch.compile, for those that are formulas; `torch-triton` a plain Triton kernel of one
pass, written for this comparison, behind PyTorch's product where a case has one. `--cpu` runs small sizes on the CPU, to show that
the script works.
"""

import argparse
import json
import math
import re
import statistics
import sys
import time
from pathlib import Path

import torch
import torch._functorch.config
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

try:
    import triton
    import triton.language as tl
except ImportError:  # its peers are left out
    triton = None

PLUG_BYTES = 256 << 20
TURN_MICROS = 1000
MOST_RUNS = 32
CACHES = 4
MOST_SETS = 32


def read_cases(path):
    """The lines of the list: name and a dict."""
    for line in path.read_text().splitlines():
        words = line.split()
        if words and not words[0].startswith("#"):
            yield words[0], dict(word.split("=", 1) for word in words[1:])


class Bench:
    """A device, what times it, and random operands."""

    def __init__(self, device, seconds):
        self.device = device
        self.seconds = seconds
        self.cuda = device == "cuda"
        self.cache = torch.cuda.get_device_properties(0).L2_cache_size if self.cuda else 0
        self.plug = torch.empty(PLUG_BYTES, dtype=torch.uint8, device=device) if self.cuda else None

    def sets(self, *tensors_bytes):
        """How many sets of operands to go round, for these bytes of one set."""
        return max(1, min(MOST_SETS, math.ceil(CACHES * self.cache / max(1, sum(tensors_bytes)))))

    def normal(self, *shape, dtype=torch.bfloat16):
        return torch.randn(shape, dtype=dtype, device=self.device)

    def turn(self, run, sets, runs):
        """Microseconds of one of `runs` runs."""
        if self.cuda:
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            self.plug.fill_(0x55)
            start.record()
            for i in range(runs):
                run(i % sets)
            end.record()
            end.synchronize()
            return 1e3 * start.elapsed_time(end) / runs
        start = time.perf_counter()
        for i in range(runs):
            run(i % sets)
        return 1e6 * (time.perf_counter() - start) / runs

    def measure(self, run, sets):
        """Median and quartiles of the turns, in microseconds."""
        self.turn(run, sets, 3)
        once = self.turn(run, sets, 3)
        runs = max(1, min(MOST_RUNS, math.ceil(TURN_MICROS / once)))
        turns = int(max(5, min(31, self.seconds * 1e6 / (runs * once))))
        micros = sorted(self.turn(run, sets, runs) for _ in range(turns))
        last = turns - 1
        return statistics.median(micros), micros[last // 4], micros[last - last // 4]


def dtype_of(parameters, key="dtype"):
    name = parameters.get(key, parameters.get("dtype", "f32"))
    return {"f32": torch.float32, "bf16": torch.bfloat16}[name]


def integer(parameters, *keys):
    return [int(parameters[key]) for key in keys]


def copy(bench, p):
    (size,) = integer(p, "bytes")
    x = bench.normal(size // 4, dtype=torch.float32)
    y = torch.empty_like(x)
    yield "torch", 1, lambda i: y.copy_(x)


def gemm(bench, p):
    """Products; of epilogues, PyTorch has the bias (addmm) and, for what stays in fp32, only the product."""
    m, n, k = integer(p, "m", "n", "k")
    dtype, out, epilogue = dtype_of(p), dtype_of(p, "out"), p.get("epilogue", "store")
    size = torch.finfo(dtype).bits // 8
    sets = bench.sets(size * m * k, size * n * k, torch.finfo(out).bits // 8 * m * n)
    layout = p["layout"]
    a = [bench.normal(*((k, m) if layout == "TN" else (m, k)), dtype=dtype) for _ in range(sets)]
    b = [bench.normal(*((n, k) if layout == "NT" else (k, n)), dtype=dtype) for _ in range(sets)]
    left = [x.t() if layout == "TN" else x for x in a]
    right = [x.t() if layout == "NT" else x for x in b]
    if out == dtype and epilogue in ("store", "bias"):
        c = [torch.empty(m, n, dtype=dtype, device=bench.device) for _ in range(sets)]
        if epilogue == "store":
            yield "torch", sets, lambda i: torch.mm(left[i], right[i], out=c[i])
        else:
            bias = bench.normal(n, dtype=dtype)
            yield "torch", sets, lambda i: torch.addmm(bias, left[i], right[i], out=c[i])
    elif out != dtype and epilogue == "store":
        # A linear layer's logits in PyTorch: bf16, then cast.
        yield "torch-mm-cast", sets, lambda i: torch.mm(left[i], right[i]).float()
    elif epilogue == "gelu":
        bias = bench.normal(n, dtype=dtype)
        yield "torch", sets, lambda i: F.gelu(torch.addmm(bias, left[i], right[i]))
    elif epilogue == "residual":
        bias, residual = bench.normal(n, dtype=dtype), bench.normal(m, n, dtype=dtype)
        yield "torch", sets, lambda i: torch.addmm(bias, left[i], right[i]).add_(residual)


def gemm_batch(bench, p):
    count, m, n, k = integer(p, "count", "m", "n", "k")
    dtype, layout = dtype_of(p), p["layout"]
    if dtype_of(p, "out") != dtype:
        return
    size = torch.finfo(dtype).bits // 8
    sets = bench.sets(size * count * (m * k + n * k + m * n))
    a = [bench.normal(count, *((k, m) if layout == "TN" else (m, k)), dtype=dtype) for _ in range(sets)]
    b = [bench.normal(count, *((n, k) if layout == "NT" else (k, n)), dtype=dtype) for _ in range(sets)]
    left = [x.transpose(1, 2) if layout == "TN" else x for x in a]
    right = [x.transpose(1, 2) if layout == "NT" else x for x in b]
    c = [torch.empty(count, m, n, dtype=dtype, device=bench.device) for _ in range(sets)]
    yield "torch", sets, lambda i: torch.bmm(left[i], right[i], out=c[i])


def swiglu_gemm(bench, p):
    m, n, k = integer(p, "m", "n", "k")
    dtype = dtype_of(p)
    sets = bench.sets(4 * n * k, 2 * m * k, 2 * m * n)
    x = [bench.normal(m, k, dtype=dtype) for _ in range(sets)]
    weights = [bench.normal(2 * n, k, dtype=dtype) for _ in range(sets)]

    def run(i):
        gate, up = F.linear(x[i], weights[i]).chunk(2, -1)
        return F.silu(gate) * up

    yield "torch", sets, run


def attention_operands(bench, p, queries, keys):
    heads, kv_heads, width, batch = integer(p, "heads", "kv_heads", "head_dim", "batch")
    dtype = dtype_of(p)
    sets = bench.sets(2 * batch * queries * heads * width * 2, 2 * batch * keys * kv_heads * width * 2)

    def make(length, count):
        # [batch, length, heads, width] in memory, as the projections leave it.
        return bench.normal(batch, length, count, width, dtype=dtype).transpose(1, 2)

    return sets, [(make(queries, heads), make(keys, kv_heads), make(keys, kv_heads)) for _ in range(sets)]


def backends(bench):
    return (
        [("torch-cudnn", SDPBackend.CUDNN_ATTENTION), ("torch-flash", SDPBackend.FLASH_ATTENTION)]
        if bench.cuda
        else [("torch-math", SDPBackend.MATH)]
    )


def attention(bench, p):
    (length,) = integer(p, "length")
    causal = p["causal"] == "true"
    sets, operands = attention_operands(bench, p, length, length)
    grouped = p["heads"] != p["kv_heads"]
    for peer, backend in backends(bench):

        def run(i, backend=backend):
            with sdpa_kernel(backend):
                F.scaled_dot_product_attention(*operands[i], is_causal=causal, enable_gqa=grouped)

        yield peer, sets, run


def attention_backward(bench, p):
    """The backward pass alone, from a graph that is kept."""
    (length,) = integer(p, "length")
    causal = p["causal"] == "true"
    sets, operands = attention_operands(bench, p, length, length)
    grouped = p["heads"] != p["kv_heads"]
    for peer, backend in backends(bench):
        passes = []
        try:
            for q, k, v in operands:
                leaves = [x.detach().requires_grad_() for x in (q, k, v)]
                with sdpa_kernel(backend):
                    out = F.scaled_dot_product_attention(*leaves, is_causal=causal, enable_gqa=grouped)
                passes.append((out, leaves, torch.randn_like(out)))
        except RuntimeError as e:  # a backend that refuses these extents
            print(f"{peer}: {str(e).splitlines()[0]}", file=sys.stderr)
            continue

        def run(i, passes=passes):
            out, leaves, gradient = passes[i]
            torch.autograd.grad(out, leaves, gradient, retain_graph=True)

        yield peer, sets, run


def attention_decode(bench, p):
    """One query for each sequence, which has the same number of keys: no mask is needed."""
    (keys,) = integer(p, "keys")
    sets, operands = attention_operands(bench, p, 1, keys)
    grouped = p["heads"] != p["kv_heads"]
    for peer, backend in backends(bench):

        def run(i, backend=backend):
            with sdpa_kernel(backend):
                F.scaled_dot_product_attention(*operands[i], enable_gqa=grouped)

        yield peer, sets, run


def norm(bench, p, layer, backward):
    rows, width = integer(p, "rows", "width")
    dtype = dtype_of(p)
    sets = bench.sets((3 if backward else 2) * 2 * rows * width)
    x = [bench.normal(rows, width, dtype=dtype).requires_grad_(backward) for _ in range(sets)]
    weight = bench.normal(width, dtype=dtype).requires_grad_(backward)
    bias = bench.normal(width, dtype=dtype).requires_grad_(backward)

    def forward(i):
        if layer:
            return F.layer_norm(x[i], (width,), weight, bias, 1e-6)
        return F.rms_norm(x[i], (width,), weight, 1e-6)

    if not backward:
        yield "torch", sets, forward
        return
    passes = [(forward(i), torch.randn_like(x[i])) for i in range(sets)]
    leaves = [[x[i], weight, bias] if layer else [x[i], weight] for i in range(sets)]
    yield "torch", sets, lambda i: torch.autograd.grad(passes[i][0], leaves[i], passes[i][1], retain_graph=True)


def gelu(bench, p, backward=False):
    (count,) = integer(p, "count")
    z, dy = bench.normal(count, dtype=dtype_of(p)), bench.normal(count, dtype=dtype_of(p))
    if backward:
        yield "torch", 1, lambda i: torch.ops.aten.gelu_backward(dy, z)
    else:
        yield "torch", 1, lambda i: F.gelu(z)


def swiglu(bench, p):
    (count,) = integer(p, "count")
    gate, up = bench.normal(count, dtype=dtype_of(p)), bench.normal(count, dtype=dtype_of(p))
    yield "torch", 1, lambda i: F.silu(gate) * up


def add(bench, p):
    (count,) = integer(p, "count")
    a, b = bench.normal(count, dtype=dtype_of(p)), bench.normal(count, dtype=dtype_of(p))
    y = torch.empty_like(a)
    yield "torch", 1, lambda i: torch.add(a, b, out=y)


def cast(bench, p):
    (count,) = integer(p, "count")
    x = bench.normal(count, dtype=dtype_of(p))
    y = torch.empty(count, dtype=dtype_of(p, "out"), device=bench.device)
    yield "torch", 1, lambda i: y.copy_(x)


def sum_rows(bench, p):
    rows, width = integer(p, "rows", "width")
    x = bench.normal(rows, width, dtype=dtype_of(p))
    yield "torch", 1, lambda i: torch.sum(x, 0, dtype=torch.float32)


def adamw(bench, p):
    (count,) = integer(p, "count")
    if "rounded" in p:
        return
    weight = torch.nn.Parameter(bench.normal(count, dtype=torch.float32))
    weight.grad = bench.normal(count, dtype=torch.float32)
    optimizer = torch.optim.AdamW([weight], 1e-3, (0.9, 0.95), 1e-8, 0.05, fused=True)
    yield "torch-fused", 1, lambda i: optimizer.step()


def gather(bench, p):
    rows, width, table_rows = integer(p, "rows", "width", "table_rows")
    table = bench.normal(table_rows, width, dtype=dtype_of(p))
    sets = bench.sets(4 * rows * width)
    indices = [torch.randint(table_rows, (rows,), device=bench.device) for _ in range(sets)]
    yield "torch", sets, lambda i: F.embedding(indices[i], table)


def scatter_add(bench, p):
    """Adds with atomics: another order each time."""
    rows, width, table_rows = integer(p, "rows", "width", "table_rows")
    target = torch.zeros(table_rows, width, dtype=torch.float32, device=bench.device)
    source = bench.normal(rows, width, dtype=torch.float32)
    indices = torch.randint(table_rows, (rows,), device=bench.device)
    yield "torch-f32", 1, lambda i: target.index_add_(0, indices, source)


def pixel_unshuffle(bench, p):
    tiles, grid, width = integer(p, "tiles", "grid", "width")
    x = bench.normal(tiles, 1 + grid * grid, width, dtype=dtype_of(p))

    def run(i):
        y = x[:, 1:].view(tiles, grid // 2, 2, grid // 2, 2, width)
        return y.permute(0, 1, 3, 2, 4, 5).reshape(tiles, grid * grid // 4, 4 * width)

    yield "torch", 1, run


def connector_formula(x, grid, norm_weight, norm_bias, weight1, bias1, weight2, bias2):
    """InternVL's mlp1 on the tower's output."""
    tiles, _, width = x.shape
    y = x[:, 1:].reshape(tiles, grid // 2, 2, grid // 2, 2, width)
    y = y.permute(0, 1, 3, 2, 4, 5).reshape(-1, 4 * width)
    y = F.layer_norm(y, (4 * width,), norm_weight, norm_bias, 1e-5)
    return F.linear(F.gelu(F.linear(y, weight1, bias1)), weight2, bias2)


def connector(bench, p):
    """The forward pass without a graph; or both passes, with the gradients of all parameters and not of x."""
    tiles, grid, width, inner, out = integer(p, "tiles", "grid", "width", "inner", "out")
    both, dtype = p.get("pass", "forward") == "both", dtype_of(p)
    rows, wide = tiles * grid * grid // 4, 4 * width
    weights = wide * inner + inner * out
    sets = bench.sets(2 * rows * (wide + out), 2 * weights, (2 * rows * out + 8 * weights) if both else 0)
    x = [bench.normal(tiles, 1 + grid * grid, width, dtype=dtype) for _ in range(sets)]
    dy = [bench.normal(rows, out, dtype=dtype) for _ in range(sets)] if both else []
    parameters = [
        bench.normal(wide, dtype=dtype),
        bench.normal(wide, dtype=dtype),
        bench.normal(inner, wide, dtype=dtype) / math.sqrt(wide),
        bench.normal(inner, dtype=dtype),
        bench.normal(out, inner, dtype=dtype) / math.sqrt(inner),
        bench.normal(out, dtype=dtype),
    ]
    for parameter in parameters:
        parameter.requires_grad_(both)
    peers = [("torch", connector_formula)]
    if bench.cuda:
        peers.append(("torch-compile", torch.compile(connector_formula, dynamic=False)))
    for peer, formula in peers:

        def run(i, formula=formula):
            if both:
                torch.autograd.grad(formula(x[i], grid, *parameters), parameters, dy[i])
            else:
                with torch.no_grad():
                    formula(x[i], grid, *parameters)

        yield peer, sets, run


def entropy_formula(logits, targets):
    z = logits / 0.8
    lse = torch.logsumexp(z, -1)
    log_prob = z.gather(-1, targets[:, None])[:, 0] - lse
    p = torch.exp(z - lse[:, None])
    return log_prob, lse - (p * z).sum(-1)


if triton is not None:
    TRITON_BLOCK = 4096

    @triton.jit
    def row_forward(logits, targets, log_prob, entropy, lse, vocab, inverse, BLOCK: tl.constexpr):
        """A program a row; each lane keeps its own maximum, sum and weighted sum, merged at the end."""
        row = tl.program_id(0).to(tl.int64)
        line = logits + row * vocab
        top = tl.full((BLOCK,), -1e30, tl.float32)
        total = tl.zeros((BLOCK,), tl.float32)
        weighted = tl.zeros((BLOCK,), tl.float32)
        for first in range(0, vocab, BLOCK):
            words = first + tl.arange(0, BLOCK)
            z = tl.load(line + words, mask=words < vocab, other=-1e30).to(tl.float32) * inverse
            higher = tl.maximum(top, z)
            old, new = tl.exp(top - higher), tl.exp(z - higher)
            weighted = old * (weighted + total * (top - higher)) + new * (z - higher)
            total = old * total + new
            top = higher
        peak = tl.max(top, 0)
        factor = tl.exp(top - peak)
        weighted = tl.sum(factor * (weighted + total * (top - peak)), 0)
        total = tl.sum(factor * total, 0)
        z = tl.load(line + tl.load(targets + row)).to(tl.float32) * inverse
        tl.store(lse + row, peak + tl.log(total))
        tl.store(log_prob + row, z - peak - tl.log(total))
        tl.store(entropy + row, tl.log(total) - weighted / total)

    @triton.jit
    def row_backward(
        logits, targets, entropy, lse, up, up_entropy, gradient, vocab, inverse, BLOCK: tl.constexpr
    ):
        """A program for each block of a row."""
        row = tl.program_id(0).to(tl.int64)
        words = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        z = tl.load(logits + row * vocab + words, mask=words < vocab, other=-1e30).to(tl.float32) * inverse
        log_p = z - tl.load(lse + row)
        a, b = tl.load(up + row), tl.load(up_entropy + row)
        hit = words == tl.load(targets + row)
        d = a * hit - tl.exp(log_p) * (a + b * (log_p + tl.load(entropy + row)))
        tl.store(gradient + row * vocab + words, (d * inverse).to(gradient.dtype.element_ty), mask=words < vocab)


class TritonRows(torch.autograd.Function):
    """Log-probability and entropy of rows of logits."""

    @staticmethod
    def forward(context, logits, targets, inverse):
        rows, vocab = logits.shape
        results = [torch.empty(rows, dtype=torch.float32, device=logits.device) for _ in range(3)]
        row_forward[(rows,)](logits, targets, *results, vocab, inverse, BLOCK=TRITON_BLOCK, num_warps=8)
        context.save_for_backward(logits, targets, results[1], results[2])
        context.inverse = inverse
        return results[0], results[1]

    @staticmethod
    def backward(context, up, up_entropy):
        logits, targets, entropy, lse = context.saved_tensors
        rows, vocab = logits.shape
        gradient = torch.empty_like(logits)
        grid = (rows, triton.cdiv(vocab, TRITON_BLOCK))
        row_backward[grid](
            logits, targets, entropy, lse, up.contiguous(), up_entropy.contiguous(), gradient, vocab,
            context.inverse, BLOCK=TRITON_BLOCK, num_warps=8,
        )
        return gradient, None, None


def entropy_peers(bench):
    peers = [("torch", entropy_formula)]
    if bench.cuda:
        peers.append(("torch-compile", torch.compile(entropy_formula, dynamic=False)))
        if triton is not None:
            peers.append(("torch-triton", lambda logits, targets: TritonRows.apply(logits, targets, 1 / 0.8)))
    return peers


def entropy(bench, p, backward=False):
    rows, vocab = integer(p, "rows", "vocab")
    dtype = dtype_of(p)
    sets = 1 if backward else bench.sets(torch.finfo(dtype).bits // 8 * rows * vocab)
    logits = [bench.normal(rows, vocab, dtype=dtype).requires_grad_(backward) for _ in range(sets)]
    targets = torch.randint(vocab, (rows,), device=bench.device)
    for peer, formula in entropy_peers(bench):
        if not backward:
            # In fp32, as the engine does; compiled, the cast is part of the kernel.
            yield peer, sets, lambda i, peer=peer, formula=formula: formula(
                logits[i] if peer == "torch-triton" else logits[i].float(), targets
            )
            continue
        log_prob, h = formula(logits[0], targets)
        gradients = torch.randn_like(log_prob), torch.randn_like(h)

        def run(i, outputs=(log_prob, h), gradients=gradients):
            torch.autograd.grad(outputs, logits, gradients, retain_graph=True)

        yield peer, sets, run


def head_formula(hidden, weight, targets):
    return entropy_formula(F.linear(hidden, weight).float(), targets)


def language_head(bench, p, backward=False):
    """All logits at once, in bf16: what a short training loop in PyTorch does."""
    rows, width, vocab = integer(p, "rows", "width", "vocab")
    dtype = dtype_of(p)
    hidden = bench.normal(rows, width, dtype=dtype).requires_grad_(backward)
    weight = (bench.normal(vocab, width, dtype=dtype) / math.sqrt(width)).requires_grad_(backward)
    targets = torch.randint(vocab, (rows,), device=bench.device)
    up, up_entropy = (bench.normal(rows, dtype=torch.float32) for _ in range(2))
    peers = [("torch", head_formula)]
    if bench.cuda:
        peers.append(("torch-compile", torch.compile(head_formula, dynamic=False)))
        if triton is not None:
            peers.append(
                ("torch-triton", lambda x, w, targets: TritonRows.apply(F.linear(x, w), targets, 1 / 0.8))
            )
    for peer, formula in peers:

        def run(i, formula=formula):
            outputs = formula(hidden, weight, targets)
            if backward:
                torch.autograd.grad(outputs, (hidden, weight), (up, up_entropy))

        yield peer, 1, run


def draw_formula(hidden, weight, temperature):
    """A token by the same rule, noise on logits, with its log-probability and entropy."""
    z = F.linear(hidden, weight).float() / temperature
    token = (z - torch.empty_like(z).exponential_().log()).argmax(-1)
    log_p = torch.log_softmax(z, -1)
    return token, log_p.gather(-1, token[:, None]).squeeze(-1), -(log_p.exp() * log_p).sum(-1)


def head_draw(bench, p):
    rows, width, vocab = integer(p, "rows", "width", "vocab")
    dtype = dtype_of(p)
    hidden = bench.normal(rows, width, dtype=dtype)
    weight = bench.normal(vocab, width, dtype=dtype) / math.sqrt(width)
    yield "torch", 1, lambda i: draw_formula(hidden, weight, 0.8)
    if bench.cuda:
        compiled = torch.compile(draw_formula, dynamic=False)
        yield "torch-compile", 1, lambda i: compiled(hidden, weight, 0.8)


def softmax(bench, p):
    rows, vocab = integer(p, "rows", "vocab")
    x = bench.normal(rows, vocab, dtype=torch.float32)
    yield "torch", 1, lambda i: torch.softmax(x, -1)


OPERATIONS = {
    "copy": copy,
    "gemm": gemm,
    "gemm_batch": gemm_batch,
    "swiglu_gemm": swiglu_gemm,
    "attention": attention,
    "attention_backward": attention_backward,
    "attention_decode": attention_decode,
    "rms_norm": lambda bench, p: norm(bench, p, False, False),
    "rms_norm_backward": lambda bench, p: norm(bench, p, False, True),
    "layer_norm": lambda bench, p: norm(bench, p, True, False),
    "layer_norm_backward": lambda bench, p: norm(bench, p, True, True),
    "gelu": gelu,
    "gelu_backward": lambda bench, p: gelu(bench, p, True),
    "swiglu": swiglu,
    "add": add,
    "cast": cast,
    "sum_rows": sum_rows,
    "adamw": adamw,
    "gather": gather,
    "scatter_add": scatter_add,
    "pixel_unshuffle": pixel_unshuffle,
    "connector": connector,
    "entropy": entropy,
    "entropy_backward": lambda bench, p: entropy(bench, p, True),
    "head": language_head,
    "head_backward": lambda bench, p: language_head(bench, p, True),
    "head_draw": head_draw,
    "softmax": softmax,
}


def head(bench):
    meaning = {"torch": f"{torch.__version__}, Python {sys.version.split()[0]}"}
    if bench.cuda:
        properties = torch.cuda.get_device_properties(0)
        cudnn = torch.backends.cudnn.version()
        meaning["torch on"] = f"{properties.name}, CUDA {torch.version.cuda}, cuDNN {cudnn}"
    return {"head": meaning}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pattern", nargs="?", default="", help="only cases whose name contains this expression")
    parser.add_argument("--cases", type=Path, help="the list of cases")
    parser.add_argument("--out", type=Path, help="the file to write (default: standard output)")
    parser.add_argument("--seconds", type=float, default=0.15, help="about how long each measurement takes")
    parser.add_argument("--cpu", action="store_true", help="small sizes on the CPU")
    arguments = parser.parse_args()
    resources = Path(__file__).resolve().parents[1] / "src/main/resources/dev/saccade/bench"
    cases = arguments.cases or resources / ("cases-tiny.txt" if arguments.cpu else "cases.txt")
    if not arguments.cpu and not torch.cuda.is_available():
        sys.exit("torch_peers.py: PyTorch finds no GPU; --cpu runs small sizes on the CPU")
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    torch._functorch.config.donated_buffer = False  # a compiled backward pass runs many times here
    bench = Bench("cpu" if arguments.cpu else "cuda", arguments.seconds)
    out = arguments.out.open("w") if arguments.out else sys.stdout
    print(json.dumps(head(bench)), file=out, flush=True)
    for name, parameters in read_cases(cases):
        operation = OPERATIONS.get(parameters["op"])
        if operation is None or not re.search(arguments.pattern, name):
            continue
        try:
            for peer, sets, run in operation(bench, parameters):
                try:
                    median, low, high = bench.measure(run, sets)
                except RuntimeError as e:  # a backend that refuses these extents
                    print(f"{name}: {peer}: {str(e).splitlines()[0]}", file=sys.stderr)
                    continue
                line = {"case": name, "peer": peer, "microseconds": median, "low": low, "high": high}
                print(json.dumps(line), file=out, flush=True)
        except RuntimeError as e:
            print(f"{name}: {str(e).splitlines()[0]}", file=sys.stderr)
        if bench.cuda:
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
