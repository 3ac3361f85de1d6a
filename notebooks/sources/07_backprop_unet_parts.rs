// %% [markdown]
// # 07 Backprop by hand II: convolution, resampling, group norm, attention
//
// **You will be able to** derive the backward pass of every layer a U-Net is made of, and prove each of them right with a test of a few lines.
//
// **Before:** notebooks 05 and 06. **Time:** 80 minutes. **Figure:** the blocks of a U-Net as a graph, with the measured error of the gradient at each node.
//
// Two things from notebook 06. A layer's backward takes $dy=\partial L/\partial y$ and returns $dx=\partial L/\partial x$, a *vector-Jacobian product*: the Jacobian itself is never built. And we trust none until a central difference of $L=\langle y, g\rangle$, with a random cotangent $g$ in the place of $dy$, agrees with it.

// %%
:dep ddpm = { package = "ddpm-notebook", path = "kernel" }
use ddpm::prelude::*;
ddpm::start();

// %% [markdown]
// ## Linear maps: a test without a step
//
// Convolution, upsampling, pooling and a sum over pixels are *linear* in $x$: there is a matrix $A$ with $y=Ax$. (A bias is a constant and drops out.) Its Jacobian is $A$ itself, so
//
// $$dx = A^\top dy .$$
//
// $A^\top$ is called the **adjoint** of $A$, and it has a defining property: for *any* $x$ and $y$
//
// $$\langle A x,\, y\rangle = \langle x,\, A^\top y\rangle .$$
//
// Draw both at random, compute both sides, compare: the **adjoint test**. It has no step size and no curvature; only rounding is left. We measure the difference of the two sides in units of their usual size: in $n$ dimensions, two random directions have an inner product of about $|a|\,|b|/\sqrt n$.

// %%
use ddpm::nn::gradient_check::{error, inner};
fn random(shape: (usize, usize, usize, usize), n: u64) -> Tensor4 {
    normal(shape, &mut stream(7, n))
}
/// |⟨Ax, y⟩ − ⟨x, Aᵀy⟩| in units of |Ax| |y|/√n.
fn adjoint_error(x: &Tensor4, ax: &Tensor4, y: &Tensor4, aty: &Tensor4) -> f64 {
    let usual = (inner(ax, ax) * inner(y, y) / y.len() as f64).sqrt();
    (inner(ax, y) - inner(x, aty)).abs() / usual
}

// %% [markdown]
// ## Convolution, with respect to its input
//
// Notebook 05 wrote a convolution as a matrix product. Here is one output number again, for a $k\times k$ kernel, stride 1 and $p$ zeros around the image:
//
// $$y_{n,i,j,o} = b_o + \sum_{u,v,c} x_{n,\;i+u-p,\;j+v-p,\;c}\; w_{u,v,c,o}$$
//
// with image $n$, pixel $(i,j)$, tap $(u,v)$ of the kernel, channel $c$ in and $o$ out. For backward, ask each input the usual question: *whom did I feed?* Pixel $h$ of $x$ was read by output $i$ through the tap $u$ with $i+u-p=h$. So $x$ collects, from every output that read it,
//
// $$dx_{n,h,q,c} = \sum_{u,v,o} dy_{n,\;h-u+p,\;q-v+p,\;o}\; w_{u,v,c,o}.$$
//
// Compare the two: $+u$ became $-u$. Backward is again a convolution, with the kernel turned by 180° and its channels exchanged. A kernel in the shape of an F shows it.
//
// **Predict:** a single bright pixel goes *forward* through a kernel F. Does an F come out, or a turned one?

// %% tags=["predict"]
check::predict("What comes out of a single pixel", &["an F", "an F turned by 180°", "a mirrored F"], 0)

// %%
use ddpm::nn::Conv2d;
const F: [&str; 5] = ["####.", "#....", "###..", "#....", "#...."];
fn letter() -> Conv2d {
    let weight = Tensor4::from_shape_fn((5, 5, 1, 1), |(u, v, _, _)| f32::from(u8::from(F[u].as_bytes()[v] == b'#')));
    Conv2d { weight, bias: Tensor1::zeros(1), stride: 1, padding: [2, 2] }
}
fn picture(parts: &[&Tensor4]) -> ndarray::Array4<u8> {
    let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
    ndarray::concatenate(Axis(0), &views).unwrap().mapv(|v| (35.0 + 190.0 * v) as u8) // dark grey to light grey
}
let mut pixel = Tensor4::zeros((1, 13, 13, 1));
pixel[[0, 6, 6, 0]] = 1.0;
let forward = letter().infer(&pixel);
let backward = letter().backward_data(&pixel, (13, 13));
Grid::new(&picture(&[&pixel, &forward, &backward]), 3).scale(12).column_labels(["x, and dy", "forward: y", "backward: dx"]).figure()

