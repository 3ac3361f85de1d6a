//! `cargo bench -p ddpm-benches`: what the network spends its time on, beside the definition and `matrixmultiply`.
//!
//! Throughput is printed in elements per second, where an element is one floating-point operation: GFLOP/s.
#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ddpm::diffusion::assign_noise;
use ddpm::matmul::peak::multiply_add;
use ddpm::matmul::{self, matmul, matmul_nt, matmul_tn};
use ddpm::nn::{Conv2d, GroupNorm};
use ddpm::params::Params;
use ddpm::rng::{normal, stream};
use ddpm::tensor::{Batch, Tensor2, Tensor4};
use ddpm::unet::{GROUP_SIZE, Unet, UnetConfig};
use std::hint::black_box;

fn matrix(rows: usize, columns: usize) -> Tensor2 {
    normal((rows, columns), &mut stream(0, (rows * columns) as u64))
}

/// `matrixmultiply`, called as ndarray's `dot` calls it.
fn yardstick(a: &Tensor2, b: &Tensor2) -> Tensor2 {
    a.dot(b)
}

fn matrix_products(c: &mut Criterion) {
    // a square, a linear layer over pixels, attention's q kᵀ and p v, a convolution as one product
    for (m, k, n) in
        [(256, 256, 256), (1024, 1024, 1024), (784, 64, 64), (196, 64, 196), (196, 196, 64), (3136, 288, 32)]
    {
        let mut group = c.benchmark_group(format!("matmul {m}x{k}x{n}"));
        group.throughput(Throughput::Elements((2 * m * k * n) as u64)).sample_size(20);
        let (a, b) = (matrix(m, k), matrix(k, n));
        let (at, bt) = (matrix(k, m), matrix(n, k));
        group.bench_function("ours", |bench| bench.iter(|| matmul(black_box(&a), &b)));
        group.bench_function("ours, A Bᵀ", |bench| bench.iter(|| matmul_nt(black_box(&a), &bt)));
        group.bench_function("ours, Aᵀ B", |bench| bench.iter(|| matmul_tn(black_box(&at), &b)));
        group.bench_function("matrixmultiply", |bench| bench.iter(|| yardstick(black_box(&a), &b)));
        if m * k * n <= 256 * 256 * 256 {
            group.bench_function("definition", |bench| bench.iter(|| matmul::definition(black_box(&a), &b)));
        }
    }
}

/// The kernel beside what the CPU can do at best. A compiler that moves its accumulators to memory makes it ten times
/// slower and changes nothing else (`ddpm bench --check` fails then).
fn kernel(c: &mut Criterion) {
    const STEPS: u64 = 10_000;
    let mut group = c.benchmark_group("kernel");
    group.sample_size(20).throughput(Throughput::Elements(multiply_add(STEPS)));
    group.bench_function("peak: multiply-add in registers", |bench| {
        bench.iter(|| multiply_add(black_box(STEPS)));
    });
    // B small enough to be read where it lies, and too large
    for (name, m, k, n) in [("unpacked", 256, 512, 128), ("packed", 256, 512, 512)] {
        let (a, b) = (matrix(m, k), matrix(k, n));
        group.throughput(Throughput::Elements((2 * m * k * n) as u64));
        group.bench_function(format!("{name} {m}x{k}x{n}"), |bench| bench.iter(|| matmul(black_box(&a), &b)));
    }
}

/// The layers of the shipped network's three levels, on a group of images.
fn layers(c: &mut Criterion) {
    for (side, channels) in [(28, 32), (14, 64), (7, 128)] {
        let x: Tensor4 = normal((GROUP_SIZE, side, side, channels), &mut stream(1, 0));
        let conv = Conv2d::new(channels, channels, 3, 1.0, &mut stream(1, 1));
        let flops = (2 * 9 * GROUP_SIZE * side * side * channels * channels) as u64;
        let mut group = c.benchmark_group(format!("{channels} channels at {side}x{side}"));
        group.sample_size(20).throughput(Throughput::Elements(flops));
        group.bench_function("convolution", |bench| bench.iter(|| conv.infer(black_box(&x))));
        group.throughput(Throughput::Elements(3 * flops));
        group.bench_function("convolution, forward and backward", |bench| {
            let mut grad = conv.zeros_like();
            bench.iter(|| {
                let (y, cache) = conv.forward(black_box(&x).clone());
                conv.backward(cache, &y, &mut grad)
            });
        });
        let norm = GroupNorm::new(channels, 8, 1e-6);
        group.throughput(Throughput::Elements(x.len() as u64));
        group.bench_function("group norm and SiLU", |bench| bench.iter(|| norm.infer_silu(black_box(&x))));
    }
}

/// The shipped network's shape on a group of images.
fn network(c: &mut Criterion) {
    let unet = Unet::new(&UnetConfig::paper(28, 1, &[32, 64, 128], 1, 8), &mut stream(2, 0));
    let flops = GROUP_SIZE as u64 * unet.flops(28, 28);
    let x: Tensor4 = normal((GROUP_SIZE, 28, 28, 1), &mut stream(2, 1));
    let t = [500; GROUP_SIZE];
    let mut group = c.benchmark_group(format!("U-Net, {GROUP_SIZE} images"));
    group.sample_size(20).throughput(Throughput::Elements(flops));
    group.bench_function("inference", |bench| bench.iter(|| unet.infer(black_box(&x), &t)));
    group.throughput(Throughput::Elements(3 * flops));
    group.bench_function("forward and backward", |bench| {
        let mut grad = unet.zeros_like();
        bench.iter(|| {
            let (y, cache) = unet.forward(black_box(&x).clone(), &t, &mut []);
            unet.backward(cache, &y, &mut grad)
        });
    });
}

/// Who gets which noise, of garments-sized images: costs and assignment, a part of a training step of half a second.
fn assignment(c: &mut Criterion) {
    let mut group = c.benchmark_group("assign noise");
    for n in [16, 64, 256] {
        let images = |stream_of| -> Batch { normal((n, 28, 28, 1), &mut stream(1, stream_of)) };
        let (x0, eps) = (images(0), images(1));
        group.sample_size(20).bench_function(n.to_string(), |bench| {
            bench.iter(|| assign_noise(black_box(&x0), &eps, None));
        });
    }
}

criterion_group!(benches, kernel, matrix_products, layers, network, assignment);
criterion_main!(benches);
