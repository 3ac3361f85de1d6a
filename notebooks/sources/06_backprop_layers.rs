// %% [markdown]
// # 06 Backprop by hand I: Linear, SiLU, MSE, broadcast
//
// **You will be able to** derive the backward pass of a layer from its forward line, write it, and find out whether it is right without trusting anybody.
//
// **Before:** notebook 05. **Time:** 75 minutes. **Figure:** how exact a numerical derivative can be, in `f32` and in `f64`.
//
// This crate has no automatic differentiation: every gradient is a function that somebody derived on paper. That is a routine: a few small rules, and one test for all of them.

// %%
:dep ddpm = { package = "ddpm-notebook", path = "kernel" }
use ddpm::prelude::*;
ddpm::start();

// %% [markdown]
// ## A gradient is a slope
//
// Take the smallest network, $y = w\,x$ with one weight, and the smallest loss, $L = (y - \text{target})^2$. The **chain rule** goes from the loss back to the weight, one factor per line of the forward pass:
//
// $$\frac{\partial L}{\partial y} = 2\,(y-\text{target}), \qquad \frac{\partial L}{\partial w} = \frac{\partial L}{\partial y}\,\frac{\partial y}{\partial w} = \frac{\partial L}{\partial y}\;x.$$
//
// We write `dy` for $\partial L/\partial y$: the `d` is always *of the loss*, and `dy` has the shape of `y`.

// %%
let (x, target) = (1.5_f64, 0.6);
let w: Vec<f64> = (-20..=100).map(|i| i as f64 / 50.0).collect();
let loss: Vec<f64> = w.iter().map(|w| (w * x - target).powi(2)).collect();
let dy = 2.0 * (1.0 * x - target); // at w = 1
let dw = dy * x;
let tangent: Vec<f64> = w.iter().map(|w| 0.81 + dw * (w - 1.0)).collect();
Chart::new("w", "L").line("L = (1.5 w − 0.6)^{2}", &w, &loss).reference(format!("slope dw = {dw}"), &w, &tangent).marks(&[1.0], &[0.81]).y_range(-0.5, 6.0).figure()

// %% [markdown]
// *What to see:* at $w=1$ the loss rises by 2.7 per unit of $w$. A small step against the slope, $w - \eta\,$`dw`, goes downhill. Training is this, with 2.6 million weights at once.
//
// So each layer has a **backward** function: it is given `dy`, returns `dx` (the `dy` of the layer before), and adds the gradients of its own weights to a sum. A network's backward calls them in the opposite order.
//
// ## SiLU: one number in, one number out
//
// Between its linear layers the authors' network bends every number with
//
// $$\mathrm{silu}(x) = x\,\sigma(x), \qquad \sigma(x) = \frac{1}{1+e^{-x}}, \qquad \sigma' = \sigma\,(1-\sigma).$$
//
// By the chain rule `dx` is `dy` times the slope of SiLU, number by number. The product rule gives a formula for that slope, which is your exercise; here it is only measured, over a short stretch around each $x$.
//
// **Predict:** the slope of $x$ itself is 1 everywhere. Is SiLU anywhere steeper than that?

// %% tags=["predict"]
check::predict("Is SiLU anywhere steeper than 1?", &["no, nowhere", "yes, a little", "yes, twice as steep"], 0)

// %%
fn silu(x: f64) -> f64 { x / (1.0 + (-x).exp()) }
fn measured_slope(x: f64) -> f64 { (silu(x + 1e-4) - silu(x - 1e-4)) / 2e-4 }
let x: Vec<f64> = (-600..=600).map(|i| i as f64 / 100.0).collect();
let steepest = x.iter().copied().max_by(|a, b| measured_slope(*a).total_cmp(&measured_slope(*b))).unwrap();
println!("steepest at x = {steepest}: {:.4}", measured_slope(steepest));
Chart::new("x", "")
    .line("silu(x)", &x, &x.iter().map(|&x| silu(x)).collect::<Vec<_>>())
    .line("its slope", &x, &x.iter().map(|&x| measured_slope(x)).collect::<Vec<_>>())
    .y_range(-1.0, 4.0)
    .figure()

// %% [markdown]
// *What to see:* left of 0 almost nothing passes, right of 0 almost everything. Where the slope is near 0 (left of −5, say) no gradient comes back: what does not influence the loss is not taught. From 1.28 on the slope is above 1, by at most a tenth.
//
// ### Exercise 6.1 (code): backward through SiLU