// %% [markdown]
// *What to see:* forward stamps the F turned by 180°, backward stamps it upright: $dx$ shows which inputs that one output looked at, and with what weight.
//
// ### Exercise 7.1 (code): convolution, backward to the data
//
// For a 3×3 kernel, stride 1, one zero around the image ($p=1$). The exercises use `f64`, and `Batch` is an `Array4<f64>`. Seven slow loops are fine.

// %% tags=["exercise"]
/// dx [N, H, W, in] from dy [N, H, W, out] and w [3, 3, in, out].
fn conv_backward_data(dy: &Batch, w: &Batch) -> Batch {
    todo!()
}

// %% tags=["check"]
check::conv_backward_data(conv_backward_data)

// %% [markdown]
// ## Convolution, with respect to its weights
//
// The formula is linear in $w$ as well. Tap $(u,v)$ joined every pixel of $x$ with one pixel of $y$, and collects from all those pairs:
//
// $$dw_{u,v,c,o} = \sum_{n,i,j} x_{n,\;i+u-p,\;j+v-p,\;c}\; dy_{n,i,j,o}, \qquad db_o = \sum_{n,i,j} dy_{n,i,j,o}.$$
//
// It asks how $x$, shifted by a tap, agrees with $dy$: a **cross-correlation**. If $x$ is white noise, and $y^*$ came from $x$ through an unknown kernel, then $x$ agrees with $y^*$ at the kernel's own taps and nowhere else. So one backward pass from $w=0$ should already show the kernel. With $L=\frac12|y-y^*|^2$ and $y=0$, $dy = y - y^* = -y^*$:

// %%
fn seen_after(images: usize) -> Tensor4 {
    let x = random((images, 28, 28, 1), 1);
    let dy = -letter().infer(&x);
    let mut grad = letter();
    (grad.weight, grad.bias) = (Tensor4::zeros((5, 5, 1, 1)), Tensor1::zeros(1));
    letter().backward_weights(&x, &dy, &mut grad);
    let scale = -1.0 / (images * 28 * 28) as f32;
    (grad.weight * scale).into_shape_with_order((1, 5, 5, 1)).unwrap()
}
let kernel = letter().weight.into_shape_with_order((1, 5, 5, 1)).unwrap();
let found = seen_after(100);
assert!((&found - &kernel).iter().all(|d| d.abs() < 0.2));
Grid::new(&picture(&[&kernel, &seen_after(1), &found]), 3).scale(30).column_labels(["kernel", "−dw, 1 image", "−dw, 100 images"]).figure()

// %% [markdown]
// *What to see:* one gradient, no training, and the kernel is there; with more images the noise averages out. (Its outer taps stay a little darker: near the border they meet the zeros.)
//
// ### Exercise 7.2 (code): convolution, backward to the weights

// %% tags=["exercise"]
/// dw [3, 3, in, out] from x [N, H, W, in] and dy [N, H, W, out].
fn conv_backward_weights(x: &Batch, dy: &Batch) -> Batch {
    todo!()
}

// %% tags=["check"]
check::conv_backward_weights(conv_backward_weights)

// %% [markdown]
// What you wrote, on the same experiment: 50 images of noise, an unknown kernel of 3×3, and one gradient.

// %%
let by_hand = check::yours::conv_backward_weights(conv_backward_weights);
let corner: Batch = array![[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 1.0]].into_shape_with_order((3, 3, 1, 1)).unwrap();
let noise: Batch = normal((50, 14, 14, 1), &mut stream(7, 9));
let through = Conv2d { weight: corner.mapv(|w| w as f32), bias: Tensor1::zeros(1), stride: 1, padding: [1, 1] };
let dy: Batch = -through.infer(&noise.mapv(|x| x as f32)).mapv(f64::from);
let dw = by_hand(&noise, &dy).mapv(|d| (-d / (50.0 * 14.0 * 14.0)) as f32).into_shape_with_order((1, 3, 3, 1)).unwrap();
let hidden = through.weight.into_shape_with_order((1, 3, 3, 1)).unwrap();
Grid::new(&picture(&[&hidden, &dw]), 2).scale(40).column_labels(["kernel", "−dw, by yours"]).figure()

