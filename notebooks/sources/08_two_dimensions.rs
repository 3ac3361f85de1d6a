// %% [markdown]
// # 08 Two dimensions: the whole loop
//
// **You will be able to** put together all of a diffusion model, from data to samples: tell a network the time, train it with Algorithm 1, average its weights, sample with Algorithm 2, and measure how good the samples are.
//
// **Before:** notebooks 03 and 06. **Time:** 80 minutes, of which the machine works two. **Figure:** a cloud of noise that winds itself into a spiral.
//
// In notebook 03 the denoiser was exact. Now a small network learns it, of points in the plane instead of images: there one sees every point, training takes seconds, and the exact answer is known, so that we can say how much the network has missed.

// %%
:dep ddpm = { package = "ddpm-notebook", path = "kernel" }
use ddpm::prelude::*;
ddpm::start();

// %% [markdown]
// ## Data, and what becomes of them
//
// 10,000 points on a spiral, with a little noise of $\sigma = 0.02$ across the line. To the crate a point is an image of one pixel with two channels, $[N, 1, 1, 2]$: `as_batch` makes it so, `as_points` goes back. The chain has $T = 200$ steps, with the paper's $\beta$ times $1000/T$.

// %%
let points = toy::swirl(10_000, &mut stream(8, 0));
let schedule = Schedule::linear_scaled(200).unwrap();
let x0 = as_batch(&points.slice(s![..1000, ..]).to_owned());
let eps: Batch = normal(x0.dim(), &mut stream(8, 1));
let mut charts: Vec<Chart> = Vec::new();
for t in [0, 5, 15, 200] {
    let x_t = as_points(&q_sample(&schedule, &x0, &[t; 1000], &eps));
    let chart = Chart::new("", "").title(format!("t = {t}")).x_range(-2.5, 2.5).y_range(-2.5, 2.5).square();
    charts.push(chart.points("", &x_t.column(0).to_vec(), &x_t.column(1).to_vec()));
}
Chart::panels(charts.clone(), 4, (300, 320))

// %% [markdown]
// *What to see:* at $t = 5$ the line is blurred, at $t = 15$ its turns run into each other, and long before $t = 200$ it is $\mathcal N(0, I)$. The network has to lead every point back.
//
// ## A network that knows the time
//
// One network serves all 200 steps, so it must be told $t$. The number alone would do badly: a layer that multiplies $t$ by a weight can hardly tell 3 from 4 and 30 from 190 at once. So $t$ is written as waves of many speeds, half of them sines and half cosines, as a clock has several hands:
//
// $$\big[\sin(s\,\omega_0), \dots, \sin(s\,\omega_{h-1}), \cos(s\,\omega_0), \dots, \cos(s\,\omega_{h-1})\big], \qquad \omega_k = 10000^{-k/(h-1)}, \quad s = t - 1.$$
//
// The paper counts $t$ from 1, published networks from 0; hence $s$.

// %%
let t: Vec<usize> = (1..=200).collect();
let waves = nn::sinusoidal_embedding(&t, 16, false, 1.0).mapv(f64::from);
let x: Vec<f64> = t.iter().map(|&t| t as f64).collect();
let mut chart = Chart::new("t", "sin((t − 1) ω_{k})");
for k in [1, 2, 3, 5] {
    chart = chart.line(format!("k = {k}"), &x, &waves.column(k).to_vec());
}
chart.clone().figure()

// %% [markdown]
// *What to see:* the fast hands tell neighbouring steps apart, the slow ones early from late.
//
// ### Exercise 8.1 (code): the time as waves

// %% tags=["exercise"]
/// dim/2 sines, then dim/2 cosines, for the paper's t = 1, 2, …
fn time_sinusoids(t: usize, dim: usize) -> Vec<f64> {
    todo!()
}

// %% tags=["check"]
check::time_sinusoids(time_sinusoids)

// %% [markdown]
// The network itself is a perceptron, `PointNet`: it sees the two coordinates, their sines and cosines at five speeds (else it would draw only smooth curves), and 32 waves of the time. Three hidden layers of 128 numbers follow, with SiLU between them, and a last one that says $\hat\epsilon$ and begins at nothing. Its backward pass is that of notebook 06, layer by layer.

// %%
let mut net = PointNet::new(128, &mut stream(8, 2));
layers(&net)

