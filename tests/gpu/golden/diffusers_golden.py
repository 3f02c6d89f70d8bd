#!/usr/bin/env python3
"""Makes tiny DiT pipelines with random weights by the diffusers package, and what it draws with them.

  pip install diffusers torch safetensors
  python3 tests/gpu/golden/diffusers_golden.py            # the two of this folder
  python3 tests/gpu/golden/diffusers_golden.py --seed 7 /tmp/others
  GPUPOOL_GOLDEN_DIR=/tmp/others build/release/gpu_test "[diffusers]"

Each folder is a pipeline as save_pretrained() leaves it, and golden.safetensors: the latents that a
picture begins with, and the picture ([1, 3, side, side], 0 to 1), with its class, steps and guidance
as metadata. The files of this folder: diffusers 0.42.1, torch 2.15.0, seed 1.
"""
import argparse
import pathlib

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel
from safetensors.torch import save_file


def like_dit_xl2(seed):
    """Every choice as in the published DiT-XL/2, but small; embedders differ from block to block."""
    torch.manual_seed(seed)
    transformer = DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=2,
        sample_size=8, patch_size=2,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 16), norm_num_groups=4, sample_size=16,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )
    scheduler = DDIMScheduler(clip_sample=False)
    labels = {0: "tench, Tinca tinca", 7: "cock", 207: "golden retriever"}
    pipeline = DiTPipeline(transformer=transformer, vae=vae, scheduler=scheduler)
    pipeline.register_to_config(id2label=labels)  # as the published one has them
    return pipeline, {"class": 207, "steps": 10, "guidance": 4.0}


def otherwise(seed):
    """Every choice that is read, made the other way; one embedder for all blocks."""
    torch.manual_seed(seed + 1)
    transformer = DiTTransformer2DModel(
        num_attention_heads=3, attention_head_dim=4, in_channels=3, out_channels=3, num_layers=2,
        sample_size=4, patch_size=1, attention_bias=False, norm_eps=1e-3,
    )
    for block in transformer.transformer_blocks[1:]:
        first = transformer.transformer_blocks[0].norm1.emb
        block.norm1.emb.load_state_dict(first.state_dict())
    vae = AutoencoderKL(
        block_out_channels=(4, 8, 8), layers_per_block=2, norm_num_groups=4, latent_channels=3,
        sample_size=16, scaling_factor=0.5, mid_block_add_attention=False, use_quant_conv=False,
        use_post_quant_conv=False,
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
    )
    scheduler = DDIMScheduler(
        num_train_timesteps=600, beta_schedule="scaled_linear", prediction_type="v_prediction",
        timestep_spacing="trailing", set_alpha_to_one=False, clip_sample=True, clip_sample_range=1.5,
    )
    pipeline = DiTPipeline(transformer=transformer, vae=vae, scheduler=scheduler)
    return pipeline, {"class": 3, "steps": 8, "guidance": 1.0}


def save(pipeline, request, folder):
    config = pipeline.transformer.config
    shape = (1, config.in_channels, config.sample_size, config.sample_size)
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(5))
    picture = pipeline(
        [request["class"]], guidance_scale=request["guidance"], num_inference_steps=request["steps"],
        generator=torch.Generator().manual_seed(5), output_type="np",
    ).images
    picture = torch.from_numpy(picture).permute(0, 3, 1, 2).contiguous()
    pipeline.save_pretrained(folder)
    tensors = {"latents": latents, "picture": picture}
    save_file(tensors, folder / "golden.safetensors", {k: str(v) for k, v in request.items()})
    for file in folder.rglob("*.safetensors"):
        file.chmod(0o644)
    print(f"{folder}: {tuple(picture.shape)}, {picture.min():.3f} to {picture.max():.3f}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", default=pathlib.Path(__file__).parent, type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    for make in (like_dit_xl2, otherwise):
        pipeline, request = make(args.seed)
        pipeline.set_progress_bar_config(disable=True)
        pipeline.transformer.eval()  # while it is trained, a class is left out now and then
        pipeline.vae.eval()
        save(pipeline, request, args.folder / make.__name__)


if __name__ == "__main__":
    main()
