//! Single layers and their gradients against PyTorch in f64 (`tests/golden/README.md`, `ops.safetensors`).

use crate::common::{Golden, golden_files, max_error};
use ddpm::checkpoint;
use ddpm::nn::{
    Attention, Conv2d, GroupNorm, Linear, activation, nearest_upsample, nearest_upsample_backward,
    sinusoidal_embedding,
};
use ddpm::params::{Layout, Params};
use ddpm::tensor::{Tensor1, Tensor2};
use ndarray::{Axis, Ix1, Ix2, Ix4};

/// The README's tolerance for f32.
#[track_caller]
fn close<'a>(what: &str, got: impl IntoIterator<Item = &'a f32>, want: impl IntoIterator<Item = &'a f64>) {
    let (error, max) = max_error(got, want);
    assert!(error <= 1e-5 * max.max(1.0), "{what} is off by {error:e} of {max}");
}

fn matrix(golden: &Golden, key: &str) -> Tensor2 {
    golden.array32(key).into_dimensionality::<Ix2>().unwrap()
}

#[test]
fn convolutions_with_gradients() {
    let golden = golden_files("ops").remove(0);
    for (name, stride, padding) in [
        ("conv3x3_s1_p1", 1, [1, 1]),
        ("conv3x3_s2_p1", 2, [1, 1]),
        ("conv3x3_s2_pad0101", 2, [0, 1]),
        ("conv1x1", 1, [0, 0]),
    ] {
        let key = |part: &str| format!("{name}/{part}");
        let layer = Conv2d {
            weight: checkpoint::from_pytorch(golden.array32(&key("in/w")).view(), Layout::Conv)
                .into_dimensionality::<Ix4>()
                .unwrap(),
            bias: golden.array32(&key("in/b")).into_dimensionality::<Ix1>().unwrap(),
            stride,
            padding,
        };
        let (y, cache) = layer.forward(golden.batch32(&key("in/x")));
        close(name, &y, &golden.batch(&key("y")));
        let mut grad = layer.zeros_like();
        let dx = layer.backward(cache, &golden.batch32(&key("g")), &mut grad);
        close(name, &dx, &golden.batch(&key("grad/x")));
        close(name, &grad.bias, &golden.array(&key("grad/b")));
        close(
            name,
            &checkpoint::to_pytorch(grad.weight.view().into_dyn(), Layout::Conv),
            &golden.array(&key("grad/w")),
        );
    }
}

#[test]
fn group_norm_linear_and_upsampling_with_gradients() {
    let golden = golden_files("ops").remove(0);
    let vector = |key: &str| golden.array32(key).into_dimensionality::<Ix1>().unwrap();

    let norm = GroupNorm {
        weight: vector("group_norm_eps1e-6/in/w"),
        bias: vector("group_norm_eps1e-6/in/b"),
        groups: groups_of(&golden),
        eps: 1e-6,
    };
    let (y, cache) = norm.forward(golden.batch32("group_norm_eps1e-6/in/x"));
    close("group norm", &y, &golden.batch("group_norm_eps1e-6/y"));
    let mut grad = norm.zeros_like();
    let dx = norm.backward(cache, golden.batch32("group_norm_eps1e-6/g"), &mut grad);
    close("group norm dx", &dx, &golden.batch("group_norm_eps1e-6/grad/x"));
    close("group norm dw", &grad.weight, &golden.array("group_norm_eps1e-6/grad/w"));
    close("group norm db", &grad.bias, &golden.array("group_norm_eps1e-6/grad/b"));

    let linear =
        Linear { weight: matrix(&golden, "linear/in/w").reversed_axes(), bias: vector("linear/in/b") };
    let (y, cache) = linear.forward(matrix(&golden, "linear/in/x"));
    close("linear", &y, &golden.array("linear/y"));
    let mut grad =
        Linear { weight: Tensor2::zeros(linear.weight.dim()), bias: Tensor1::zeros(linear.bias.len()) };
    let dx = linear.backward(cache, &matrix(&golden, "linear/g"), &mut grad);
    close("linear dx", &dx, &golden.array("linear/grad/x"));
    close("linear dw", &grad.weight.t().to_owned(), &golden.array("linear/grad/w"));
    close("linear db", &grad.bias, &golden.array("linear/grad/b"));

    let y = nearest_upsample(&golden.batch32("upsample_nearest2x/in/x"));
    close("upsampling", &y, &golden.batch("upsample_nearest2x/y"));
    let dx = nearest_upsample_backward(&golden.batch32("upsample_nearest2x/g"));
    close("upsampling dx", &dx, &golden.batch("upsample_nearest2x/grad/x"));
}