// %% tags=["exercise"]
/// dx, from y = x σ(x) and dy = ∂L/∂y.
fn silu_backward(x: &Array1<f64>, dy: &Array1<f64>) -> Array1<f64> {
    todo!()
}

// %% tags=["check"]
check::silu_backward(silu_backward)

// %% [markdown]
// ## Linear: rows times a matrix
//
// A linear layer maps each row of $X\,[\text{rows}, \text{in}]$ to $Y = X W + b$, with $W\,[\text{in},\text{out}]$ and $b\,[\text{out}]$. One output is
//
// $$y_{rj} = b_j + \sum_i x_{ri}\,w_{ij}.$$
//
// To find $\partial L/\partial w_{ij}$, ask where $w_{ij}$ occurs: in column $j$ of *every* row, times $x_{ri}$. All those ways to the loss add up: $\sum_r x_{ri}\,dy_{rj}$. The same question for $x$ and $b$ gives the rest:
//
// $$dW = X^\top dY, \qquad dX = dY\,W^\top, \qquad db = \sum_r dY_r.$$
//
// You need not remember where the transposes stand: each gradient has the shape of what it belongs to, and there is one way to make the shapes fit.
//
// What does such a $dW$ look like? Take 1,000 garments as rows of 784 pixels, all weights 0, and ten outputs: output $j$ is asked to be 0.9 for class $j$ and −0.1 for the others.

// %%
use ddpm::nn::Linear;
let garments = fashion_mnist_test().first(1000);
let labels: Vec<usize> = garments.labels.clone().unwrap().iter().map(|&label| label as usize).collect();
let x: Tensor2 = garments.batch(&(0..1000).collect::<Vec<_>>()).mapv(|x| x as f32).into_shape_with_order((1000, 784)).unwrap();
let target = Tensor2::from_shape_fn((1000, 10), |(row, class)| if labels[row] == class { 0.9 } else { -0.1 });
let layer = Linear { weight: Tensor2::zeros((784, 10)), bias: Tensor1::zeros(10) };
let (y, cache) = layer.forward(x.clone());
let dy = (&y - &target) * (2.0 / 10_000.0); // of the mean of all squares: see below
let mut grad = layer.zeros_like();
let dx = layer.backward(cache, &dy, &mut grad);
println!("dW {:?}, db {:?}, dX {:?}", grad.weight.shape(), grad.bias.shape(), dx.shape());
let size = grad.weight.iter().fold(0.0_f32, |size, w| size.max(w.abs()));
let downhill = Batch::from_shape_fn((10, 28, 28, 1), |(class, i, j, _)| f64::from(-grad.weight[[28 * i + j, class]] / size));
Grid::new(&to_u8(&downhill), 5).scale(4).figure()

// %% [markdown]
// *What to see:* $-dW$, the direction of the first step downhill, one column of $W$ per picture; grey is 0. Each is a sum of garments, those of the class (T-shirt, trousers, pullover, dress, coat; sandal, shirt, sneaker, bag, ankle boot) with weight 0.9, all others with −0.1: bright where the class has more cloth than the average.
//
// ### Exercise 6.2 (code): backward through a linear layer

// %% tags=["exercise"]
/// (dx, dw, db), from y = x w + b and dy = ∂L/∂y.
fn linear_backward(x: &Array2<f64>, w: &Array2<f64>, dy: &Array2<f64>) -> (Array2<f64>, Array2<f64>, Array1<f64>) {
    todo!()
}

// %% tags=["check"]
check::linear_backward(linear_backward)

// %% [markdown]
// ## What was used many times is summed
//
// The bias above is one row that was added to every row. Code says `x + &b`, and ndarray **broadcasts**: an axis of length 1 is read again and again. Backward is the counterpart: what flows back to all the copies is *summed* over that axis. The rule in three disguises:
//
// - a bias: summed over rows, $db=\sum_r dY_r$;
// - the time embedding, one vector per image that a U-Net adds to every pixel: summed over the pixels;
// - a value that two branches read (a residual sum, a skip connection): it gets two gradients, and they add.
//
// ### Exercise 6.3 (code): undo a broadcast
//
// An array of shape `shape` was broadcast to that of `dy`: where `shape` has a 1, `dy` may have more.