// %% [markdown]
// ## Algorithm 1
//
// > **repeat** &nbsp; $x_0 \sim q(x_0)$; &nbsp; $t \sim \mathrm{Uniform}\{1,\dots,T\}$; &nbsp; $\epsilon \sim \mathcal N(0, I)$;
// > take a gradient descent step on $\nabla_\theta\,\big\|\epsilon - \epsilon_\theta(\sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\epsilon,\; t)\big\|^2$
//
// The first line, for a whole batch; every step has its own stream of random numbers.

// %%
fn draw(points: &Array2<f64>, schedule: &Schedule, n: usize, step: u64) -> NoisyBatch {
    let mut rng = stream(9, step);
    let rows: Vec<usize> = (0..n).map(|_| rng.random_range(0..points.nrows())).collect();
    let t = (0..n).map(|_| rng.random_range(1..=schedule.T())).collect();
    let eps = normal((n, 1, 1, 2), &mut rng);
    NoisyBatch::new(schedule, as_batch(&points.select(Axis(0), &rows)), t, eps)
}
let reverse = Reverse { clip: false, variance: Variance::BetaTilde, ..Reverse::new(schedule.clone()) };
let batch = draw(&points, &schedule, 256, 0);
let eps_hat = net.predict(&batch.x_t, &batch.t);
println!("loss of the fresh network: {:.3}", simple_loss(&reverse, &eps_hat, &batch).loss.mean().unwrap());

// %% [markdown]
// About 1, as it must be: it says 0 and should say $\epsilon$, and $\mathbb E\,\epsilon^2 = 1$. (`reverse` is the chain back: $\sigma_t^2 = \tilde\beta_t$, best for data as sharp as a line, and no clipping.)
//
// The poster prints the second line as $\nabla_\theta\,(\epsilon - \epsilon_\theta(\dots))$. One sees that this can't be: $\epsilon - \epsilon_\theta$ is a vector, and one descends on a number. Norm and square are missing. Without the square, the best network would be the one that says $+\infty$.
//
// ## What the optimiser does with a gradient
//
// **Adam** divides the mean $m$ of recent gradients $g$ by the root of the mean $v$ of their squares, so that each weight moves by about the step size, whatever the scale of its gradient:
//
// $$m \leftarrow \beta_1 m + (1-\beta_1)\,g, \quad v \leftarrow \beta_2 v + (1-\beta_2)\,g^2, \quad \theta \leftarrow \theta - \mathrm{lr}\;\frac{m/(1-\beta_1^k)}{\sqrt{v/(1-\beta_2^k)} + 10^{-8}}$$
//
// with $\beta_1 = 0.9$, $\beta_2 = 0.999$ (not the chain's $\beta_t$) in step $k = 1, 2, \dots$ Both means begin at 0, which is too small; dividing by $1-\beta^k$ makes up for it.
//
// **Predict:** the first gradient is 0.5, the step size 0.1. How far does the weight move?

// %% tags=["predict"]
check::predict("The first step of Adam moves the weight by", &["0.05", "0.1", "0.5"], 0)

// %%
let options = AdamOptions { lr: 0.1, warmup: 0, clip: 0.0, ..AdamOptions::default() };
for gradient in [0.5_f32, 0.0005] {
    let mut weight: Array1<f32> = array![1.0];
    Adam::new(&weight, options).step(&mut weight, &array![gradient]);
    println!("gradient {gradient}: the weight moves by {:.4}", weight[0] - 1.0);
};

// %% [markdown]
// By 0.1, and by as much if the gradient is a thousand times smaller.
//
// ### Exercise 8.2 (code): Adam by hand

// %% tags=["exercise"]
/// The weight after each step of Adam from `theta`, with β₁ = 0.9, β₂ = 0.999 and 1e-8.
fn adam_weights(theta: f64, gradients: &[f64], lr: f64) -> Vec<f64> {
    todo!()
}

// %% tags=["check"]
check::adam_weights(adam_weights)

// %% [markdown]
// ## The averaged weights
//
// Each batch pulls the weights another way, and they tremble. So one samples with an average of the recent ones, $\bar\theta \leftarrow d\,\bar\theta + (1-d)\,\theta$, whose memory is about $1/(1-d)$ steps. Where should it begin? At 0 it would be too small for long; at the initial weights it keeps $d^k$ of pure noise after $k$ steps: with the paper's $d = 0.9999$ and our 4,000 steps, two thirds. It needs a warm-up. One that works: in step $k$ use
//
// $$d_k = \min\big(d,\; 1 - 1/k\big),$$
//
// which is the plain mean of all weights so far, until $1/(1-d)$ steps are past.
//
// ### Exercise 8.3 (code): an average that is warm from the first step