// %% [markdown]
// The crate's convolution is faster, but the same linear map. Both adjoint tests, for stride 1 and the stride 2 that halves the resolution, and the negative control: a wrong adjoint that must fail.

// %%
for (name, stride, padding, size) in [("stride 1", 1, [1, 1], 12), ("stride 2", 2, [0, 1], 6)] {
    let conv = Conv2d::new(16, 24, 3, 1.0, &mut stream(7, 2)).strided(stride, padding); // its bias is 0
    let (x, dy) = (random((4, 12, 12, 16), 3), random((4, size, size, 24), 4));
    let y = conv.infer(&x);
    let mut grad = conv.zeros_like();
    let dx = conv.backward(conv.forward(x.clone()).1, &dy, &mut grad);
    let (data, weights) = (adjoint_error(&x, &y, &dy, &dx), adjoint_error(&conv.weight, &y, &dy, &grad.weight));
    let mut turned = conv.clone();
    turned.weight.invert_axis(Axis(0));
    turned.weight = turned.weight.as_standard_layout().into_owned();
    let wrong = adjoint_error(&x, &y, &dy, &turned.backward_data(&dy, (12, 12)));
    println!("{name}: data {data:.0e}, weights {weights:.0e}; data with the taps upside down {wrong:.1}");
    assert!(data < 1e-4 && weights < 1e-4 && wrong > 0.1);
};

// %% [markdown]
// ## Down and up
//
// A U-Net halves the resolution and doubles it again. *Nearest neighbour* copies each pixel to a 2×2 square; *mean pooling* does the reverse, four pixels to their mean. What fed four places gets four gradients back, and they add; what was a quarter of a mean gets a quarter back. So with $U$ for upsampling and $P$ for pooling
//
// $$U^\top = 4\,P, \qquad P^\top = \tfrac14\,U .$$
//
// **Predict:** is pooling the *inverse* of upsampling? Is its adjoint?

// %% tags=["predict"]
check::predict("Pooling is to upsampling", &["its inverse and its adjoint", "its inverse only", "its adjoint, up to a factor; and an inverse in one order"], 0)

// %%
let (small, large) = (random((2, 7, 7, 3), 5), random((2, 14, 14, 3), 6));
let up = nn::nearest_upsample(&small);
let sum_of_four = nn::nearest_upsample_backward(&large);
println!("⟨U x, y⟩ against ⟨x, Uᵀ y⟩: {:.0e}", adjoint_error(&small, &up, &large, &sum_of_four));
let pooled = &sum_of_four * 0.25;
let spread = nn::nearest_upsample(&small) * 0.25;
println!("⟨P x, y⟩ against ⟨x, Pᵀ y⟩: {:.0e}", adjoint_error(&large, &pooled, &small, &spread));
let back = nn::nearest_upsample_backward(&up) * 0.25;
assert!((&back - &small).iter().all(|d| d.abs() < 1e-6));
println!("P U x = x, but Pᵀ x is only a quarter of U x");

// %% [markdown]
// Pooling undoes upsampling, and yet is not its adjoint: an inverse restores values, an adjoint hands out blame. The factor 4 between them is a favourite slip.
//
// ### Exercise 7.3 (code): nearest neighbour, backward

// %% tags=["exercise"]
/// dx [N, H, W, C] of nearest-neighbour upsampling by two, from dy [N, 2H, 2W, C].
fn upsample_backward(dy: &Batch) -> Batch {
    todo!()
}

// %% tags=["check"]
check::upsample_backward(upsample_backward)

// %% [markdown]
// Why does the paper's network go down with a strided convolution, and up with nearest neighbour *and then* a convolution, not with the adjoint of the strided one? Take a 3×3 kernel whose nine weights are all $\frac19$, and let $dy=1$ everywhere.

