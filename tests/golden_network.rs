//! The network against reference data made by diffusers' `UNet2DModel` and PyTorch (`tests/golden/README.md`).

mod common;

use common::{Golden, fnv1a64, golden_dir, golden_files, recipe_uniform};
use ddpm::checkpoint;
use ddpm::nn::{
    Attention, Conv2d, GroupNorm, Linear, activation, nearest_upsample, nearest_upsample_backward,
    sinusoidal_embedding,
};
use ddpm::params::Params;
use ddpm::rng::stream;
use ddpm::tensor::{Tensor2, Tensor4};
use ddpm::unet::{Unet, UnetConfig};
use ndarray::{ArrayD, Ix1, Ix2, Ix4};
use std::collections::BTreeMap;

/// A tensor as f32.
fn array32(golden: &Golden, key: &str) -> ArrayD<f32> {
    golden.array(key).mapv(|v| v as f32)
}

/// The largest difference, and the largest reference value.
fn max_error<'a>(got: impl IntoIterator<Item = f64>, want: impl IntoIterator<Item = &'a f64>) -> (f64, f64) {
    let (got, want): (Vec<f64>, Vec<&f64>) = (got.into_iter().collect(), want.into_iter().collect());
    assert_eq!(got.len(), want.len(), "numbers of values");
    assert!(got.iter().all(|v| v.is_finite()), "not finite");
    let error = got.iter().zip(&want).map(|(g, &&w)| (g - w).abs()).fold(0.0, f64::max);
    (error, want.iter().map(|w| w.abs()).fold(0.0, f64::max))
}

/// Tensors under a prefix, in PyTorch's layout.
fn under(golden: &Golden, prefix: &str) -> BTreeMap<String, ArrayD<f32>> {
    let keys = golden.names();
    let keys = keys.iter().filter_map(|k| Some((k.strip_prefix(prefix)?.to_string(), k)));
    keys.map(|(short, key)| (short, array32(golden, key))).collect()
}

/// A U-Net of the file's configuration with the weights under `prefix`.
fn unet(golden: &Golden, prefix: &str) -> Unet {
    let config = UnetConfig::from_json(&golden.meta("config"), &golden.path).unwrap();
    let mut unet = Unet::new(&config, &mut stream(0, 0));
    let mut weights = under(golden, prefix);
    checkpoint::fill(&mut unet, "", &mut weights, &golden.path).unwrap();
    checkpoint::nothing_left(&weights, &golden.path).unwrap();
    unet
}

fn input(golden: &Golden) -> (Tensor4, Vec<usize>) {
    let t = golden.indices("t").iter().map(|t| t + 1).collect(); // 0-based in the files
    (golden.batch("x").mapv(|x| x as f32), t)
}

/// Output, and the gradient of every parameter by name, of whole U-Nets.
#[test]
fn tiny_unets_with_all_gradients() {
    for golden in golden_files("unet_tiny") {
        let unet = unet(&golden, "w/");
        let (x, t) = input(&golden);
        let name = golden.path.display();

        let (y, cache) = unet.forward(x.clone(), &t, &mut []);
        let (error, max) = max_error(y.iter().map(|&v| v as f64), golden.batch("y").iter());
        assert!(error <= 1e-5 * max, "{name}: y is off by {error:e} of {max}");
        let (error, max) = max_error(unet.infer(&x, &t).iter().map(|&v| v as f64), golden.batch("y").iter());
        assert!(error <= 1e-5 * max, "{name}: inference is off by {error:e} of {max}");

        let mut grad = unet.zeros_like();
        let dx = unet.backward(cache, &golden.batch("g").mapv(|v| v as f32), &mut grad);
        let (error, max) = max_error(dx.iter().map(|&v| v as f64), golden.batch("grad_x").iter());
        assert!(error <= 1e-5 * max, "{name}: grad_x is off by {error:e} of {max}");

        let want = under(&golden, "grad/");
        let all = want.values().flat_map(|g| g.iter()).fold(0.0f64, |m, v| m.max(v.abs() as f64));
        assert_eq!(want.len(), grad.named().len(), "{name}: number of parameters");
        for (key, got) in grad.named() {
            let got = checkpoint::to_pytorch(got);
            let want = want[&key].mapv(f64::from);
            assert_eq!(got.shape(), want.shape(), "{name}: {key}");
            let (error, max) = max_error(got.iter().map(|&v| v as f64), want.iter());
            assert!(
                error <= 1e-4 * max + 1e-6 * all,
                "{name}: gradient of {key} is off by {error:e} of {max:e}"
            );
        }
    }
}

