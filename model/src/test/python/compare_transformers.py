"""Compares Saccade with transformers on random checkpoints of InternVL3's sizes, on one CUDA GPU.

    python3 model/src/test/python/compare_transformers.py BUNDLE 1b|2b [--work DIR]

BUNDLE is an unpacked `./saccade bundle --with-tests` (the folder that has lib, tests and runtime). transformers writes a
checkpoint in bf16; then its logits in fp32 (TF32 off) and in bf16, and Saccade's in bf16, are compared:
||a - fp32|| / ||fp32||. Greedy tokens of Saccade are held against the fp32 model, token by token. What Saccade saves again
is loaded by transformers and must give the same logits; the remote-code layout is compared tensor by tensor.
"""

import argparse
import pathlib
import shutil
import subprocess
import sys

import torch
import transformers
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from make_fixtures import remote_names  # noqa: E402

IMAGE_TOKEN = 151667
SIZES = {
    "1b": dict(hidden_size=896, num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2, intermediate_size=4864),
    "2b": dict(hidden_size=1536, num_hidden_layers=28, num_attention_heads=12, num_key_value_heads=2, intermediate_size=8960),
}


def configuration(size):
    return transformers.InternVLConfig(
        vision_config=dict(
            hidden_size=1024,
            num_hidden_layers=24,
            num_attention_heads=16,
            intermediate_size=4096,
            image_size=[448, 448],
            patch_size=[14, 14],
            norm_type="layer_norm",
            use_qk_norm=False,
            attention_bias=True,
            layer_norm_eps=1e-6,
            use_mean_pooling=True,
            layer_scale_init_value=0.1,
            hidden_act="gelu",
            use_absolute_position_embeddings=True,
        ),
        text_config=dict(
            model_type="qwen2",
            vocab_size=151674,
            hidden_act="silu",
            rms_norm_eps=1e-6,
            max_position_embeddings=32768,
            rope_theta=1e6,
            bos_token_id=151643,
            eos_token_id=151645,
            tie_word_embeddings=False,
        )
        | SIZES[size],
        image_token_id=IMAGE_TOKEN,
        image_seq_length=256,
        downsample_ratio=0.5,
        projector_hidden_act="gelu",
        tie_word_embeddings=False,
    )


def random_model(size):
    config = configuration(size)
    config._attn_implementation = "eager"
    with torch.device("cuda"):
        model = transformers.InternVLForConditionalGeneration(config).to(torch.bfloat16)
    generator = torch.Generator("cuda").manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, device="cuda")
            last = name.split(".")[-1]
            if "norm" in name and last == "weight":
                noise = 1 + 0.1 * noise
            elif last.startswith("lambda"):
                noise = 0.3 + 0.1 * noise
            elif last == "bias":
                noise *= 0.1
            elif last in ("cls_token", "position_embeddings") or "embed_tokens" in name:
                noise *= 0.3
            else:
                noise *= parameter[0].numel() ** -0.5 * (3 if "lm_head" in name else 1)
            parameter.copy_(noise)
    return model.eval()


def loaded(folder, dtype):
    """As a user loads it; a model cast to bf16 after it was made would have rounded rotary frequencies."""
    model = transformers.InternVLForConditionalGeneration.from_pretrained(folder, dtype=dtype, attn_implementation="eager")
    return model.cuda().eval()


@torch.no_grad()
def logits(model, ids, pixels):
    inputs = dict(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels.to(model.dtype))
    return model(**inputs, use_cache=False).logits[0].float()


def relative(a, b):
    return float((a.double() - b.double()).norm() / b.double().norm())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=pathlib.Path)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("/tmp/saccade-compare"))
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    work = options.work / options.size
    shutil.rmtree(work, ignore_errors=True)
    (work / "out").mkdir(parents=True)

    random_model(options.size).save_pretrained(work / "checkpoint")
    model = loaded(work / "checkpoint", torch.bfloat16)
    generator = torch.Generator().manual_seed(6)
    words = torch.randint(1000, 150000, (60,), generator=generator).tolist()
    ids = torch.tensor([words[:20] + [151665] + [IMAGE_TOKEN] * 512 + [151666] + words[20:]], dtype=torch.int32)
    pixels = torch.randn(2, 3, 448, 448, generator=generator)
    save_file({"input_ids": ids[0].contiguous(), "pixel_values": pixels}, work / "inputs.safetensors")
    ids, pixels = ids.long().cuda(), pixels.cuda()
    half = logits(model, ids, pixels)
    original = {name: value.cpu() for name, value in model.state_dict().items()}
    del model
    exact_model = loaded(work / "checkpoint", torch.float32)
    exact = logits(exact_model, ids, pixels)

    java = options.bundle / "runtime/bin/java"
    path = f"{options.bundle}/lib/*:{options.bundle}/tests/*"
    for dtype in ("bfloat16", "float32"):
        out = work / "out" / dtype
        out.mkdir()
        command = [java, "--add-modules=jdk.incubator.vector", "--enable-native-access=ALL-UNNAMED", "-cp", path]
        command += ["dev.saccade.model.LogitsDump", work / "checkpoint", work / "inputs.safetensors", "cuda", dtype, out, "64"]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip().replace("\n", "; "))
        ours = load_file(out / "logits.safetensors")["logits"].cuda().float()
        print(f"{options.size}: Saccade {dtype} against transformers fp32: {relative(ours, exact):.3e}")
        # Greedy tokens, each against the fp32 model that has the tokens before it.
        chosen = [int(line) for line in (out / "greedy.txt").read_text().split()]
        with torch.no_grad():
            all_logits = logits(exact_model, torch.cat([ids, torch.tensor([chosen], device="cuda")], 1), pixels)
        steps = all_logits[ids.shape[1] - 1 : -1]
        steps[:, IMAGE_TOKEN] = float("-inf")
        top = steps.topk(2).values
        margin = top[:, 0] - top[:, 1]
        # Where the best two are nearer than the logits' error, either may win.
        error = float((ours - exact).abs().max())
        agree = steps.argmax(-1).cpu() == torch.tensor(chosen)
        clear = (margin > 2 * error).cpu()
        print(
            f"{options.size}: greedy {dtype}: {int(agree.sum())} of {len(chosen)} equal; where the fp32 margin exceeds twice the "
            f"largest error ({error:.3f}): {int((agree & clear).sum())} of {int(clear.sum())}"
        )
    print(f"{options.size}: transformers bf16 against its fp32: {relative(half, exact):.3e}")

    saved = work / "out" / "bfloat16"
    again = loaded(saved / "native", torch.bfloat16)
    print(f"{options.size}: what Saccade saved, in transformers: logits equal {torch.equal(logits(again, ids, pixels), half)}")
    remote = load_file(saved / "remote" / "model.safetensors")
    wanted = remote_names(original)
    same = remote.keys() == wanted.keys() and all(torch.equal(remote[n], wanted[n].to(remote[n].dtype)) for n in wanted)
    print(f"{options.size}: the remote-code layout that Saccade saved: {len(remote)} tensors, equal {same}")


main()
