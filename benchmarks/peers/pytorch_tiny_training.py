"""The quick start's model in PyTorch, trained on random data: the peer of TrainingBench.

Same shapes as dev.saccade.bench.TrainingBench: 32 pictures of 56x56, 32 sequences of 56 tokens of which 4 are
visual, loss on the last 24, AdamW with gradient clipping, fp32 on the CPU.

usage: python3 pytorch_tiny_training.py [threads] [steps]
prints the median step time and tokens per second.
"""

import statistics
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

THREADS = int(sys.argv[1]) if len(sys.argv) > 1 else 2
STEPS = int(sys.argv[2]) if len(sys.argv) > 2 else 60
BATCH, LENGTH, LOSS_TOKENS, VOCAB = 32, 56, 24, 320
WIDTH, HEADS, KV_HEADS, HEAD_DIM, FFN, LAYERS = 128, 4, 2, 32, 256, 3


class VisionLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH, 1e-6), nn.LayerNorm(WIDTH, 1e-6)
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.fc1, self.fc2 = nn.Linear(WIDTH, 512), nn.Linear(512, WIDTH)
        self.ls1, self.ls2 = nn.Parameter(torch.full((WIDTH,), 0.1)), nn.Parameter(torch.full((WIDTH,), 0.1))

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, 4, 32).permute(2, 0, 3, 1, 4)
        a = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, WIDTH)
        x = x + self.ls1 * self.proj(a)
        return x + self.ls2 * self.fc2(F.gelu(self.fc1(self.norm2(x))))


class DecoderLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(WIDTH, 1e-6), nn.RMSNorm(WIDTH, 1e-6)
        self.q = nn.Linear(WIDTH, HEADS * HEAD_DIM)
        self.k, self.v = nn.Linear(WIDTH, KV_HEADS * HEAD_DIM), nn.Linear(WIDTH, KV_HEADS * HEAD_DIM)
        self.o = nn.Linear(HEADS * HEAD_DIM, WIDTH, bias=False)
        self.gate, self.up = nn.Linear(WIDTH, FFN, bias=False), nn.Linear(WIDTH, FFN, bias=False)
        self.down = nn.Linear(FFN, WIDTH, bias=False)

    def forward(self, x, cos, sin):
        b, t, _ = x.shape
        y = self.norm1(x)
        q = rotate(self.q(y).view(b, t, HEADS, HEAD_DIM).transpose(1, 2), cos, sin)
        k = rotate(self.k(y).view(b, t, KV_HEADS, HEAD_DIM).transpose(1, 2), cos, sin)
        v = self.v(y).view(b, t, KV_HEADS, HEAD_DIM).transpose(1, 2)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.o(a.transpose(1, 2).reshape(b, t, -1))
        y = self.norm2(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, WIDTH, 14, 14)
        self.cls = nn.Parameter(torch.randn(1, 1, WIDTH) * 0.02)
        self.position = nn.Parameter(torch.randn(1, 17, WIDTH) * 0.02)
        self.vision = nn.ModuleList(VisionLayer() for _ in range(2))
        self.norm, self.linear1, self.linear2 = nn.LayerNorm(512), nn.Linear(512, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.embed = nn.Embedding(VOCAB, WIDTH)
        self.layers = nn.ModuleList(DecoderLayer() for _ in range(LAYERS))
        self.final, self.head = nn.RMSNorm(WIDTH, 1e-6), nn.Linear(WIDTH, VOCAB, bias=False)
        angle = torch.outer(torch.arange(LENGTH), 1e4 ** (-torch.arange(0, HEAD_DIM, 2) / HEAD_DIM))
        self.cos, self.sin = angle.cos(), angle.sin()

    def forward(self, pixels, tokens):
        b = pixels.shape[0]
        x = self.patch(pixels).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls.expand(b, -1, -1), x), 1) + self.position
        for layer in self.vision:
            x = layer(x)
        x = x[:, 1:].view(b, 2, 2, 2, 2, WIDTH).permute(0, 1, 3, 2, 4, 5).reshape(b, 4, 4 * WIDTH)
        visual = self.linear2(F.gelu(self.linear1(self.norm(x))))
        x = self.embed(tokens)
        x = torch.cat((x[:, :8], visual, x[:, 12:]), 1)
        for layer in self.layers:
            x = layer(x, self.cos, self.sin)
        return self.head(self.final(x[:, -LOSS_TOKENS - 1 : -1]))


torch.set_num_threads(THREADS)
torch.manual_seed(0)
model = Model()
optimizer = torch.optim.AdamW(model.parameters(), 1e-3, (0.8, 0.95), 1e-8, 0.05)
pixels, tokens = torch.randn(BATCH, 3, 56, 56), torch.randint(VOCAB, (BATCH, LENGTH))
times = []
for step in range(STEPS + 10):
    start = time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    logits = model(pixels, tokens)
    loss = F.cross_entropy(logits.reshape(-1, VOCAB), tokens[:, -LOSS_TOKENS:].reshape(-1))
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    if step >= 10:
        times.append(time.perf_counter() - start)
median = statistics.median(times)
print(
    f"torch {torch.__version__}, {THREADS} threads, {sum(p.numel() for p in model.parameters()):,} parameters: "
    f"{median * 1e3:.1f} ms a step, {BATCH * LENGTH / median:,.0f} tokens/s"
)
