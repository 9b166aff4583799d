"""Makes the tiny checkpoints that ReferenceCheckpointTest compares Saccade with.

    python3 model/src/test/python/make_fixtures.py model/src/test/resources/reference

Needs torch, torchvision, pillow and transformers 5; users and tests need none of them, since what this writes is
committed. Each folder is a checkpoint with random weights and a golden.safetensors: what transformers computes from it in
fp32 on the CPU. All weights are numbers that bf16 and fp16 hold exactly, so the type of the file changes no result.
"""

import json
import pathlib
import sys

import numpy
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from torchvision import transforms

TILE = 56
PATCH = 14
MAX_TILES = 6
VOCABULARY = 320
IMAGE_TOKEN = 7
START, END = 5, 6
GREEDY = 24


def exact(tensor):
    """The nearest number that bf16 and fp16 both hold: bf16's, and 0 below fp16's normal range."""
    rounded = tensor.to(torch.bfloat16).float()
    return torch.where(rounded.abs() < 2.0**-14, torch.zeros_like(rounded), rounded)


def randomize(model, seed):
    """Weights that make every part count: transformers' own start with 0.02 would leave most of it linear."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            last = name.split(".")[-1]
            if "norm" in name and last == "weight":
                value = 1 + 0.2 * noise
            elif last.startswith("lambda"):
                value = 0.6 + 0.2 * noise
            elif last == "bias":
                value = 0.2 * noise
            elif last in ("cls_token", "position_embeddings") or "embed_tokens" in name:
                value = 0.5 * noise
            else:
                value = noise * parameter[0].numel() ** -0.5 * (3 if "lm_head" in name else 1)
            parameter.copy_(exact(value))
    return model.eval()


def grid(width, height):
    """The remote code's choice of columns and rows."""
    ratio, best, nearest = width / height, (1, 1), float("inf")
    grids = sorted(
        {(i, j) for n in range(1, MAX_TILES + 1) for i in range(1, n + 1) for j in range(1, n + 1) if i * j <= MAX_TILES},
        key=lambda g: g[0] * g[1],
    )
    for columns, rows in grids:
        difference = abs(ratio - columns / rows)
        if difference < nearest:
            nearest, best = difference, (columns, rows)
        elif difference == nearest and width * height > 0.5 * TILE * TILE * columns * rows:
            best = (columns, rows)
    return best


def tiles(path):
    image = Image.open(path).convert("RGB")
    columns, rows = grid(*image.size)
    resized = image.resize((TILE * columns, TILE * rows))
    cut = [
        resized.crop((c * TILE, r * TILE, (c + 1) * TILE, (r + 1) * TILE)) for r in range(rows) for c in range(columns)
    ]
    if len(cut) > 1:
        cut.append(image.resize((TILE, TILE)))
    return cut


