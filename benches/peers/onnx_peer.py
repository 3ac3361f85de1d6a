"""ONNX Runtime's and OpenVINO's side: `python onnx_peer.py THREADS onnxruntime|openvino MODEL BATCH`.

The network is torch_peer.py's, exported by PyTorch with one time for all images, as in sampling; a step is the same
reverse step.
"""

import contextlib
import logging
import os
import sys
import tempfile
import warnings

import numpy as np

from worker import serve

STEP = 499


def export(path, folder, batch):
    """Writes `eps_hat(x_t, t)` as an ONNX file, and returns the shape of x_t."""
    import torch

    from torch_peer import images, network

    class Reverse(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.unet = network(folder).eval()

        def forward(self, x, t):
            return self.unet(x, t).sample

    model = Reverse()
    x, t = images(model.unet, batch, "nchw"), torch.tensor([STEP])
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with contextlib.redirect_stdout(sys.stderr):  # the exporter talks; stdout is for answers
        torch.onnx.export(
            model, (x, t), path, input_names=["x", "t"], output_names=["eps"], dynamo=False, opset_version=18
        )
    return x.shape


def onnxruntime(path, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return f"onnxruntime {onnxruntime.__version__}", lambda feed: session.run(None, feed)[0]


def openvino(path, threads):
    import openvino

    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    request = openvino.compile_model(path, "CPU", options).create_infer_request()
    return f"openvino {openvino.__version__.split('-')[0]}", lambda feed: request.infer(feed)[0]


def main():
    threads, engine, model, batch = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "unet.onnx")
        shape = export(path, model, batch)
        name, predict = {"onnxruntime": onnxruntime, "openvino": openvino}[engine](path, threads)
    beta = np.linspace(1e-4, 0.02, 1000, dtype=np.float32)
    alpha_bar = np.cumprod(1 - beta)
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape, dtype=np.float32)
    feed = {"x": x, "t": np.array([STEP])}
    b = beta[STEP]

    def step():
        mean = (x - b / np.sqrt(1 - alpha_bar[STEP]) * predict(feed)) / np.sqrt(1 - b)
        return mean + np.sqrt(b) * rng.standard_normal(x.shape, dtype=np.float32)

    serve({"peer": name}, step)


if __name__ == "__main__":
    main()