// %% tags=["exercise"]
/// The average after each step, for the weights after steps 1, 2, …
fn averages(weights: &[f64], decay: f64) -> Vec<f64> {
    todo!()
}

// %% tags=["check"]
check::averages(averages)

// %% [markdown]
// (The crate does as the paper: no warm-up, and it begins at the initial weights. We choose $d = 0.99$, which forgets them after a few hundred steps.)
//
// ### Exercise 8.4 (code): the training step
//
// Everything at once. You need `net.forward(&x_t, &t)`, which gives $\hat\epsilon$ and a cache; `simple_loss(reverse, &eps_hat, batch)`, which gives the loss of each point and the gradient of their **sum** with respect to $\hat\epsilon$; `net.zeros_like()`, an empty gradient; `net.backward(cache, &d_output, &mut grad)`; and `adam.step(net, &grad)`.

// %% tags=["exercise"]
/// One step of Adam down the slope of the mean loss of a batch; returns that mean.
fn train_step(net: &mut PointNet, adam: &mut Adam<PointNet>, reverse: &Reverse, batch: &NoisyBatch) -> f64 {
    todo!()
}

// %% tags=["check"]
check::train_step(train_step)

// %% [markdown]
// ## What would be perfect?
//
// Our spiral is very nearly a mixture of 400 small Gaussians strung along the line, and for a mixture the best $\hat\epsilon$ has a closed form (notebook 03). `MixtureWorld` knows it. Its loss is the floor that no network can break through.

// %%
let on_the_line = Array2::from_shape_fn((400, 2), |(i, axis)| {
    let turn = ((i as f64 + 0.5) / 400.0).sqrt();
    let angle = 3.0 * std::f64::consts::PI * turn;
    turn * if axis == 0 { angle.cos() } else { angle.sin() }
});
let oracle = MixtureWorld::new(as_batch(&on_the_line), &[1.0; 400], 0.02 * 0.02, schedule.clone());
let test = draw(&points, &schedule, 4000, 1_000_000);
let floor = L_simple(&test.eps, &oracle.predict(&test.x_t, &test.t)).mean().unwrap();
println!("the loss of the perfect network: {floor:.4}");

// %% [markdown]
// ## Train
//
// The first cell shows the loss while it falls; the second one trains, with *your* training step.

// %%
let options = AdamOptions { lr: 3e-3, warmup: 100, ema_decay: 0.99, ..AdamOptions::default() };
let mut adam = Adam::new(&net, options);
let mut plot = LossPlot::new("swirl", 4000, 256);
plot

// %% tags=["timing"]
let descend = check::yours::train_step(train_step);
let mut kept: Vec<(usize, PointNet, PointNet)> = Vec::new(); // step, raw weights, averaged ones
for step in 1..=4000 {
    let loss = descend(&mut net, &mut adam, &reverse, &draw(&points, &schedule, 256, step as u64));
    plot.push(loss);
    if [30, 100, 300, 1000, 2000, 4000].contains(&step) {
        kept.push((step, net.clone(), adam.ema.clone()));
    }
}
plot.figure()

// %% [markdown]
// *What to see:* most is learned in the first 500 steps. After that the curve seems to stand still at a value far from 0. How far is it from what is possible?

// %%
let raw = L_simple(&test.eps, &net.predict(&test.x_t, &test.t)).mean().unwrap();
let averaged = L_simple(&test.eps, &adam.ema.predict(&test.x_t, &test.t)).mean().unwrap();
println!("on the same 4,000 points: raw weights {raw:.4}, averaged {averaged:.4}, perfect {floor:.4}");
assert!(averaged < raw && averaged < 1.03 * floor && averaged > 0.98 * floor);

// %% [markdown]
// Almost all of the loss is what nobody can know. Of the excess of the raw weights, averaging removes four fifths, for nothing.
//
// ## Algorithm 2: noise winds itself up
//
// 1,000 points of $\mathcal N(0, I)$ walk down the chain. `decode_steps` hands out each step; we keep few pictures of the beginning, and each of the last twenty steps.

// %%
let start = as_batch(&normal((1000, 2), &mut stream(8, 3)));
let mut frames: Vec<Array3<u8>> = vec![dots(&as_points(&start), 1.8, 260)];
let mut samples = as_points(&start);
for step in decode_steps(&adam.ema, &reverse, start, 200, &Noise::seed(8)) {
    samples = as_points(&step.x_prev);
    if step.t <= 20 || step.t % if step.t > 60 { 20 } else { 4 } == 1 {
        frames.push(dots(&samples, 1.8, 260));
    }
}
fn film(frames: &[Array3<u8>]) -> Array4<u8> {
    let views: Vec<_> = frames.iter().map(|frame| frame.view()).collect();
    ndarray::stack(Axis(0), &views).unwrap()
}
Gif::new(&film(&frames), 80)