// %% tags=["exercise"]
/// The gradient of the array before it was broadcast; it has the given shape.
fn unbroadcast(dy: &Array2<f64>, shape: (usize, usize)) -> Array2<f64> {
    todo!()
}

// %% tags=["check"]
check::unbroadcast(unbroadcast)

// %% [markdown]
// ## The head: L_simple
//
// Backward starts at the loss. The paper trains on Eq. 14,
//
// $$L_\text{simple} = \mathbb E\,\big\|\epsilon - \epsilon_\theta(x_t, t)\big\|^2 ,$$
//
// where $\epsilon$ is the noise that was added and $\epsilon_\theta$ the network's guess of it. Code takes the mean over the $D$ pixels instead of their sum, and over the $N$ images of a batch. Then the first `dy` of all is
//
// $$\frac{\partial L}{\partial \epsilon_\theta} = \frac{2\,(\epsilon_\theta-\epsilon)}{N D}.$$

// %%
let reverse = Reverse::new(Schedule::linear(1000));
let x0 = fashion_mnist_test().batch(&[0, 1]);
let eps: Batch = normal(x0.dim(), &mut stream(6, 0));
let noisy = NoisyBatch::new(&reverse.schedule, x0, vec![100, 900], eps);
let guess = Batch::zeros(noisy.eps.dim()); // a network that always says 0
let LossGrad { loss, d_output } = simple_loss(&reverse, &guess, &noisy);
println!("L_simple of the two images: {:.3} and {:.3}", loss[0], loss[1]);
assert!((d_output - (&guess - &noisy.eps) * (2.0 / 784.0)).iter().all(|d| d.abs() < 1e-12));

// %% [markdown]
// A network that says 0 has $L_\text{simple}\approx 1$, the variance of the noise: the loss of a fresh network. (The crate's `simple_loss` gives one loss per image and leaves the division by $N$ to the batch.)
//
// **A slip to know.** Algorithm 1 of the paper is the training loop, which notebook 08 builds; its line 5 is the gradient that you are about to write. The poster prints it as a step on $\nabla_\theta\,(\epsilon-\epsilon_\theta)$; it should be $\nabla_\theta\,\|\epsilon-\epsilon_\theta\|^2$. One sees it at once: without norm and square it is not a single number, and $\epsilon$, a constant, drops out of the gradient, so that the network would never hear what the noise was.
//
// ### Exercise 6.4 (code): loss and gradient
//
// Rows are images here, columns their pixels.

// %% tags=["exercise"]
/// The mean of (prediction − target)² over all numbers, and its gradient for the prediction.
fn mse_backward(prediction: &Array2<f64>, target: &Array2<f64>) -> (f64, Array2<f64>) {
    todo!()
}

// %% tags=["check"]
check::mse_backward(mse_backward)

// %% [markdown]
// ## Trust nothing: the gradient check
//
// A slope can also be *measured*. The central difference along a direction $v$,
//
// $$\frac{L(x+hv) - L(x-hv)}{2h} = \langle dx, v\rangle + O(h^2),$$
//
// needs forward passes only. A small $h$ makes $O(h^2)$ small, but $L$ is rounded, to $10^{-16}$ of its size in `f64` and $10^{-7}$ in `f32`, and that error is divided by $h$.
//
// **Predict:** with which $h$ is the measured slope most exact in `f64`: $10^{-2}$, $10^{-5}$, $10^{-8}$ or $10^{-12}$?

// %% tags=["predict"]
check::predict("The most exact slope in f64 comes from h =", &["10⁻²", "10⁻⁵", "10⁻⁸", "10⁻¹²"], 0)