/// The published CIFAR-10 shape (35,746,307 parameters) with recipe weights.
#[test]
fn the_cifar_shape_by_name_and_by_value() {
    let golden = golden_files("unet_cifar").remove(0);
    let seed: u64 = golden.meta("seed").parse().unwrap();
    let config = UnetConfig::from_json(&golden.meta("config"), &golden.path).unwrap();
    let mut unet = Unet::new(&config, &mut stream(0, 0));
    assert_eq!(unet.count(), 35_746_307);

    let keys = std::fs::read_to_string(golden_dir().join("unet_cifar_keys.json")).unwrap();
    let keys: serde_json::Value = serde_json::from_str(&keys).unwrap();
    let mut listed: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    collect_shapes(&keys, &mut listed);
    let ours: BTreeMap<String, Vec<usize>> =
        unet.named().into_iter().map(|(k, w)| (k, checkpoint::to_pytorch(w).shape().to_vec())).collect();
    assert_eq!(ours, listed);

    let mut weights: BTreeMap<String, ArrayD<f32>> = BTreeMap::new();
    for (key, shape) in &ours {
        let u = recipe_uniform(fnv1a64(&format!("cifar/{key}")) ^ seed, shape.iter().product());
        let fan_in: usize = shape[1..].iter().product();
        let scale = |u: f64| {
            let v = 2.0 * u - 1.0;
            match shape.len() {
                1 if key.ends_with(".bias") => 0.1 * v,
                1 => 1.0 + 0.2 * v,
                _ => v * (3.0 / fan_in as f64).sqrt(),
            }
        };
        let numbers = u.into_iter().map(|u| scale(u) as f32).collect();
        weights.insert(key.clone(), ArrayD::from_shape_vec(shape.clone(), numbers).unwrap());
    }
    checkpoint::fill(&mut unet, "", &mut weights, &golden.path).unwrap();

    let (x, t) = input(&golden);
    let (error, max) = max_error(unet.infer(&x, &t).iter().map(|&v| v as f64), golden.batch("y").iter());
    assert!(error <= 2e-5 * max, "y is off by {error:e} of {max}");
}

/// The key file is an object of shapes, or a list of `{name, shape}`.
fn collect_shapes(value: &serde_json::Value, out: &mut BTreeMap<String, Vec<usize>>) {
    let shape = |v: &serde_json::Value| -> Option<Vec<usize>> {
        v.as_array()?.iter().map(|n| n.as_u64().map(|n| n as usize)).collect()
    };
    match value {
        serde_json::Value::Object(map) => {
            for (key, v) in map {
                match shape(v) {
                    Some(shape) if key.contains('.') => {
                        out.insert(key.clone(), shape);
                    }
                    _ => collect_shapes(v, out),
                }
            }
        }
        serde_json::Value::Array(list) => {
            for item in list {
                if let (Some(name), Some(shape)) = (item[0].as_str(), shape(&item[1])) {
                    out.insert(name.to_string(), shape);
                }
            }
        }
        _ => {}
    }
}

#[track_caller]
fn close<'a>(what: &str, got: impl IntoIterator<Item = &'a f32>, want: impl IntoIterator<Item = &'a f64>) {
    let (error, max) = max_error(got.into_iter().map(|&v| v as f64), want);
    assert!(error <= 1e-5 * max.max(1.0), "{what} is off by {error:e} of {max}");
}

fn images32(golden: &Golden, key: &str) -> Tensor4 {
    golden.batch(key).mapv(|v| v as f32)
}

fn matrix(golden: &Golden, key: &str) -> Tensor2 {
    array32(golden, key).into_dimensionality::<Ix2>().unwrap()
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
            weight: checkpoint::from_pytorch(array32(&golden, &key("in/w")).view())
                .into_dimensionality::<Ix4>()
                .unwrap(),
            bias: array32(&golden, &key("in/b")).into_dimensionality::<Ix1>().unwrap(),
            stride,
            padding,
        };
        let (y, cache) = layer.forward(images32(&golden, &key("in/x")));
        close(name, &y, &golden.batch(&key("y")));
        let mut grad = layer.zeros_like();
        let dx = layer.backward(cache, &images32(&golden, &key("g")), &mut grad);
        close(name, &dx, &golden.batch(&key("grad/x")));
        close(name, &grad.bias, &golden.array(&key("grad/b")));
        close(name, &checkpoint::to_pytorch(grad.weight.view().into_dyn()), &golden.array(&key("grad/w")));
    }
}

