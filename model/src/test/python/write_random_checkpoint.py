"""Writes a checkpoint with the shape of InternVL3-38B (Skywork-R1V3) and random weights, shard by shard.

    python3 model/src/test/python/write_random_checkpoint.py DIR [--layers 64] [--tokenizer tokenizer.json]

To see that a model of that size loads and generates where its weights are not at hand. The numbers are made on the GPU and
written in bf16; nothing but torch and safetensors is needed. A layer of the decoder is 0.98 GB, the rest 14 GB.
"""

import argparse
import json
import pathlib
import time

import torch
from safetensors.torch import save_file

C, FFN_V, LAYERS_V = 3200, 12800, 45
# What InternVL3 adds to the tokens of Qwen2.5, in the order of their ids.
FIRST_IMAGE_TOKEN = 151665
IMAGE_TOKENS = "<img> </img> <IMG_CONTEXT> <quad> </quad> <ref> </ref> <box> </box>".split()
D, FFN, HEADS, KV, HEAD_DIM, VOCABULARY = 5120, 27648, 40, 8, 128, 151674


def config(layers):
    return dict(
        architectures=["InternVLForConditionalGeneration"],
        model_type="internvl",
        image_token_id=151667,
        image_seq_length=256,
        downsample_ratio=0.5,
        projector_hidden_act="gelu",
        tie_word_embeddings=False,
        vision_config=dict(
            model_type="internvl_vision",
            hidden_size=C,
            num_hidden_layers=LAYERS_V,
            num_attention_heads=25,
            intermediate_size=FFN_V,
            image_size=[448, 448],
            patch_size=[14, 14],
            norm_type="rms_norm",
            use_qk_norm=True,
            attention_bias=False,
            layer_norm_eps=1e-6,
            use_mean_pooling=True,
            layer_scale_init_value=0.1,
            hidden_act="gelu",
            use_absolute_position_embeddings=True,
        ),
        text_config=dict(
            model_type="qwen2",
            vocab_size=VOCABULARY,
            hidden_size=D,
            intermediate_size=FFN,
            num_hidden_layers=layers,
            num_attention_heads=HEADS,
            num_key_value_heads=KV,
            head_dim=HEAD_DIM,
            hidden_act="silu",
            rms_norm_eps=1e-6,
            rope_theta=1e6,
            max_position_embeddings=32768,
            tie_word_embeddings=False,
            bos_token_id=151643,
            eos_token_id=151645,
        ),
    )


def shapes(layers):
    """Groups of tensors, a shard each."""
    v = "model.vision_tower."
    first = {
        v + "embeddings.cls_token": (1, 1, C),
        v + "embeddings.position_embeddings": (1, 1025, C),
        v + "embeddings.patch_embeddings.projection.weight": (C, 3, 14, 14),
        v + "embeddings.patch_embeddings.projection.bias": (C,),
    }
    for i in range(LAYERS_V):
        layer = f"{v}encoder.layer.{i}."
        first |= {layer + n: (C,) for n in ("lambda_1", "lambda_2", "layernorm_before.weight", "layernorm_after.weight")}
        first |= {layer + f"attention.{n}_norm.weight": (C,) for n in "qk"}
        first |= {layer + f"attention.{n}_proj.weight": (C, C) for n in "qkv"}
        first |= {layer + "attention.projection_layer.weight": (C, C), layer + "attention.projection_layer.bias": (C,)}
        first |= {layer + "mlp.fc1.weight": (FFN_V, C), layer + "mlp.fc1.bias": (FFN_V,)}
        first |= {layer + "mlp.fc2.weight": (C, FFN_V), layer + "mlp.fc2.bias": (C,)}
    p = "model.multi_modal_projector."
    first |= {p + "layer_norm.weight": (4 * C,), p + "layer_norm.bias": (4 * C,)}
    first |= {p + "linear_1.weight": (D, 4 * C), p + "linear_1.bias": (D,), p + "linear_2.weight": (D, D), p + "linear_2.bias": (D,)}
    yield first
    t = "model.language_model."
    yield {t + "embed_tokens.weight": (VOCABULARY, D), "lm_head.weight": (VOCABULARY, D), t + "norm.weight": (D,)}
    for start in range(0, layers, 4):
        group = {}
        for i in range(start, min(layers, start + 4)):
            layer = f"{t}layers.{i}."
            group |= {layer + n + "_layernorm.weight": (D,) for n in ("input", "post_attention")}
            for n, out in (("q", HEADS * HEAD_DIM), ("k", KV * HEAD_DIM), ("v", KV * HEAD_DIM)):
                group |= {layer + f"self_attn.{n}_proj.weight": (out, D), layer + f"self_attn.{n}_proj.bias": (out,)}
            group |= {layer + "self_attn.o_proj.weight": (D, HEADS * HEAD_DIM)}
            group |= {layer + "mlp.gate_proj.weight": (FFN, D), layer + "mlp.up_proj.weight": (FFN, D)}
            group |= {layer + "mlp.down_proj.weight": (D, FFN)}
        yield group


def values(name, shape, generator):
    noise = torch.randn(shape, generator=generator, device="cuda", dtype=torch.bfloat16)
    if "norm" in name and name.endswith("weight"):
        noise = 1 + 0.1 * noise
    elif "lambda" in name:
        noise = 0.1 + 0.01 * noise
    elif len(shape) == 1:
        noise = 0.1 * noise
    else:
        noise *= noise[0].numel() ** -0.5 if len(shape) != 3 else 0.02
    return noise.cpu().contiguous()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--layers", type=int, default=64)
    parser.add_argument("--tokenizer", type=pathlib.Path)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator("cuda").manual_seed(1)
    start, total, files = time.time(), 0, {}
    groups = list(shapes(options.layers))
    for k, group in enumerate(groups):
        file = f"model-{k + 1:05d}-of-{len(groups):05d}.safetensors"
        weights = {name: values(name, shape, generator) for name, shape in group.items()}
        save_file(weights, options.folder / file, {"format": "pt"})
        files |= dict.fromkeys(weights, file)
        total += sum(w.numel() * 2 for w in weights.values())
    index = dict(metadata=dict(total_size=total), weight_map=files)
    (options.folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))
    (options.folder / "config.json").write_text(json.dumps(config(options.layers), indent=2))
    if options.tokenizer:
        tokenizer = json.loads(options.tokenizer.read_text())
        known = {token["content"] for token in tokenizer["added_tokens"]}
        flags = dict(single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
        tokenizer["added_tokens"] += [
            dict(id=FIRST_IMAGE_TOKEN + i, content=text, **flags) for i, text in enumerate(IMAGE_TOKENS) if text not in known
        ]
        (options.folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    print(f"{total / 1e9:.1f} GB in {time.time() - start:.0f} s")


main()