// %%
let mut mean = Conv2d::new(1, 1, 3, 1.0, &mut stream(7, 0)).strided(2, [0, 1]);
mean.weight.fill(1.0 / 9.0);
let adjoint = mean.backward_data(&Tensor4::ones((1, 8, 8, 1)), (16, 16)) * (9.0 / 4.0);
let plain = nn::Upsample { conv: mean.strided(1, [1, 1]) }.infer(&Tensor4::ones((1, 8, 8, 1)));
assert!((adjoint[[0, 6, 6, 0]] / adjoint[[0, 5, 5, 0]] - 4.0).abs() < 1e-5);
Grid::new(&picture(&[&adjoint, &plain]), 2).scale(16).column_labels(["adjoint of stride 2", "nearest, then 3×3"]).figure()

// %% [markdown]
// *What to see:* three taps with a stride of two meet some pixels twice and some once, per axis; in two dimensions one, two or four times. As a way *up* that is the **checkerboard** artefact of "transposed convolutions". On the right only the zeros around the image show. As a *gradient* of the way down the pattern is simply right: those pixels were read four times.
//
// ## Group normalisation
//
// Over the $m$ numbers of one image and one group of channels,
//
// $$\mu=\tfrac1m\sum_i x_i,\qquad v=\tfrac1m\sum_i (x_i-\mu)^2,\qquad \hat x_i = (x_i-\mu)\,r,\quad r=\frac1{\sqrt{v+\varepsilon}},\qquad y=\gamma\,\hat x+\beta ,$$
//
// with a learned scale $\gamma$ and shift $\beta$ per channel, and a small $\varepsilon$ against division by 0. These two are easy: $d\beta=\sum dy$ and $d\gamma=\sum dy\,\hat x$ over images and pixels. Let $g=\gamma\,dy$ be the gradient that reaches $\hat x$. Each $x_i$ acts in three ways: directly, through $v$, and through $\mu$.
//
// $$dv = \sum_i g_i\,(x_i-\mu)\cdot\big(-\tfrac12 r^3\big),\qquad d\mu = -r\sum_i g_i,\qquad dx_i = g_i\,r + dv\cdot\frac{2(x_i-\mu)}{m} + \frac{d\mu}{m}.$$
//
// ($\mu$ inside $v$ adds nothing, because $\sum(x_i-\mu)=0$.) This is the *long way*. Put $dv$ and $d\mu$ in, and three terms are left, the formula that notebook 06 promised to derive:
//
// $$dx = r\,\big(g - \overline{g} - \hat x\;\overline{g\,\hat x}\big),$$
//
// a bar being the mean over the $m$ numbers.
//
// **Predict:** what is the sum of all $dx_i$? And $\sum_i dx_i\,\hat x_i$? No calculation is needed: what happens to $\hat x$ if all $x$ are shifted, or all are doubled?

// %% tags=["predict"]
check::predict("The sums Σ dx_i and Σ dx_i x̂_i", &["both 0", "the first is 0, the second is not", "neither"], 0)

// %%
fn normalise(x: &Array1<f64>, eps: f64) -> (Array1<f64>, f64) {
    let centred = x - x.mean().unwrap();
    let r = 1.0 / ((&centred * &centred).mean().unwrap() + eps).sqrt();
    (centred * r, r)
}
fn long_way(x: &Array1<f64>, g: &Array1<f64>, eps: f64) -> Array1<f64> {
    let (m, centred) = (x.len() as f64, x - x.mean().unwrap());
    let (_, r) = normalise(x, eps);
    let dv = (g * &centred).sum() * -0.5 * r.powi(3);
    let dmu = -r * g.sum();
    g * r + centred * (2.0 * dv / m) + dmu / m
}
let x: Array1<f64> = normal(24, &mut stream(7, 8));
let noise: Array1<f64> = normal(24, &mut stream(7, 9));
let (x_hat, r) = normalise(&x, 1e-6);
let g = noise * 0.5 + &x_hat + 0.7; // it would push all x up, and apart
let dx = (&g - g.mean().unwrap() - &x_hat * (&g * &x_hat).mean().unwrap()) * r;
assert!((&dx - long_way(&x, &g, 1e-6)).iter().all(|d| d.abs() < 1e-12));
println!("Σ dx = {:.5}, Σ dx x̂ = {:.5}", dx.sum().abs(), (&dx * &x_hat).sum().abs());
println!("and with μ and v taken for constants {:.1} and {:.1}", r * g.sum(), r * (&g * &x_hat).sum());
let mut order: Vec<usize> = (0..24).collect();
order.sort_by(|&a, &b| x[a].total_cmp(&x[b]));
let [at, fixed, full, line] = [&x_hat, &(&g * r), &dx, &(&g * r - &dx)].map(|values| order.iter().map(|&i| values[i]).collect::<Vec<f64>>());
Chart::new("x̂", "gradient").line("g r, μ and v constant", &at, &fixed).marks(&at, &fixed).line("dx", &at, &full).marks(&at, &full).reference("their difference", &at, &line).figure()