// %%
let x: Array1<f64> = normal(200, &mut stream(6, 1));
let g: Array1<f64> = normal(200, &mut stream(6, 2));
let v: Array1<f64> = normal(200, &mut stream(6, 3));
fn silu_slope(x: f64) -> f64 { // the formula of exercise 6.1
    let sigma = 1.0 / (1.0 + (-x).exp());
    sigma * (1.0 + x * (1.0 - sigma))
}
fn loss64(x: &Array1<f64>, g: &Array1<f64>) -> f64 { (x.mapv(silu) * g).sum() }
fn loss32(x: &Array1<f64>, g: &Array1<f64>) -> f64 {
    let y = x.mapv(|x| { let x = x as f32; x / (1.0 + (-x).exp()) }); // everything in f32 but the sum
    y.iter().zip(g).map(|(&y, g)| f64::from(y) * g).sum()
}
fn error_of(loss: fn(&Array1<f64>, &Array1<f64>) -> f64, h: f64, [x, g, v]: [&Array1<f64>; 3]) -> f64 {
    let exact = (x.mapv(silu_slope) * g * v).sum();
    let measured = (loss(&(x + h * v), g) - loss(&(x - h * v), g)) / (2.0 * h);
    ((measured - exact) / exact).abs()
}
let h: Vec<f64> = (0..=48).map(|i| 10.0_f64.powf(-12.0 + i as f64 / 4.0)).collect();
let in_f64: Vec<f64> = h.iter().map(|&h| error_of(loss64, h, [&x, &g, &v])).collect();
let in_f32: Vec<f64> = h.iter().map(|&h| if h < 1e-7 { f64::NAN } else { error_of(loss32, h, [&x, &g, &v]) }).collect();
Chart::new("step h", "relative error of the measured slope")
    .scales(Scale::Log, Scale::Log)
    .line("f64", &h, &in_f64)
    .line("f32", &h, &in_f32)
    .figure()

// %% [markdown]
// *What to see:* two V's. On the right arm the error is the $O(h^2)$, a hundredth for each tenth of $h$, and both precisions share it. On the left arm it is rounding divided by $h$, and jumps about. The bottom lies near $h=10^{-5}$ in `f64`, where ten digits are right, and near $10^{-2}$ in `f32`, where four to five are. A smaller $h$ is not a better one.
//
// ## What to probe with
//
// A layer has many outputs, and $L$ must be one number. The obvious choice is the sum of all $y$, that is $dy=1$ everywhere; a better one weighs them with random numbers, $L=\langle y, g\rangle$, that is $dy=g$. Here is why. **Standardisation**, $y = (x-\mu)/s$ with the mean $\mu$ and the standard deviation $s$ of the numbers themselves, is the heart of every normalisation layer. As $\mu$ and $s$ depend on $x$ too, each adds a term:
//
// $$dx = \frac1s\Big(dy - \overline{dy} - y\;\overline{dy\,y}\Big),$$
//
// where a bar is the mean over all numbers. (Notebook 07 derives it.) Now plant three mistakes: forget the first mean, the second, both.

// %%
fn standardise(x: &Array1<f64>) -> (Array1<f64>, f64) {
    let mean = x.mean().unwrap();
    let s = x.mapv(|x| (x - mean).powi(2)).mean().unwrap().sqrt();
    ((x - mean) / s, s)
}
fn backward_of(x: &Array1<f64>, dy: &Array1<f64>, with: [f64; 2]) -> Array1<f64> {
    let (y, s) = standardise(x);
    let (first, second) = (dy.mean().unwrap(), (dy * &y).mean().unwrap());
    (dy - with[0] * first - y * (with[1] * second)) / s
}
fn off_by(x: &Array1<f64>, v: &Array1<f64>, dy: &Array1<f64>, with: [f64; 2]) -> f64 {
    let loss = |x: Array1<f64>| (standardise(&x).0 * dy).sum();
    let measured = (loss(x + 1e-5 * v) - loss(x - 1e-5 * v)) / 2e-5;
    (measured - (backward_of(x, dy, with) * v).sum()).abs()
}
let sum_probe = Array1::ones(200);
let rows = [("right", [1.0, 1.0]), ("μ's term forgotten", [0.0, 1.0]), ("s's term forgotten", [1.0, 0.0]), ("both forgotten", [0.0, 0.0])];
rows.iter().fold(Table::new(["backward", "error seen with dy = 1", "error seen with random dy"]), |table, (name, with)| {
    let (by_sum, by_random) = (off_by(&x, &v, &sum_probe, *with), off_by(&x, &v, &g, *with));
    assert_eq!(by_random > 1e-3, *name != "right");
    table.row([name.to_string(), format!("{by_sum:.6}"), format!("{by_random:.6}")])
})