NORMALIZE = transforms.Compose(
    [transforms.ToTensor(), transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
)


def pictures(folder):
    """PNGs of several shapes, and the tiles that Pillow and torchvision make of them."""
    generator = numpy.random.default_rng(3)
    golden = {}
    for name, width, height, mode in (
        ("wide", 143, 61, "RGB"),
        ("square", 56, 56, "RGB"),
        ("tall", 40, 97, "L"),
        ("alpha", 75, 75, "RGBA"),
        ("dot", 1, 1, "RGB"),
    ):
        channels = {"RGB": 3, "L": 1, "RGBA": 4}[mode]
        y, x = numpy.mgrid[0:height, 0:width]
        waves = numpy.stack(
            [127 + 90 * numpy.sin(x / (3.0 + c) + c) * numpy.cos(y / (5.0 - c) + 2 * c) for c in range(channels)], -1
        )
        pixels = numpy.clip(waves + generator.normal(0, 12, waves.shape), 0, 255).astype(numpy.uint8)
        Image.fromarray(pixels[..., 0] if mode == "L" else pixels, mode).save(folder / f"{name}.png", optimize=True)
        cut = tiles(folder / f"{name}.png")
        golden[name] = torch.stack([torch.from_numpy(numpy.array(tile)) for tile in cut])
    ramp = Image.fromarray(numpy.repeat(numpy.arange(256, dtype=numpy.uint8)[None, :, None], 3, 2))
    golden["normalized"] = NORMALIZE(ramp)[:, 0].contiguous()
    save_file(golden, folder / "tiles.safetensors")


def vision_config(rms):
    return dict(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=[TILE, TILE],
        patch_size=[PATCH, PATCH],
        norm_type="rms_norm" if rms else "layer_norm",
        use_qk_norm=rms,
        attention_bias=not rms,
        layer_norm_eps=1e-6,
        use_mean_pooling=True,
        layer_scale_init_value=0.1,
        hidden_act="gelu",
        use_absolute_position_embeddings=True,
    )


def text_config(kind="qwen2", **more):
    return dict(
        model_type=kind,
        vocab_size=VOCABULARY,
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=96,
        hidden_act="silu",
        rms_norm_eps=1e-6,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=1,
        tie_word_embeddings=False,
    ) | more


def remote_names(weights):
    """The names of the remote-code layout, and q, k and v in one matrix."""
    layers, renamed = {}, {}
    vision = {
        "embeddings.cls_token": "embeddings.class_embedding",
        "embeddings.position_embeddings": "embeddings.position_embedding",
        "embeddings.patch_embeddings.projection.": "embeddings.patch_embedding.",
        "encoder.layer.": "encoder.layers.",
        "lambda_1": "ls1",
        "lambda_2": "ls2",
        "attention.projection_layer.": "attn.proj.",
        "attention.q_norm.": "attn.q_norm.",
        "attention.k_norm.": "attn.k_norm.",
        "layernorm_before.": "norm1.",
        "layernorm_after.": "norm2.",
    }
    for name, value in weights.items():
        if name.startswith("model.vision_tower."):
            rest = name.removeprefix("model.vision_tower.")
            if any(f"attention.{p}_proj." in rest for p in "qkv"):
                kind = rest[rest.index("_proj.") - 1]
                layers.setdefault(rest.replace(f"attention.{kind}_proj.", "attn.qkv."), {})[kind] = value
                continue
            for old, new in vision.items():
                rest = rest.replace(old, new)
            renamed["vision_model." + rest] = value
        elif name.startswith("model.multi_modal_projector."):
            rest = name.removeprefix("model.multi_modal_projector.")
            for old, new in (("layer_norm.", "mlp1.0."), ("linear_1.", "mlp1.1."), ("linear_2.", "mlp1.3.")):
                rest = rest.replace(old, new)
            renamed[rest] = value
        elif name.startswith("model.language_model."):
            renamed["language_model.model." + name.removeprefix("model.language_model.")] = value
        else:
            renamed["language_model." + name] = value
    for name, parts in layers.items():
        renamed["vision_model." + name.replace("encoder.layer.", "encoder.layers.")] = torch.cat(
            [parts["q"], parts["k"], parts["v"]]
        )
    return renamed


def legacy_names(weights):
    """The spelling of the -hf repositories of 2025."""
    renamed = {}
    for name, value in weights.items():
        if name.startswith("model.language_model."):
            name = "language_model.model." + name.removeprefix("model.language_model.")
        elif name.startswith("lm_head."):
            name = "language_model." + name
        else:
            name = name.removeprefix("model.")
        renamed[name] = value
    return renamed


def remote_config(rms, text):
    vision = vision_config(rms)
    return dict(
        architectures=["SkyworkR1VChatModel" if rms else "InternVLChatModel"],
        model_type="skywork_chat" if rms else "internvl_chat",
        downsample_ratio=0.5,
        dynamic_image_size=True,
        force_image_size=TILE,
        max_dynamic_patch=12,
        min_dynamic_patch=1,
        pad2square=False,
        ps_version="v2",
        select_layer=-1,
        template="internvl2_5",
        use_thumbnail=True,
        use_backbone_lora=0,
        use_llm_lora=0,
        tie_word_embeddings=False,
        torch_dtype="bfloat16",
        llm_config=text | dict(architectures=["Qwen2ForCausalLM"], rope_theta=1e6),
        vision_config=dict(
            model_type="intern_vit_6b",
            hidden_size=vision["hidden_size"],
            num_hidden_layers=vision["num_hidden_layers"],
            num_attention_heads=vision["num_attention_heads"],
            intermediate_size=vision["intermediate_size"],
            image_size=TILE,
            patch_size=PATCH,
            num_channels=3,
            norm_type=vision["norm_type"],
            qk_normalization=rms,
            qkv_bias=not rms,
            layer_norm_eps=1e-6,
            hidden_act="gelu",
            initializer_factor=0.1,
            drop_path_rate=0.1,
            dropout=0.0,
        ),
    )


def write_config(folder, config):
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def shards(folder, weights, count):
    names = sorted(weights)
    size = -(-len(names) // count)
    files = {}
    for k in range(count):
        file = f"model-{k + 1:05d}-of-{count:05d}.safetensors"
        part = names[k * size : (k + 1) * size]
        save_file({n: weights[n] for n in part}, folder / file, {"format": "pt"})
        files |= dict.fromkeys(part, file)
    total = sum(w.numel() * w.element_size() for w in weights.values())
    index = dict(metadata=dict(total_size=total), weight_map=files)
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


@torch.no_grad()
def golden(model, inputs, folder):
    """Hidden states, logits and greedy tokens; the smallest margin of the greedy choices is printed."""
    output = model(**inputs, output_hidden_states=True, use_cache=False)
    result = {"input_ids": inputs["input_ids"][0].int(), "logits": output.logits[0].contiguous()}
    for i, hidden in enumerate(output.hidden_states):
        result[f"hidden.{i}"] = hidden[0].contiguous()
    if "pixel_values" in inputs:
        result["pixel_values"] = inputs["pixel_values"].contiguous()
        features = model.model.vision_tower(inputs["pixel_values"]).last_hidden_state
        result["vision"] = features.contiguous()
        images = model.model.get_image_features(pixel_values=inputs["pixel_values"])
        images = getattr(images, "pooler_output", images)
        images = torch.cat(list(images)) if isinstance(images, (list, tuple)) else images
        result["visual_tokens"] = images.reshape(-1, images.shape[-1]).contiguous()
    ids, chosen, margin = inputs["input_ids"], [], float("inf")
    for _ in range(GREEDY):
        logits = model(**(inputs | {"input_ids": ids, "attention_mask": torch.ones_like(ids)}), use_cache=False).logits[0, -1]
        # As Saccade, which can't say the image token.
        if "pixel_values" in inputs:
            logits[IMAGE_TOKEN] = float("-inf")
        top = logits.topk(2).values
        margin = min(margin, float(top[0] - top[1]))
        chosen.append(int(logits.argmax()))
        ids = torch.cat([ids, torch.tensor([[chosen[-1]]])], 1)
    result["greedy"] = torch.tensor(chosen, dtype=torch.int32)
    save_file(result, folder / "golden.safetensors")
    print(f"{folder.name}: {result['logits'].shape}, std {result['logits'].std():.2f}, smallest greedy margin {margin:.2e}")


def vision_language(root, name, rms, seed):
    text = text_config(rope_theta=1e6)
    config = transformers.InternVLConfig(
        vision_config=vision_config(rms),
        text_config=text,
        image_token_id=IMAGE_TOKEN,
        image_seq_length=4,
        downsample_ratio=0.5,
        projector_hidden_act="gelu",
        tie_word_embeddings=False,
    )
    config._attn_implementation = "eager"
    model = transformers.InternVLForConditionalGeneration(config).float()
    model = randomize(model, seed)
    native = root / f"{name}-native"
    remote = root / f"{name}-remote"
    for folder in (native, remote):
        folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(root / "saved")
    saved = load_file(root / "saved" / "model.safetensors")
    print(f"{name}: transformers writes {sorted(saved)[0]} ... {sorted(saved)[-1]}")
    weights = {n: w for n, w in model.state_dict().items()}
    write_config(native, json.loads((root / "saved" / "config.json").read_text()))
    if rms:
        shards(native, {n: w.half() for n, w in legacy_names(weights).items()}, 2)
    else:
        save_file(saved, native / "model.safetensors", {"format": "pt"})
    save_file({n: w.bfloat16() for n, w in remote_names(weights).items()}, remote / "model.safetensors", {"format": "pt"})
    write_config(remote, remote_config(rms, text))
    (remote / "added_tokens.json").write_text(json.dumps({"<IMG_CONTEXT>": IMAGE_TOKEN}) + "\n")
    values = torch.stack([NORMALIZE(t) for n in ("wide", "square") for t in tiles(root / "pictures" / f"{n}.png")])
    generator = torch.Generator().manual_seed(seed + 1)
    words = lambda n: torch.randint(10, VOCABULARY, (n,), generator=generator).tolist()
    first = len(tiles(root / "pictures" / "wide.png"))
    ids = words(5) + [START] + [IMAGE_TOKEN] * (4 * first) + [END] + words(3)
    ids += [START] + [IMAGE_TOKEN] * 4 * (len(values) - first) + [END] + words(9)
    inputs = dict(input_ids=torch.tensor([ids]), pixel_values=values, attention_mask=torch.ones(1, len(ids), dtype=torch.long))
    golden(model, inputs, native)
    for file in (root / "saved").iterdir():
        file.unlink()
    (root / "saved").rmdir()


def text_only(root, name, config, seed, length):
    config._attn_implementation = "eager"
    model = randomize(transformers.AutoModelForCausalLM.from_config(config).float(), seed)
    folder = root / name
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    ids = torch.randint(10, VOCABULARY, (1, length), generator=torch.Generator().manual_seed(seed + 1))
    golden(model, dict(input_ids=ids, attention_mask=torch.ones_like(ids)), folder)


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: make_fixtures.py FOLDER")
    root = pathlib.Path(sys.argv[1])
    (root / "pictures").mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    pictures(root / "pictures")
    vision_language(root, "layer-norm", False, 11)
    vision_language(root, "rms-norm", True, 12)
    tied = text_config(tie_word_embeddings=True)
    tied.pop("model_type")
    text_only(root, "qwen2", transformers.Qwen2Config(**tied), 13, 40)
    llama = text_config(rms_norm_eps=1e-5, num_key_value_heads=4)
    llama.pop("model_type")
    text_only(root, "llama", transformers.LlamaConfig(**llama), 14, 40)
    stretched = text_config(max_position_embeddings=32, rope_scaling={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e6})
    stretched.pop("model_type")
    text_only(root, "qwen2-dynamic-rope", transformers.Qwen2Config(**stretched), 15, 60)
    (root / "versions.txt").write_text(f"torch {torch.__version__}\ntransformers {transformers.__version__}\n")


if __name__ == "__main__":
    main()