// %% [markdown]
// *What to see:* the two curves differ by a straight line. A shift of all $x$ changes nothing downstream, nor (but for $\varepsilon$) does a common factor; so the gradient has no component in either direction, and the second and third term take just those two out.
//
// ### Exercise 7.4 (code): group normalisation, backward
//
// One group as a vector; $\gamma$ is already in $g$.

// %% tags=["exercise"]
/// dx of x̂ = (x − μ)/√(v + ε), from g = ∂L/∂x̂.
fn group_norm_backward(x: &Array1<f64>, g: &Array1<f64>, eps: f64) -> Array1<f64> {
    todo!()
}

// %% tags=["check"]
check::group_norm_backward(group_norm_backward)

// %% [markdown]
// ## Attention
//
// A convolution sees its neighbours. **Self-attention** lets every pixel look at every other one. Each of the $T=H\cdot W$ pixels is a *token* with a query $q$, a key $k$ and a value $v$, three linear maps of its channels, $[T, d]$ each:
//
// $$s=\frac{q\,k^\top}{\sqrt d},\qquad p=\mathrm{softmax}(s)\ \text{by rows},\qquad o=p\,v .$$
//
// Row $i$ of $p$ says how much of each token goes into output $i$: positive numbers that add up to 1. Backwards, line by line. The last and the first are matrix products, with notebook 06's rule:
//
// $$dv=p^\top do,\qquad dp=do\;v^\top,\qquad dq=\frac{ds\;k}{\sqrt d},\qquad dk=\frac{ds^\top q}{\sqrt d}.$$
//
// In between, $\partial p_j/\partial s_l = p_j(\delta_{jl}-p_l)$, where $\delta_{jl}$ is 1 if $j=l$ and else 0: raising one score takes from the others. Summed against $dp$,
//
// $$ds_{ij}=p_{ij}\Big(dp_{ij}-\sum_l dp_{il}\,p_{il}\Big).$$
//
// Where $p$ is almost 0 or almost 1, nothing comes back. Scores of random $q$ and $k$ have variance $d$, which is why they are divided by $\sqrt d$:

// %%
/// The gradient that gets through the softmax: the median of |ds| over 256 rows, for random dp.
fn flow(d: usize, scale: f32) -> f64 {
    let [q, k]: [Tensor2; 2] = [10, 11].map(|n| normal((256, d), &mut stream(7, n)));
    let mut p = q.dot(&k.t()) * scale;
    nn::activation::softmax_rows(p.as_slice_mut().unwrap(), 256, 1.0);
    let mut ds: Tensor2 = normal((256, 256), &mut stream(7, 12)); // dp, which becomes ds
    nn::activation::softmax_rows_backward(p.as_slice().unwrap(), ds.as_slice_mut().unwrap(), 256, 1.0);
    let mut rows: Vec<f64> = ds.outer_iter().map(|row| f64::from(row.dot(&row)).sqrt()).collect();
    rows.sort_by(f64::total_cmp);
    rows[128]
}
let widths: Vec<usize> = (2..=11).map(|n| 1 << n).collect();
let d: Vec<f64> = widths.iter().map(|&d| d as f64).collect();
let divided: Vec<f64> = widths.iter().map(|&d| flow(d, 1.0 / (d as f32).sqrt())).collect();
let bare: Vec<f64> = widths.iter().map(|&d| flow(d, 1.0)).collect();
Chart::new("channels d", "|ds| of a row, median").scales(Scale::Log, Scale::Log).line("q k^{T}/√d", &d, &divided).line("q k^{T}", &d, &bare).figure()