// %% [markdown]
// *What to see:* the sum probe passes the third row, though it is wrong: the forgotten $y\,\overline{dy\,y}$ is 0 when $dy=1$, because $\bar y=0$. (The sum of standardised numbers is 0 whatever $x$ is.) A test that can't fail is no test; random weights have no such blind spot.
//
// ### Exercise 6.5 (guess): catch them
//
// Write the check: do `forward` ($x\mapsto y$) and `backward` ($x, dy\mapsto dx$) belong together? Draw `g` from `stream(6, 0)`, and think of functions whose gradients are very small.

// %% tags=["exercise"]
/// Whether `backward` is not the backward pass of `forward` at x.
fn gradient_is_wrong(forward: fn(&Array1<f64>) -> Array1<f64>, backward: fn(&Array1<f64>, &Array1<f64>) -> Array1<f64>, x: &Array1<f64>) -> bool {
    todo!()
}

// %% tags=["check"]
check::gradient_is_wrong(gradient_is_wrong)

// %% [markdown]
// ## All four together: a denoiser
//
// The pieces make a network that learns to denoise. Data are single numbers near −0.8 or 0.8 (two Gaussians with $s=0.1$); at $t=150$ the network is shown $x_t$ and asked for $\epsilon$. The best possible answer is known, the oracle of notebook 03. Two linear layers, a SiLU between them, L_simple on top, and then the same lines backwards:

// %%
use ddpm::nn::activation::{silu as silu_in_place, silu_backward as silu_backward_in_place};
fn loss_and_gradient(first: &Linear, second: &Linear, x: &Tensor2, eps: &Tensor2) -> (f64, Linear, Linear) {
    let (mut d_first, mut d_second) = (first.zeros_like(), second.zeros_like());
    let (a, first_cache) = first.forward(x.clone()); // [rows, 32]
    let mut hidden = a.clone();
    silu_in_place(hidden.as_slice_mut().unwrap());
    let (guess, second_cache) = second.forward(hidden); // [rows, 1]
    let off = guess - eps;
    let loss = off.mapv(|off| f64::from(off * off)).mean().unwrap();

    let d_guess = off * (2.0 / eps.len() as f32);
    let mut da = second.backward(second_cache, &d_guess, &mut d_second);
    silu_backward_in_place(a.as_slice().unwrap(), da.as_slice_mut().unwrap());
    first.backward(first_cache, &da, &mut d_first);
    (loss, d_first, d_second)
}

// %%
let schedule = Schedule::linear(1000);
let world = MixtureWorld::new(array![[[[-0.8]]], [[[0.8]]]], &[1.0, 1.0], 0.01, schedule.clone());
fn draw(schedule: &Schedule, n: usize, step: u64) -> (Batch, Batch) {
    let mut rng = stream(66, step);
    let signs = Array1::from_shape_fn(n, |_| if rng.random::<bool>() { 0.8 } else { -0.8 });
    let z: Array1<f64> = normal(n, &mut rng);
    let x0 = (signs + 0.1 * z).into_shape_with_order((n, 1, 1, 1)).unwrap();
    let eps: Batch = normal((n, 1, 1, 1), &mut rng);
    (q_sample(schedule, &x0, &vec![150; n], &eps), eps)
}
fn as_rows(x: Batch) -> Tensor2 {
    let n = x.len();
    x.mapv(|x| x as f32).into_shape_with_order((n, 1)).unwrap()
}
let (x_t, eps) = draw(&schedule, 200_000, 0);
let least = (world.predict(&x_t, &vec![150; 200_000]) - eps).mapv(|off| off * off).mean().unwrap();
println!("the oracle's L_simple at t = 150: {least:.3}");

// %% [markdown]
// Even a perfect guess has an error, since $x_t$ does not determine the noise. No network can get below this number.
//
// Training is 6,000 steps of plain gradient descent, $\theta\leftarrow\theta-\eta\,\partial L/\partial\theta$, on 256 fresh examples each. $\eta$ is 0.2, for the last 2,000 steps a tenth of it, so that the noise of small batches averages out.