#[test]
fn group_norm_linear_and_upsampling_with_gradients() {
    let golden = golden_files("ops").remove(0);
    let vector = |key: &str| array32(&golden, key).into_dimensionality::<Ix1>().unwrap();

    let norm = GroupNorm {
        weight: vector("group_norm_eps1e-6/in/w"),
        bias: vector("group_norm_eps1e-6/in/b"),
        groups: groups_of(&golden),
        eps: 1e-6,
    };
    let (y, cache) = norm.forward(images32(&golden, "group_norm_eps1e-6/in/x"));
    close("group norm", &y, &golden.batch("group_norm_eps1e-6/y"));
    let mut grad = norm.zeros_like();
    let dx = norm.backward(cache, images32(&golden, "group_norm_eps1e-6/g"), &mut grad);
    close("group norm dx", &dx, &golden.batch("group_norm_eps1e-6/grad/x"));
    close("group norm dw", &grad.weight, &golden.array("group_norm_eps1e-6/grad/w"));
    close("group norm db", &grad.bias, &golden.array("group_norm_eps1e-6/grad/b"));

    let linear =
        Linear { weight: matrix(&golden, "linear/in/w").reversed_axes(), bias: vector("linear/in/b") };
    let (y, cache) = linear.forward(matrix(&golden, "linear/in/x"));
    close("linear", &y, &golden.array("linear/y"));
    let mut grad =
        Linear { weight: Tensor2::zeros(linear.weight.raw_dim()), bias: linear.bias.clone() * 0.0 };
    let dx = linear.backward(cache, &matrix(&golden, "linear/g"), &mut grad);
    close("linear dx", &dx, &golden.array("linear/grad/x"));
    close("linear dw", &grad.weight.t().to_owned(), &golden.array("linear/grad/w"));
    close("linear db", &grad.bias, &golden.array("linear/grad/b"));

    let name = "upsample_nearest2x";
    close(
        name,
        &nearest_upsample(&images32(&golden, "upsample_nearest2x/in/x")),
        &golden.batch("upsample_nearest2x/y"),
    );
    let dx = nearest_upsample_backward(&images32(&golden, "upsample_nearest2x/g"));
    close(name, &dx, &golden.batch("upsample_nearest2x/grad/x"));
}

/// The file does not say how many groups: the one that reproduces `y` is found, and the gradients must then fit.
fn groups_of(golden: &Golden) -> usize {
    let x = images32(golden, "group_norm_eps1e-6/in/x");
    let y = golden.batch("group_norm_eps1e-6/y");
    let fits = |groups: &usize| {
        let mut norm = GroupNorm::new(x.shape()[3], *groups, 1e-6);
        norm.weight = array32(golden, "group_norm_eps1e-6/in/w").into_dimensionality::<Ix1>().unwrap();
        norm.bias = array32(golden, "group_norm_eps1e-6/in/b").into_dimensionality::<Ix1>().unwrap();
        max_error(norm.infer(&x).iter().map(|&v| v as f64), y.iter()).0 < 1e-5
    };
    [1, 2, 4].into_iter().find(fits).expect("a number of groups")
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
        let orders = [(false, 1.0), (true, 1.0), (false, 0.0), (true, 0.0)];
        let fits = orders.iter().any(|&(flip, shift)| {
            let got = sinusoidal_embedding(&t, dim, flip, shift);
            max_error(got.iter().map(|&v| v as f64), want.iter()).0 < 1e-6
        });
        assert!(fits, "time embedding of {dim} numbers");
    }
}

/// `softmax(q kᵀ/√d) v` with identity projections around it would hide errors in none of the three gradients, so
/// the golden q, k, v are fed through linear layers that pick them out of a concatenated input.
#[test]
fn attention_core_with_gradients() {
    let golden = golden_files("ops").remove(0);
    let part = |key: &str| {
        array32(&golden, &format!("attention_1head/{key}")).into_dimensionality::<ndarray::Ix3>().unwrap()
    };
    let (q, k, v, g) = (part("in/q"), part("in/k"), part("in/v"), part("g"));
    let (n, tokens, d) = q.dim();
    for image in 0..n {
        let slice = |x: &ndarray::Array3<f32>| x.index_axis(ndarray::Axis(0), image).to_owned();
        let (q, k, v, g) = (slice(&q), slice(&k), slice(&v), slice(&g));
        let want = |key: &str| {
            let all = golden.array(&format!("attention_1head/{key}"));
            all.index_axis(ndarray::Axis(0), image).to_owned()
        };
        let (o, p) = Attention::core(&q, &k, &v);
        close("attention", &o, &want("y"));
        let (dq, dk, dv) = Attention::core_backward(&q, &k, &v, &p, &g);
        close("attention dq", &dq, &want("grad/q"));
        close("attention dk", &dk, &want("grad/k"));
        close("attention dv", &dv, &want("grad/v"));
        assert_eq!(o.dim(), (tokens, d));
    }
}