// %% [markdown]
// *What to see:* divided by $\sqrt d$, the gradient is the same for any width. Without it, it collapses: the softmax of a wide layer has made up its mind before any training. (At small $d$ the bare scores pass even more: a softmax that is nearly flat passes little, too.)
//
// ### Exercise 7.5 (code): attention, backward

// %% tags=["exercise"]
/// (dq, dk, dv) of o = softmax(q kᵀ/√d) v, from q, k, v and d_o = ∂L/∂o, all [T, d].
fn attention_backward(q: &Array2<f64>, k: &Array2<f64>, v: &Array2<f64>, d_o: &Array2<f64>) -> (Array2<f64>, Array2<f64>, Array2<f64>) {
    todo!()
}

// %% tags=["check"]
check::attention_backward(attention_backward)

// %% [markdown]
// **Predict:** the crate's attention layer has biases in its query, key, value and output maps. For one of them the exact gradient is 0, whatever the input. Which?

// %% tags=["predict"]
check::predict("Whose gradient is 0, whatever the input?", &["the query's bias", "the key's bias", "the value's bias", "the output's bias"], 0)

// %%
use ddpm::nn::gradient_check::shaken;
let layer = shaken(nn::Attention::new(16, 1, nn::GroupNorm::new(16, 4, 1e-6), &mut stream(7, 13)), 0.1);
let (x, g) = (random((2, 6, 6, 16), 14), random((2, 6, 6, 16), 15));
let mut grad = layer.zeros_like();
layer.backward(layer.forward(x).1, g, &mut grad);
for (key, tensor) in grad.named().iter().filter(|(key, _)| key.starts_with("to_") && key.ends_with("bias")) {
    println!("{key:<14} |gradient| = {:.0e}", tensor.iter().map(|g| f64::from(g * g)).sum::<f64>().sqrt());
};
assert!(inner(&grad.to_k.bias, &grad.to_k.bias) < 1e-6 * inner(&grad.to_q.bias, &grad.to_q.bias));

// %% [markdown]
// The key's. It adds $q_i\cdot b_k$ to *every* score of row $i$, and a softmax does not see a common shift: the same blindness as in group norm, and what remains is rounding. (`shaken` adds noise to all weights: fresh layers start near zero, which would hide mistakes.)
//
// ## All of it at once
//
// A **residual block** (more in notebook 09) chains these layers and adds the result to its own input; attention, down and up follow. A sum $y = a + b$ passes $dy$ to both sides unchanged, and what fed two places adds up what it gets back. We measure at each node: the adjoint error where the map is linear, the gradient error where it is not.

// %%
use ddpm::nn::{Attention, Downsample, GroupNorm, Linear, ResnetBlock, Upsample};
fn rng() -> impl Rng { stream(7, 20) }
let (x, g, half) = (random((2, 8, 8, 16), 21), random((2, 8, 8, 16), 22), random((2, 4, 4, 16), 23));
let norm = shaken(GroupNorm::new(16, 4, 1e-6), 0.3);
let dx = norm.backward_silu(norm.forward_silu(x.clone()).1, g.clone(), &mut norm.zeros_like());
let at_norm = error(&x, &dx, |x| inner(&norm.infer_silu(x), &g));

let conv = Conv2d::new(16, 16, 3, 1.0, &mut rng());
let at_conv = adjoint_error(&x, &conv.infer(&x), &g, &conv.backward_data(&g, (8, 8)));
let shortcut = Conv2d::new(16, 16, 1, 1.0, &mut rng());
let at_shortcut = adjoint_error(&x, &shortcut.infer(&x), &g, &shortcut.backward_data(&g, (8, 8)));

// %%
let down = Downsample { conv: Conv2d::new(16, 16, 3, 1.0, &mut rng()).strided(2, [0, 1]) };
let at_down = adjoint_error(&x, &down.conv.infer(&x), &half, &down.conv.backward_data(&half, (8, 8)));
let up = Upsample { conv: Conv2d::new(16, 16, 3, 1.0, &mut rng()) };
let dx = up.backward(up.forward(half.clone()).1, &g, &mut up.zeros_like());
let at_up = adjoint_error(&half, &up.infer(&half), &g, &dx);