// %% [markdown]
// *What to see:* for most of the chain the cloud only shrinks. In the last twenty steps the points know where to go: first each chooses its place along the spiral, then the line is drawn sharp.
//
// ## What has it learned? A field of arrows
//
// $-\hat\epsilon/\sqrt{1-\bar\alpha_t}$ is the **score**, the slope of $\log q(x_t)$ (notebook 03): at each point of the plane the arrow along which the data become more likely. The network's beside the exact one, at $t = 10$:

// %%
let grid = Array2::from_shape_fn((21 * 21, 2), |(i, axis)| -1.2 + 0.12 * if axis == 0 { i % 21 } else { i / 21 } as f64);
let at = [10_usize; 441];
let scale = -1.0 / (1.0 - schedule.alpha_bar(10)).sqrt();
let learned = as_points(&adam.ema.predict(&as_batch(&grid), &at)) * scale;
let exact = as_points(&oracle.predict(&as_batch(&grid), &at)) * scale;
let mut charts: Vec<Chart> = Vec::new();
for (name, field) in [("the network", &learned), ("exact", &exact)] {
    let (x, y) = arrows(&grid, field, 0.005);
    let chart = Chart::new("", "").title(name).x_range(-1.35, 1.35).y_range(-1.35, 1.35).square();
    charts.push(chart.line("", &x, &y).reference("", &on_the_line.column(0).to_vec(), &on_the_line.column(1).to_vec()));
}
Chart::panels(charts.clone(), 2, (560, 560))

// %% [markdown]
// *What to see:* the arrows point to the nearest arm of the spiral (dotted), the farther away the longer; on it they vanish. The network was never shown an arrow, only noise to be guessed. Where data come by, it is right. Far outside, at the lower left, its arrows are too short and don't bend: hardly a training point was ever there.
//
// ## How good are the samples?
//
// The eye is a poor judge between two good clouds. The **energy distance** compares clouds $X$ and $Y$ by nothing but distances between points,
//
// $$\mathcal E = 2\,\mathbb E\|X - Y\| - \mathbb E\|X - X'\| - \mathbb E\|Y - Y'\| \ge 0,$$
//
// and is 0 only if they are distributed alike: strangers should be as far from each other as members of one family are.
//
// ### Exercise 8.5 (code): the energy distance

// %% tags=["exercise"]
/// The energy distance of x [n, d] and y [m, d]; means are over all pairs, a point with itself included.
fn energy_between(x: &Array2<f64>, y: &Array2<f64>) -> f64 {
    todo!()
}

// %% tags=["check"]
check::energy_between(energy_between)

// %% [markdown]
// Two fresh clouds of data show what chance alone gives. The crate's `energy_distance` on samples at six points of the training, with raw and with averaged weights, each the mean of four draws of 1,000 points, with its standard error. **Predict:** which is better after 30 steps?

// %% tags=["predict"]
check::predict("Better after 30 steps", &["the raw weights", "the averaged ones", "no difference"], 0)

// %%
let real = points.slice(s![1000..2000, ..]).to_owned();
let chance = energy_distance(&points.slice(s![2000..3000, ..]).to_owned(), &real);
fn quality(net: &PointNet, reverse: &Reverse, real: &Array2<f64>) -> Estimate {
    let draws = [8, 9, 10, 11].map(|seed| as_points(&sample(net, reverse, [1000, 1, 1, 2], &Noise::seed(seed))));
    Estimate::of(&draws.iter().map(|drawn| energy_distance(drawn, real)).collect())
}
let steps: Vec<f64> = kept.iter().map(|(step, ..)| *step as f64).collect();
let raw: Vec<Estimate> = kept.iter().map(|(_, net, _)| quality(net, &reverse, &real)).collect();
let averaged: Vec<Estimate> = kept.iter().map(|(.., net)| quality(net, &reverse, &real)).collect();
println!("data against data {chance:.4}; at the end raw {:.4}, averaged {:.4}", raw[5], averaged[5]);
assert!(averaged[5].mean < 0.01 && averaged[5].mean < 0.2 * averaged[0].mean);
let mut chart = Chart::new("training step", "energy distance to data").scales(Scale::Log, Scale::Log);
for (name, draws) in [("raw", &raw), ("averaged", &averaged)] {
    let at = |errors: f64| draws.iter().map(|d| d.mean + errors * d.std_error).collect::<Vec<f64>>();
    chart = chart.line(name, &steps, &at(0.0)).bars(&steps, &at(-1.0), &at(1.0));
}
chart.clone().reference("data against data", &[30.0, 4000.0], &[chance, chance]).figure()

