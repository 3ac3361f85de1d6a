"""PyTorch's side of the comparison: `python torch_peer.py THREADS LAYOUT train|reverse BATCH`.

The model `m28h1` is diffusers' UNet2DModel for 28x28 grey images: widths 32, 64, 128, one layer per block, 8 groups,
attention with one head at the second level and in the middle; 2.59 M parameters. A step is

- `train`: draws, noise, forward, mean squared error, backward, Adam;
- `reverse`: eps_hat, x_{t-1} = mu_theta + sigma_t z, without gradients.

LAYOUT is `nchw`, `channels_last` (both eager) or `compiled` (torch.compile and channels_last).

The protocol is that of rust/src/lib.rs: one line of JSON when warm; then for each line of input, a number of steps,
one line with their mean time and the peak of resident memory. Between its answers a worker sleeps.
"""

import json
import os
import resource
import sys
import time

THREADS, LAYOUT, WORK, BATCH = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
os.environ["OMP_NUM_THREADS"] = str(THREADS)

import torch
import torch.nn.functional as F
from diffusers import UNet2DModel

WARM_UP = 3


def network():
    torch.manual_seed(0)
    model = UNet2DModel(
        sample_size=28, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(32, 64, 128),
        norm_num_groups=8, attention_head_dim=None,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    )
    return model if LAYOUT == "nchw" else model.to(memory_format=torch.channels_last)


def images():
    x = torch.randn(BATCH, 1, 28, 28)
    return x if LAYOUT == "nchw" else x.to(memory_format=torch.channels_last)


def training_step(model, alpha_bar):
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-4)
    predict = torch.compile(model) if LAYOUT == "compiled" else model
    x0 = images()

    def step():
        t = torch.randint(0, 1000, (BATCH,))
        eps = torch.randn_like(x0)
        a = alpha_bar[t].view(-1, 1, 1, 1)
        x_t = a.sqrt() * x0 + (1 - a).sqrt() * eps
        optimizer.zero_grad(set_to_none=True)
        loss = F.mse_loss(predict(x_t, t).sample, eps)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def reverse_step(model, beta, alpha_bar):
    model.eval()
    predict = torch.compile(model) if LAYOUT == "compiled" else model
    x, t = images(), 499
    times = torch.full((BATCH,), t)

    @torch.inference_mode()
    def step():
        eps_hat = predict(x, times).sample
        mean = (x - beta[t] / (1 - alpha_bar[t]).sqrt() * eps_hat) / (1 - beta[t]).sqrt()
        return mean + beta[t].sqrt() * torch.randn_like(x)

    return step


def main():
    torch.set_num_threads(THREADS)
    beta = torch.linspace(1e-4, 0.02, 1000)
    alpha_bar = (1 - beta).cumprod(0)
    model = network()
    step = training_step(model, alpha_bar) if WORK == "train" else reverse_step(model, beta, alpha_bar)
    for _ in range(WARM_UP):
        step()
    parameters = sum(p.numel() for p in model.parameters())
    print(json.dumps({"peer": f"torch {torch.__version__} {LAYOUT}", "parameters": parameters}), flush=True)
    for line in sys.stdin:
        steps = int(line)
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(steps):
            step()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        print(json.dumps({"cpu_ms": cpu * 1e3 / steps, "wall_ms": wall * 1e3 / steps, "rss_mib": rss}), flush=True)


main()