// %%
fn descend(layer: &mut Linear, grad: &Linear, eta: f32) {
    layer.weight.scaled_add(-eta, &grad.weight);
    layer.bias.scaled_add(-eta, &grad.bias);
}
let mut first = Linear::new(1, 32, 10.0, &mut stream(67, 0)); // large weights: sharper bends
let mut second = Linear::new(32, 1, 1.0, &mut stream(67, 1));
let mut losses: Vec<f64> = Vec::new();
for step in 1..=6000 {
    let eta = if step <= 4000 { 0.2 } else { 0.02 };
    let (x_t, eps) = draw(&schedule, 256, step);
    let (loss, d_first, d_second) = loss_and_gradient(&first, &second, &as_rows(x_t), &as_rows(eps));
    descend(&mut first, &d_first, eta);
    descend(&mut second, &d_second, eta);
    losses.push(loss);
}
let late = losses[5000..].iter().sum::<f64>() / 1000.0;
println!("mean loss of the last 1,000 steps: {late:.3}");
assert!((late / least - 1.0).abs() < 0.03);
let steps: Vec<f64> = (1..=120).map(|block| 50.0 * block as f64).collect();
let smooth: Vec<f64> = losses.chunks(50).map(|block| block.iter().sum::<f64>() / 50.0).collect();
Chart::new("step", "L_{simple}").line("mean of 50 steps", &steps, &smooth).reference("oracle", &[0.0, 6000.0], &[least, least]).figure()

// %% [markdown]
// *What to see:* the loss falls to the oracle's and stays there. A loss that stops falling need not be a bad one. What has the network learned?

// %%
let x: Vec<f64> = (-250..=250).map(|i| i as f64 / 100.0).collect();
let column = Batch::from_shape_vec((501, 1, 1, 1), x.clone()).unwrap();
let oracle = world.predict(&column, &vec![150; 501]);
let (mut hidden, _) = first.forward(as_rows(column));
silu_in_place(hidden.as_slice_mut().unwrap());
let learned: Vec<f64> = second.infer(&hidden).iter().map(|&e| f64::from(e)).collect();
Chart::new("x_{t}", "guess of ε").line("oracle", &x, oracle.as_slice().unwrap()).line("learned", &x, &learned).figure()

// %% [markdown]
// *What to see:* nobody has told the network about two clusters. From numbers and noises alone it has found the curve for which notebook 03 needed Bayes' rule: the guess is 0 at each cluster (which stands at $\pm0.8\sqrt{\bar\alpha_{150}}=\pm0.71$ now), positive to its right, negative to its left. Only at the far ends, where hardly any $x_t$ falls, nobody has corrected it. The idea of the paper, in 97 weights.
//
// ## The crate's gradient check
//
// Every layer of the crate is tested so, by `nn::gradient_check`: random weights (`g` is called a *cotangent*), random directions, several steps, all in `f32`. Its `error` says how far a gradient is from the truth, relative to its own length. The next notebook holds the layers of the U-Net against it.

// %%
use ddpm::nn::gradient_check::{error, inner};
let layer = Linear::new(7, 5, 1.0, &mut stream(68, 0));
let (x, g): (Tensor2, Tensor2) = (normal((4, 7), &mut stream(68, 1)), normal((4, 5), &mut stream(68, 2)));
let (_, cache) = layer.forward(x.clone());
let mut grad = layer.zeros_like();
let dx = layer.backward(cache, &g, &mut grad);
let seen = error(&x, &dx, |x| inner(&layer.infer(x), &g));
let of_w = error(&layer.weight, &grad.weight, |w| inner(&Linear { weight: w.clone(), ..layer.clone() }.infer(&x), &g));
let planted = error(&x, &(&dx * 1.01), |x| inner(&layer.infer(x), &g));
assert!(seen < 1e-5 && of_w < 1e-5 && planted > 5e-3);
println!("dx and dW are right to a part in 100,000; a dx that is 1 % too long is seen, as {:.1} %", 100.0 * planted);

// %% [markdown]
// The last one is the **negative control**: a check is worth something only once it has been seen to fail.
//
// ### ★ Open
//
// Write the backward pass of a layer that is not in the crate (LayerNorm, GELU, a max-pooling), and hold it against a finite difference in a random direction. Then break it so that the check hardly notices: how small can a mistake be?
//
// ## You can now
//
// - derive backward passes: where does each number occur, and what flows back from there;
// - undo a broadcast by a sum, and start backward at L_simple;
// - measure a gradient, choose the step and the probe, and plant a mistake to see whether the check is awake.
//
// **In the paper:** section 3.4 (Eq. 14, L_simple), Algorithm 1 (line 5 is the gradient you wrote), appendix B (the network whose layers notebook 07 goes through).

// %%
println!("{}", check::score());