// %% [markdown]
// *What to see:* at step 100 the raw weights are nearly there, while the average still holds $0.99^{100} = 37\,\%$ of the initial ones and blows the cloud apart. At steps 1,000 and 2,000 it is the better one by several errors; at the end both are within what chance alone gives, and within each other's errors: a single draw each would have named a winner.
//
// ## Other data, same code
//
// Nothing in the loop knows about spirals. A dinosaur has finer detail, so we train somewhat longer, and let the step size fall to 0 on the way (`cooldown`): then the raw weights stop trembling too. And we do it twice: with the drawing as it is, and with the drawing four times as large, whose samples are shrunk again. The chain and its noises stay the same. **Predict:** what does the size change?

// %% tags=["predict"]
check::predict("Four times as large, then shrunk", &["the same samples", "sharper ones", "more blurred ones"], 0)

// %%
fn learn_to_draw(points: &Array2<f64>, size: f64, options: &AdamOptions, reverse: &Reverse) -> Array2<f64> {
    let large = points * size;
    let cooldown = Some(ddpm::optim::Cooldown { from: 2000, to: 6000 });
    let mut artist = PointNet::new(128, &mut stream(8, 5));
    let mut adam = Adam::new(&artist, AdamOptions { cooldown, ..options.clone() });
    for step in 1..=6000 {
        artist.train_step(&mut adam, reverse, &draw(&large, &reverse.schedule, 256, step));
    }
    as_points(&sample(&adam.ema, reverse, [2000, 1, 1, 2], &Noise::seed(8))) / size
}
fn nearest(x: f64, y: f64, drawing: &Array2<f64>) -> f64 {
    drawing.outer_iter().map(|q| (x - q[0]).hypot(y - q[1])).fold(f64::INFINITY, f64::min)
}

// %%
let dinosaur = toy::dinosaur(10_000, &mut stream(8, 4));
let fresh = toy::dinosaur(2000, &mut stream(8, 6));
let drawn = [1.0, 4.0].map(|size| learn_to_draw(&dinosaur, size, &options, &reverse));
let mut charts: Vec<Chart> = Vec::new();
for (name, cloud) in [("data", &fresh), ("as it is", &drawn[0]), ("four times as large", &drawn[1])] {
    let chart = Chart::new("", "").title(name).x_range(-1.2, 1.2).y_range(-1.2, 1.2).square();
    charts.push(chart.points("", &cloud.column(0).to_vec(), &cloud.column(1).to_vec()));
    let mut far: Vec<f64> = cloud.outer_iter().map(|p| nearest(p[0], p[1], &dinosaur)).collect();
    far.sort_by(f64::total_cmp);
    println!("{name}: a tenth of the points is more than {:.4} from any that was learned from", far[1800]);
}
Chart::panels(charts.clone(), 3, (420, 440))

// %% [markdown]
// *What to see:* as it is, the outline is sharp only where it runs alone. Where two lines are close, in head, legs and tail, points fall between them. Four times as large, nearly all of them find their line. The noise of step $t$ has the width $\sqrt{1-\bar\alpha_t}$, whatever the data: lines that are 0.1 apart are drowned in it until the last few steps, lines that are 0.4 apart emerge much earlier, and the network has more steps in which to tell them apart. "Scale your data to $[-1, 1]$" is a habit of images; what counts is the size of the detail against the noises of the chain. Latents are scaled for the same reason (notebook 16). Try `toy::moons`, or points of your own within $[-1, 1]^2$.
//
// ### ★ Open
//
// Points of your own within [−1, 1]²: a word, a map, a signature. What is the finest detail that the network draws, and what would you change to make it finer: width, steps, data, or schedule?
//
// ## You can now
//
// - write the whole loop: draw, noise, predict, descend, average, sample;
// - say what a loss at its plateau still hides, and measure samples without looking at them;
// - show that a network that guesses noise has learned the score.
//
// **In the paper:** section 3.2 (Algorithms 1 and 2; the score, after Eq. 11), section 3.4 (Eq. 14, the loss), appendix B (time embedding, Adam, averaging).

// %%
println!("{}", check::score());
