"""PyTorch's side of the comparison: `python torch_peer.py THREADS LAYOUT train|reverse BATCH`.

The model `m28h1` is diffusers' UNet2DModel for 28x28 grey images: widths 32, 64, 128, one layer per block, 8 groups,
attention with one head at the second level and in the middle; 2.59 M parameters. A step is

- `train`: draws, noise, forward, mean squared error, backward, Adam;
- `reverse`: eps_hat, x_{t-1} = mu_theta + sigma_t z, without gradients.

LAYOUT is `nchw`, `channels_last` (both eager) or `compiled` (torch.compile and channels_last).
"""

import sys

import torch
import torch.nn.functional as F
from diffusers import UNet2DModel

from worker import serve


def network(layout="nchw"):
    torch.manual_seed(0)
    model = UNet2DModel(
        sample_size=28, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(32, 64, 128),
        norm_num_groups=8, attention_head_dim=None,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    )
    return model if layout == "nchw" else model.to(memory_format=torch.channels_last)


def images(batch, layout):
    x = torch.randn(batch, 1, 28, 28)
    return x if layout == "nchw" else x.to(memory_format=torch.channels_last)


def training_step(model, predict, x0, alpha_bar):
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-4)

    def step():
        t = torch.randint(0, 1000, (len(x0),))
        eps = torch.randn_like(x0)
        a = alpha_bar[t].view(-1, 1, 1, 1)
        x_t = a.sqrt() * x0 + (1 - a).sqrt() * eps
        optimizer.zero_grad(set_to_none=True)
        loss = F.mse_loss(predict(x_t, t).sample, eps)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def reverse_step(model, predict, x, beta, alpha_bar):
    model.eval()
    t = 499
    times = torch.full((len(x),), t)

    @torch.inference_mode()
    def step():
        eps_hat = predict(x, times).sample
        mean = (x - beta[t] / (1 - alpha_bar[t]).sqrt() * eps_hat) / (1 - beta[t]).sqrt()
        return mean + beta[t].sqrt() * torch.randn_like(x)

    return step


def main():
    threads, layout, work, batch = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    torch.set_num_threads(threads)
    beta = torch.linspace(1e-4, 0.02, 1000)
    alpha_bar = (1 - beta).cumprod(0)
    model, x = network(layout), images(batch, layout)
    predict = torch.compile(model) if layout == "compiled" else model
    if work == "train":
        step = training_step(model, predict, x, alpha_bar)
    else:
        step = reverse_step(model, predict, x, beta, alpha_bar)
    parameters = sum(p.numel() for p in model.parameters())
    serve({"peer": f"torch {torch.__version__} {layout}", "parameters": parameters}, step)


if __name__ == "__main__":
    main()