/// The file does not say how many groups: the one that reproduces `y` is found, and the gradients must then fit.
fn groups_of(golden: &Golden) -> usize {
    let x = golden.batch32("group_norm_eps1e-6/in/x");
    let y = golden.batch("group_norm_eps1e-6/y");
    let fits = |groups: &usize| {
        let mut norm = GroupNorm::new(x.shape()[3], *groups, 1e-6);
        norm.weight = golden.array32("group_norm_eps1e-6/in/w").into_dimensionality::<Ix1>().unwrap();
        norm.bias = golden.array32("group_norm_eps1e-6/in/b").into_dimensionality::<Ix1>().unwrap();
        max_error(&norm.infer(&x), &y).0 < 1e-5
    };
    (1..=x.shape()[3])
        .filter(|groups| x.shape()[3].is_multiple_of(*groups))
        .find(fits)
        .expect("a number of groups")
}

#[test]
fn silu_softmax_and_time_embedding() {
    let golden = golden_files("ops").remove(0);
    let x = matrix(&golden, "silu/in/x");
    let mut y = x.clone();
    activation::silu(y.as_slice_mut().unwrap());
    close("silu", &y, &golden.array("silu/y"));
    let mut dx = matrix(&golden, "silu/g");
    activation::silu_backward(x.as_slice().unwrap(), dx.as_slice_mut().unwrap());
    close("silu dx", &dx, &golden.array("silu/grad/x"));

    let mut p = matrix(&golden, "softmax/in/x");
    let columns = p.ncols();
    activation::softmax_rows(p.as_slice_mut().unwrap(), columns, 1.0);
    close("softmax", &p, &golden.array("softmax/y"));
    let mut ds = matrix(&golden, "softmax/g");
    activation::softmax_rows_backward(p.as_slice().unwrap(), ds.as_slice_mut().unwrap(), columns, 1.0);
    close("softmax dx", &ds, &golden.array("softmax/grad/x"));

    let t: Vec<usize> = golden.indices("timestep_embedding/t").iter().map(|t| t + 1).collect();
    for dim in [8, 9, 128] {
        let want = golden.array(&format!("timestep_embedding/dim{dim}_f32"));
        let got = sinusoidal_embedding(&t, dim, false, 1.0); // Ho's order and frequencies
        let (error, _) = max_error(&got, &want);
        assert!(error < 1e-6, "time embedding of {dim} numbers is off by {error:e}");
    }
}

/// `softmax(q kᵀ/√d) v` alone, without the projections around it.
#[test]
fn attention_core_with_gradients() {
    let golden = golden_files("ops").remove(0);
    let (images, tokens) = {
        let q = golden.array("attention_1head/in/q");
        (q.shape()[0], q.shape()[1])
    };
    for n in 0..images {
        let of_image =
            |key: &str| golden.array(&format!("attention_1head/{key}")).index_axis(Axis(0), n).to_owned();
        let input = |key: &str| of_image(key).mapv(|v| v as f32).into_dimensionality::<Ix2>().unwrap();
        let (q, k, v, g) = (input("in/q"), input("in/k"), input("in/v"), input("g"));
        let (o, p) = Attention::core(&q, &k, &v);
        assert_eq!(p.dim(), (tokens, tokens));
        close("attention", &o, &of_image("y"));
        let (dq, dk, dv) = Attention::core_backward(&q, &k, &v, &p, &g);
        close("attention dq", &dq, &of_image("grad/q"));
        close("attention dk", &dk, &of_image("grad/k"));
        close("attention dv", &dv, &of_image("grad/v"));
    }
}
