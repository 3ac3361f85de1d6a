"""PyTorch's side of the comparison: `python torch_peer.py THREADS LAYOUT MODEL train|reverse BATCH`.

MODEL is a folder with a configuration of diffusers, of a UNet2DModel or an AutoencoderKL; the weights are made anew. A
step is

- `train`: draws, noise, forward, mean squared error, backward, Adam; of an autoencoder, with the KL in the loss;
- `reverse`: eps_hat, x_{t-1} = mu_theta + sigma_t z, without gradients; of an autoencoder, decoding.

LAYOUT is `nchw`, `channels_last` (both eager) or `compiled` (torch.compile and channels_last).
"""

import sys

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet2DModel

from worker import serve

KL = 1e-3  # its weight
STEP = 499


def network(folder):
    torch.manual_seed(0)
    config = UNet2DModel.load_config(folder)
    kind = {"UNet2DModel": UNet2DModel, "AutoencoderKL": AutoencoderKL}[config["_class_name"]]
    return kind.from_config(config)


def schedule():
    beta = torch.linspace(1e-4, 0.02, 1000)
    return beta, (1 - beta).cumprod(0)


def images(model, batch, layout):
    size = model.config.sample_size
    x = torch.randn(batch, model.config.in_channels, size, size)
    return x if layout == "nchw" else x.to(memory_format=torch.channels_last)


def training_step(model, loss):
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-4)

    def step():
        optimizer.zero_grad(set_to_none=True)
        value = loss()
        value.backward()
        optimizer.step()
        return value.item()

    return step


def denoising_loss(predict, x0):
    _, alpha_bar = schedule()

    def loss():
        t = torch.randint(0, 1000, (len(x0),))
        eps = torch.randn_like(x0)
        a = alpha_bar[t].view(-1, 1, 1, 1)
        x_t = a.sqrt() * x0 + (1 - a).sqrt() * eps
        return F.mse_loss(predict(x_t, t).sample, eps)

    return loss


def autoencoding_loss(model, x):
    def loss():
        q = model.encode(x).latent_dist
        return F.mse_loss(model.decode(q.sample()).sample, x) + KL * q.kl().mean() / x[0].numel()

    return loss


def reverse_step(predict, x):
    beta, alpha_bar = schedule()
    times = torch.full((len(x),), STEP)

    @torch.inference_mode()
    def step():
        eps_hat = predict(x, times).sample
        mean = (x - beta[STEP] / (1 - alpha_bar[STEP]).sqrt() * eps_hat) / (1 - beta[STEP]).sqrt()
        return mean + beta[STEP].sqrt() * torch.randn_like(x)

    return step


def decoding(model, z):
    @torch.inference_mode()
    def step():
        return model.decode(z).sample

    return step


def main():
    threads, layout, folder, work, batch = int(sys.argv[1]), *sys.argv[2:5], int(sys.argv[5])
    torch.set_num_threads(threads)
    model = network(folder)
    if layout != "nchw":
        model = model.to(memory_format=torch.channels_last)
    x = images(model, batch, layout)
    predict = torch.compile(model) if layout == "compiled" else model
    if isinstance(model, AutoencoderKL):
        with torch.inference_mode():
            z = model.encode(x).latent_dist.sample()
        step = training_step(model, autoencoding_loss(model, x)) if work == "train" else decoding(model.eval(), z)
    elif work == "train":
        step = training_step(model, denoising_loss(predict, x))
    else:
        model.eval()
        step = reverse_step(predict, x)
    parameters = sum(p.numel() for p in model.parameters())
    serve({"peer": f"torch {torch.__version__} {layout}", "parameters": parameters}, step)


if __name__ == "__main__":
    main()