// the time: a linear map of its embedding, added to every pixel; backward sums over the pixels
let embedding: Tensor2 = normal((2, 32), &mut stream(7, 24));
let linear = Linear::new(32, 16, 1.0, &mut rng());
let per_image = g.sum_axis(Axis(1)).sum_axis(Axis(1)); // [2, 16]
let d_embedding = linear.backward(linear.forward(embedding.clone()).1, &per_image, &mut linear.zeros_like());
let spread = Tensor4::zeros(g.dim()) + &linear.infer(&embedding).insert_axis(Axis(1)).insert_axis(Axis(1));
let usual = (inner(&spread, &spread) * inner(&g, &g) / g.len() as f64).sqrt();
let at_time = (inner(&spread, &g) - inner(&embedding, &d_embedding)).abs() / usual;

// %%
let dx = layer.backward(layer.forward(x.clone()).1, g.clone(), &mut layer.zeros_like());
let at_attention = error(&x, &dx, |x| inner(&layer.infer(x), &g));

let block = shaken(ResnetBlock::new((16, 16, 32), (4, 1e-6), 0.0, &mut rng()), 0.1);
let mut d_time = Tensor2::zeros((2, 32));
let (_, cache) = block.forward(x.clone(), &embedding, &mut []);
let dx = block.backward(cache, g.clone(), &mut d_time, &mut block.zeros_like());
let at_block = error(&x, &dx, |x| inner(&block.infer(x, &embedding), &g));
let at_block_time = error(&embedding, &d_time, |e| inner(&block.infer(&x, e), &g));
println!("the whole residual block: {at_block:.0e} for x, {at_block_time:.0e} for the time");
assert!([at_conv, at_shortcut, at_down, at_up, at_time].iter().all(|&linear| linear < 1e-4));
assert!([at_norm, at_attention, at_block, at_block_time].iter().all(|&curved| curved < 5e-4));

// %%
fn node(diagram: Diagram, name: &str, at: (f64, f64), error: f64) -> Diagram {
    let strength = ((error.log10() + 8.0) / 3.0).clamp(0.05, 1.0); // 1e-8 is white, 1e-5 the full colour
    diagram.node(format!("{name}\n{error:.0e}"), at, strength)
}
fn graph(nodes: &[(&str, (f64, f64), f64)], arrows: &[(usize, usize)]) -> Diagram {
    let ends = Diagram::new().node("x", (0.0, 0.0), 0.0).node("y", (0.5, 2.5), 0.0).node("+", (5.0, 1.25), 0.0);
    let all = nodes.iter().fold(ends, |graph, &(name, at, error)| node(graph, name, at, error));
    arrows.iter().fold(all, |graph, &(from, to)| graph.arrow(from, to)).dashed(0, 8)
}
graph(&[
    ("GN, SiLU", (1.0, 0.0), at_norm), ("conv 3×3", (2.0, 0.0), at_conv), ("+ time", (3.0, 0.0), at_time),
    ("GN, SiLU", (4.0, 0.0), at_norm), ("conv 3×3", (5.0, 0.0), at_conv), ("conv 1×1", (1.5, 1.25), at_shortcut),
    ("attention", (5.0, 2.5), at_attention), ("down", (3.5, 2.5), at_down), ("up", (2.0, 2.5), at_up),
], &[(0, 3), (3, 4), (4, 5), (5, 6), (6, 7), (7, 2), (8, 2), (2, 9), (9, 10), (10, 11), (11, 1)]).figure()

// %% [markdown]
// *What to see:* forward goes with the arrows, backward against them; the dashed arrow is the second way out of $x$. No node is off by more than a few parts in a million, which is rounding in `f32`; a mistake of one per cent would show as $10^{-2}$. (Each kind of node was measured once.)
//
// ### ★ Open
//
// The adjoint of a convolution is a convolution. Of which of the other layers is the backward pass a layer of the same kind, and is there a reason?
//
// ## You can now
//
// - turn a linear layer around by asking each input whom it fed, and test it without a step;
// - collapse group norm's three ways back into three terms, and say what each takes out;
// - send a gradient through a softmax, and say why scores are divided by $\sqrt d$.
//
// **In the paper:** section 4 (a U-Net with group normalisation throughout), appendix B (residual blocks, self-attention at 16×16, the time added in each block), Algorithm 1 (line 5, the gradient that all of this computes).

// %%
println!("{}", check::score());
