// %% [markdown]
// # 03 The posterior, and sampling with a perfect denoiser
//
// **You will be able to** walk the chain backwards, write the sampler of the paper (Algorithm 2) from scratch, and say which part of it a network has to learn, and which part is only arithmetic.
//
// **Before:** notebooks 01 and 02. **Time:** 115 minutes. **Figure:** the density of $x_t$ as noise takes over, and sampled paths that walk back through it.
//
// There is no network in this notebook. For simple data the best possible denoiser is a formula, and with it the whole method works, in milliseconds. Whatever goes wrong here is a bug and not a lack of training.

// %%
:dep ddpm = { package = "ddpm-notebook", path = "kernel" }
use ddpm::prelude::*;
ddpm::start();

// %% [markdown]
// ## One step back, if the image is known
//
// The forward chain adds noise, $q(x_t|x_{t-1})=\mathcal N(\sqrt{\alpha_t}\,x_{t-1},\beta_t)$. To generate we need the other direction. Without more knowledge, $q(x_{t-1}|x_t)$ is out of reach: it depends on what images look like. But *if $x_0$ is known*, Bayes' rule gives
//
// $$q(x_{t-1}|x_t,x_0)\;\propto\; q(x_t|x_{t-1})\; q(x_{t-1}|x_0),$$
//
// and both factors are Gaussians that we know: one step of noise, and the jump of notebook 02. Let us multiply them on a grid.

// %%
let schedule = Schedule::linear_scaled(100).unwrap();
let (t, x0, x_t) = (30, 0.5, -0.3);
let grid: Vec<f64> = (0..=2000).map(|i| -4.0 + i as f64 / 250.0).collect();
fn bell(x: &[f64], mean: f64, variance: f64) -> Vec<f64> {
    x.iter().map(|&x| log_normal(x, mean, variance.ln()).exp()).collect()
}
let jump = bell(&grid, schedule.alpha_bar(t - 1).sqrt() * x0, 1.0 - schedule.alpha_bar(t - 1));
let noise: Vec<f64> = grid.iter().map(|x| log_normal(x_t, schedule.alpha(t).sqrt() * x, schedule.beta(t).ln()).exp()).collect();
let product: Vec<f64> = jump.iter().zip(&noise).map(|(a, b)| a * b).collect();
let area = product.iter().sum::<f64>() / 250.0;
let posterior_on_grid: Vec<f64> = product.iter().map(|p| p / area).collect();
Chart::new("x_{29}", "density").title("t = 30, x_{0} = 0.5, x_{30} = −0.3").x_range(-1.5, 1.5)
    .line("from x_{0}: q(x_{29} | x_{0})", &grid, &jump)
    .line("from x_{30}: q(x_{30} | x_{29})", &grid, &noise)
    .line("both: q(x_{29} | x_{30}, x_{0})", &grid, &posterior_on_grid).figure()

// %% [markdown]
// *What to see:* $x_0$ says roughly where $x_{29}$ was, $x_{30}$ says it precisely, since one step adds little noise. Together they give a bell that is a little narrower still and moved a little towards the image.
//
// Why is the product a bell again? Its logarithm is a sum of two parabolas in $x=x_{t-1}$,
//
// $$-\frac{(x_t-\sqrt{\alpha_t}\,x)^2}{2\beta_t}-\frac{(x-\sqrt{\bar\alpha_{t-1}}\,x_0)^2}{2(1-\bar\alpha_{t-1})}=b\,x-\tfrac12a\,x^2+\text{const},$$
//
// a parabola: multiply out, and collect what stands with $x^2$ and with $x$.
//
// ### Exercise 3.1 (pencil): complete the square
//
// The check evaluates both sides at three places.

// %% tags=["exercise"]
/// (a, b) of b x − ½ a x², the exponent of q(x_t|x) q(x|x_0) up to a constant.
fn completed_square(schedule: &Schedule, t: usize, x0: f64, x_t: f64) -> (f64, f64) {
    todo!()
}

// %% tags=["check"]
check::completed_square(completed_square)

// %% [markdown]
// Since $b\,x-\frac12a\,x^2=-\frac12a\,(x-b/a)^2+\text{const}$, this is the Gaussian of mean $b/a$ and variance $1/a$. From $\alpha_t(1-\bar\alpha_{t-1})+\beta_t=1-\bar\alpha_t$ follows $1/a=\tilde\beta_t$, and with it the **forward process posterior** $\mathcal N(\tilde\mu_t,\tilde\beta_t)$ (Eqs. 6 and 7):
//
// $$\tilde\mu_t=\underbrace{\frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1-\bar\alpha_t}}_{c_1}x_0+\underbrace{\frac{\sqrt{\alpha_t}\,(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}}_{c_2}x_t,\qquad \tilde\beta_t=\frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}\,\beta_t.$$

// %%
let (c1, c2) = schedule.posterior_coefs(t);
let closed = bell(&grid, c1 * x0 + c2 * x_t, schedule.beta_tilde(t));
let off = closed.iter().zip(&posterior_on_grid).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
let (a, b) = check::yours::completed_square(completed_square)(&schedule, t, x0, x_t);
println!("b/a = {:.4}, 1/a = {:.5}", b / a, 1.0 / a);
println!("mean {:.4}, variance {:.5}; β_30 = {:.5}", c1 * x0 + c2 * x_t, schedule.beta_tilde(t), schedule.beta(t));
println!("largest difference from the grid: {off:.0e}");
assert!(off < 1e-9);

// %% [markdown]
// ### Exercise 3.2 (code): mean and variance of the posterior
//
// The check has no formula either: it multiplies on a grid, as we did.

// %% tags=["exercise"]
/// (μ̃_t, β̃_t) of q(x_{t−1}|x_t, x_0).
fn posterior(schedule: &Schedule, t: usize, x0: f64, x_t: f64) -> (f64, f64) {
    todo!()
}

// %% tags=["check"]
check::posterior(posterior)

// %% [markdown]
// ### A misprint worth knowing
//
// A poster about the paper prints $\sqrt{\bar\alpha_t}$ instead of $\sqrt{\alpha_t}$ in $c_2$. One bar too many: does it matter? Here are both, with the paper's 1000 steps.

// %%
let paper = Schedule::linear(1000);
let steps: Vec<f64> = (1..=1000).map(f64::from).collect();
let right: Vec<f64> = (1..=1000).map(|t| paper.posterior_coefs(t).1).collect();
let misprint: Vec<f64> = (1..=1000).map(|t| right[t - 1] * (paper.alpha_bar(t) / paper.alpha(t)).sqrt()).collect();
println!("t = 1: {:.3} and {:.3}; t = 500: {:.3} and {:.3}", right[0], misprint[0], right[499], misprint[499]);
Chart::new("t", "c_{2}, the weight of x_{t}").line("with √α_{t}", &steps, &right).line("misprint, with √ᾱ_{t}", &steps, &misprint).figure()

// %% [markdown]
// *What to see:* at $t=1$ the two agree, since $\bar\alpha_1=\alpha_1$ and both are 0; later the misprint forgets $x_t$. A test at $t=1$ alone would never find it. Test formulas at $t\ge2$, and at a large $t$.
//
// ## What is left for the network
//
// All of this needs $x_0$, and $x_0$ is what we want to make. So the model guesses: it looks at $x_t$, says $\hat x_0$, and takes the posterior with $\hat x_0$ in the place of $x_0$. Everything else is arithmetic.
//
// The best guess in the mean square is the conditional mean $\mathbb E[x_0|x_t]$. For data from a **mixture** of Gaussians it has a closed form. Ours has two modes, at $-0.6$ (30 % of the data) and at $0.5$ (70 %), each with a standard deviation of 0.1; `MixtureWorld` is its perfect denoiser. As the paper's network does, it answers with the noise, $\hat\epsilon$. The jump $x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon$, solved for $x_0$, turns one into the other (Eq. 15):
//
// $$\hat x_0=\frac{x_t-\sqrt{1-\bar\alpha_t}\;\hat\epsilon}{\sqrt{\bar\alpha_t}}.$$

// %%
let world = MixtureWorld::new(array![[[[-0.6]]], [[[0.5]]]], &[0.3, 0.7], 0.01, schedule.clone());
let reverse = Reverse { clip: false, ..Reverse::new(schedule.clone()) };
let x: Vec<f64> = (0..=300).map(|i| -1.5 + i as f64 / 100.0).collect();
let batch = Batch::from_shape_vec((301, 1, 1, 1), x.clone()).unwrap();
{
    let mut chart = Chart::new("x_{t}", "best guess E[x_{0} | x_{t}]");
    for t in [2, 20, 50, 100] {
        let x0_hat = reverse.p_mean_variance(&world, &batch, &[t; 301]).x0_hat;
        chart = chart.line(format!("t = {t}"), &x, &x0_hat.iter().copied().collect::<Vec<f64>>());
    }
    chart.figure()
}

// %% [markdown]
// *What to see:* at $t=2$ the guess follows $x_t$, drawn a little towards the nearer mode, with a switch between the two. At $t=20$ it is a soft S: the noise no longer says for sure which mode it was. At $t=100$ there is nothing to see, and the best guess is the mean of all data, $0.3\cdot(-0.6)+0.7\cdot0.5=0.17$, a value that hardly occurs in the data. A denoiser's guess is an average, not a sample: this is why one look is not enough and the chain takes many small steps.
//
// How does one find such a formula? In two questions. *Which mode was it?* That is Bayes' rule, with $q(x_t|\text{mode})=\mathcal N(\sqrt{\bar\alpha_t}\,m_k,\ \bar\alpha_tv+1-\bar\alpha_t)$ as the likelihood. *And if it was this one?* Then $x_0$ and $x_t$ are two Gaussians, and the square is completed as before. The guess is the mean over the modes.
//
// ### Exercise 3.3 (pencil): the best guess

// %% tags=["exercise"]
/// E[x_0|x_t] if x_0 is of mode k, N(means[k], variance), with probability shares[k].
fn mixture_guess(x_t: f64, alpha_bar: f64, shares: &[f64], means: &[f64], variance: f64) -> f64 {
    todo!()
}

// %% tags=["check"]
check::mixture_guess(mixture_guess)

// %% [markdown]
// ### Exercise 3.4 (code): from the noise to the image

// %% tags=["exercise"]
/// x̂_0 from x_t and the guess of the noise in it.
fn guess_image(schedule: &Schedule, t: usize, x_t: f64, eps_hat: f64) -> f64 {
    todo!()
}

// %% tags=["check"]
check::guess_image(guess_image)

// %% [markdown]
// ### Three ways to say one thing
//
// As $x_t$ is known, $\hat\epsilon$ and $\hat x_0$ say the same. A third way came two years later (Salimans and Ho 2022), $v=\sqrt{\bar\alpha_t}\,\epsilon-\sqrt{1-\bar\alpha_t}\,x_0$. The squares of the two roots sum to 1, so $(x_t, v)$ is $(x_0,\epsilon)$ turned by an angle, and turning back gives $x_0=\sqrt{\bar\alpha_t}\,x_t-\sqrt{1-\bar\alpha_t}\,v$. A perfect denoiser may answer in any of the three. A network's answer is a little off, let us say by 0.1. How far off is then the image?

// %%
{
    let (x0, eps, alpha_bar) = (0.5_f64, -1.2, paper.alpha_bar(300));
    let (signal, noise) = (alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt());
    let (x_t, v) = (signal * x0 + noise * eps, signal * eps - noise * x0);
    assert!((signal * x_t - noise * v - x0).abs() < 1e-12 && (noise * x_t + signal * v - eps).abs() < 1e-12);
}
fn off_by(s: &Schedule, factor: fn(f64) -> f64) -> Vec<f64> {
    (1..=s.T()).map(|t| 0.1 * factor(s.alpha_bar(t))).collect()
}
Chart::new("t", "error of x\u{302}_{0}").scales(Scale::Linear, Scale::Log)
    .line("answer is ε\u{302}", &steps, &off_by(&paper, |alpha_bar| ((1.0 - alpha_bar) / alpha_bar).sqrt()))
    .line("answer is x\u{302}_{0}", &steps, &off_by(&paper, |_| 1.0))
    .line("answer is v", &steps, &off_by(&paper, |alpha_bar| (1.0 - alpha_bar).sqrt())).figure()

// %% [markdown]
// *What to see:* at small $t$ the noise is the better word, since little of it is in $x_t$; at large $t$ the same 0.1 is an error of 16, on a scale from $-1$ to $1$. $v$ follows the better of the two at both ends. For the error of the *noise* the roles are exchanged: there $\hat x_0$ is the one that fails, at small $t$, where the details are made. The paper found early that networks that say $x_0$ give worse images (section 3.2), and stayed with $\epsilon$; so does this course.
//
// ### A fourth word: the score
//
// The **score** is the slope of $\log q(x_t)$: which way, and how steeply, do data become more likely? For a single $x_0$ the slope of $\log q(x_t|x_0)$ is $-(x_t-\sqrt{\bar\alpha_t}\,x_0)/(1-\bar\alpha_t)$. And that of $q(x_t)=\int q(x_t|x_0)\,q(x_0)\,dx_0$ is its mean over those $x_0$ that $x_t$ may have come from,
//
// $$\nabla\log q(x_t)=\frac{\int\nabla q(x_t|x_0)\,q(x_0)\,dx_0}{q(x_t)}=\mathbb E\big[\nabla\log q(x_t|x_0)\,\big|\,x_t\big],$$
//
// so that the best guess of the noise *is* the score, up to a factor. A network that is trained to guess noise is trained to know the score: denoising score matching (Vincent 2011), the connection that the abstract of the paper announces.
//
// ### Exercise 3.5 (pencil): the score

// %% tags=["exercise"]
/// ∇ log q(x_t), from the best guess of the noise in x_t.
fn slope(schedule: &Schedule, t: usize, eps_hat: f64) -> f64 {
    todo!()
}

// %% tags=["check"]
check::slope(slope)

// %% [markdown]
// Solved for the image this is **Tweedie's formula**, $\hat x_0=\big(x_t+(1-\bar\alpha_t)\,\nabla\log q(x_t)\big)/\sqrt{\bar\alpha_t}$: to denoise is to take one step uphill. Here is $\log q(x_5)$ of our two modes, its slope by differences, and yours.

// %%
/// q(x_t) of the two modes, at a noise level ᾱ.
fn two_modes(x: f64, alpha_bar: f64) -> f64 {
    let mode = |share: f64, m: f64| share * log_normal(x, alpha_bar.sqrt() * m, (1.0 - 0.99 * alpha_bar).ln()).exp();
    mode(0.3, -0.6) + mode(0.7, 0.5)
}
let uphill = check::yours::slope(slope);
let eps_hat: Vec<f64> = world.predict(&batch, &[5; 301]).iter().copied().collect();
let log_q: Vec<f64> = x.iter().map(|&x| two_modes(x, schedule.alpha_bar(5)).ln()).collect();
let by_differences: Vec<f64> = (1..300).map(|i| (log_q[i + 1] - log_q[i - 1]) / 0.02).collect();
let by_eps: Vec<f64> = eps_hat.iter().map(|&eps| uphill(&schedule, 5, eps)).collect();
Chart::panels(vec![
    Chart::new("x_{5}", "log q(x_{5}), nats").line("", &x, &log_q),
    Chart::new("x_{5}", "its slope, the score").line("from the best guess of the noise", &x, &by_eps).reference("by differences", &x[1..300], &by_differences),
], 2, (900, 360))

// %% [markdown]
// *What to see:* left of a hump the slope is positive, right of it negative, and it passes through 0 at the humps and in the valley between them. Followed uphill, every point ends on a hump.
//
// ## Algorithm 2
//
// Put $\hat x_0$ into $\tilde\mu_t$, and much cancels. What remains is line 4 of Algorithm 2 (Eq. 11):
//
// $$x_{t-1}=\frac1{\sqrt{\alpha_t}}\Big(x_t-\frac{\beta_t}{\sqrt{1-\bar\alpha_t}}\,\hat\epsilon\Big)+\sigma_t z,\qquad z\sim\mathcal N(0,1)\text{ if }t>1,\text{ else }z=0.$$
//
// Start at $x_T\sim\mathcal N(0,1)$, and go down to $t=1$. We take $\sigma_t^2=\beta_t$; notebook 04 looks at that choice. There is **no noise at $t=1$**: the last mean is the image.
//
// ### Exercise 3.6 (code): one step

// %% tags=["exercise"]
/// x_{t−1} by line 4 of Algorithm 2 with σ_t² = β_t; z counts only if t > 1.
fn reverse_step(schedule: &Schedule, t: usize, x_t: f64, eps_hat: f64, z: f64) -> f64 {
    todo!()
}

// %% tags=["check"]
check::reverse_step(reverse_step)

// %% [markdown]
// Now the picture this notebook is about, drawn by your step: six chains of a hundred steps; behind them is $q(x_t)$, which we know here.

// %%
let line_4 = check::yours::reverse_step(reverse_step);
fn walk_back(world: &MixtureWorld, s: &Schedule, n: usize, seed: u64, line_4: fn(&Schedule, usize, f64, f64, f64) -> f64) -> Vec<Vec<f64>> {
    let noise = Noise::seed(seed);
    let mut x_t = noise.batch([n, 1, 1, 1], &vec![0; n]);
    let mut paths = vec![x_t.iter().copied().collect::<Vec<f64>>()];
    for t in (1..=s.T()).rev() {
        let (eps_hat, z) = (world.predict(&x_t, &vec![t; n]), noise.batch([n, 1, 1, 1], &vec![t; n]));
        ndarray::Zip::from(&mut x_t).and(&eps_hat).and(&z).for_each(|x, &eps, &z| *x = line_4(s, t, *x, eps, z));
        paths.push(x_t.iter().copied().collect());
    }
    paths
}

// %%
let paths = walk_back(&world, &schedule, 6, 12, line_4);
let density = Array2::from_shape_fn((150, 101), |(i, t)| two_modes(-2.5 + (i as f64 + 0.5) / 30.0, schedule.alpha_bar(t)));
let highest = density.map_axis(Axis(0), |column| column.fold(0.0_f64, |a, &b| a.max(b)));
let t: Vec<f64> = (0..=100).rev().map(f64::from).collect();
{
    let mut chart = Chart::new("t", "x_{t}").title("q(x_{t}), darkest where most likely, and six sampled paths").y_range(-2.5, 2.5)
        .heat((-0.5, 100.5), (-2.5, 2.5), &(&density / &highest));
    for n in 0..6 {
        chart = chart.line("", &t, &paths.iter().map(|x| x[n]).collect::<Vec<f64>>());
    }
    chart.figure()
}

// %% [markdown]
// *What to see:* read from right to left. The paths wander in the noise without an aim, until, in the last fifth, they are drawn to one mode or the other. The noise $z$ of the steps decides to which; the denoiser decides that there are two.
//
// ### Exercise 3.7 (code): the whole chain
//
// Your function is given the denoiser as `eps_hat(x_t, t)` and the noise as `z(t)`. It may call your `reverse_step`. The check runs it a thousand times and compares the results with the data by a Kolmogorov–Smirnov test, the largest gap between the two distribution functions.

// %% tags=["exercise"]
/// Algorithm 2 from x_T = `start` down to x_0.
fn run_chain(schedule: &Schedule, start: f64, eps_hat: &dyn Fn(f64, usize) -> f64, z: &dyn Fn(usize) -> f64) -> f64 {
    todo!()
}

// %% tags=["check"]
check::run_chain(run_chain)

// %% [markdown]
// ## Does it work?
//
// 5,000 chains of your step, counted, against the density of the data. (`sample`, the crate's sampler, does the same for batches of images.)

// %%
let samples = walk_back(&world, &schedule, 5000, 1, line_4).pop().unwrap();
let left = samples.iter().filter(|&&x| x < 0.0).count() as f64 / 5000.0;
println!("in the left mode: {:.1} % of the samples, 30 % of the data", 100.0 * left);
assert!((left - 0.3).abs() < 0.03);
let centres: Vec<f64> = (0..100).map(|bin| -0.99 + bin as f64 / 50.0).collect();
let counts: Vec<f64> = centres.iter().map(|c| samples.iter().filter(|&&x| (x - c).abs() < 0.01).count() as f64 / 100.0).collect();
let fine: Vec<f64> = (0..=500).map(|i| -1.0 + i as f64 / 250.0).collect();
let data: Vec<f64> = bell(&fine, -0.6, 0.01).iter().zip(bell(&fine, 0.5, 0.01)).map(|(a, b)| 0.3 * a + 0.7 * b).collect();
Chart::new("x_{0}", "density").points("5,000 samples, counted", &centres, &counts).line("data", &fine, &data).figure()

// %% [markdown]
// *What to see:* noise has become data, with nothing trained. The places and the shares of the modes are right; the tops are a little too low, since a hundred Gaussian steps with $\sigma_t^2=\beta_t$ make the modes a little too wide. Notebook 04 measures how much that costs.
//
// ### Why many small steps?
//
// Algorithm 2 draws every step back from a Gaussian. But the true step $q(x_{t-1}|x_t)$ is none: it is a mixture, of what each mode would say. Here is the best that a Gaussian can do, the one with the same mean and variance, where a chain of 10 steps has to decide for a mode; and its divergence from the truth, added up over all steps, for cosine chains of 10 to 100 steps.

// %%
const GRID: f64 = 0.02;
fn grid_x() -> Vec<f64> { (0..400).map(|i| -4.0 + GRID * (i as f64 + 0.5)).collect() }
/// q(x_{t−1}|x_t) on the grid, and q(x_t).
fn step_back(s: &Schedule, t: usize, x_t: f64, x: &[f64]) -> (Vec<f64>, f64) {
    let joint = |&x: &f64| two_modes(x, s.alpha_bar(t - 1)) * log_normal(x_t, s.alpha(t).sqrt() * x, s.beta(t).ln()).exp();
    let joint: Vec<f64> = x.iter().map(joint).collect();
    let area = joint.iter().sum::<f64>() * GRID;
    (joint.iter().map(|p| p / area.max(1e-300)).collect(), area)
}
fn moments(p: &[f64], x: &[f64]) -> (f64, f64) {
    let mean = p.iter().zip(x).map(|(p, x)| p * x * GRID).sum::<f64>();
    (mean, p.iter().zip(x).map(|(p, x)| p * (x - mean).powi(2) * GRID).sum())
}

// %%
/// Σ_t E KL(q(x_{t−1}|x_t) ‖ the best Gaussian), nats.
fn not_gaussian(s: &Schedule) -> f64 {
    let x = grid_x();
    let kl = |p: &[f64]| p.iter().filter(|&&p| p > 1e-12).map(|p| p * p.ln() * GRID).sum::<f64>() + 0.5 * (1.0 + (2.0 * std::f64::consts::PI * moments(p, &x).1).ln());
    (2..=s.T()).flat_map(|t| x.iter().map(move |&x_t| (t, x_t))).map(|(t, x_t)| step_back(s, t, x_t, &x)).filter(|(_, q)| *q > 1e-9).map(|(p, q)| q * GRID * kl(&p)).sum()
}

// %%
let lengths: Vec<f64> = vec![10.0, 25.0, 50.0, 100.0];
let missed: Vec<f64> = lengths.iter().map(|&n| not_gaussian(&Schedule::cosine(n as usize))).collect();
println!("T = 10: {:.3} nats, 100: {:.4} nats", missed[0], missed[3]);
assert!(missed.windows(2).all(|pair| pair[1] < pair[0]));
let (short, fine) = (Schedule::cosine(10), grid_x());
let exact = step_back(&short, 2, 0.0, &fine).0;
let (mean, variance) = moments(&exact, &fine);
Chart::panels(vec![
    Chart::new("x_{1}", "density").title("T = 10, t = 2, x_{2} = 0").x_range(-2.0, 2.0).line("exact step back", &fine, &exact).line("best Gaussian", &fine, &bell(&fine, mean, variance)),
    Chart::new("T", "nats, all steps").scales(Scale::Log, Scale::Log).line("KL from the exact steps", &lengths, &missed).marks(&lengths, &missed),
], 2, (900, 360))

// %% [markdown]
// *What to see:* with big steps the way back has two humps, and a single bell covers the valley between them, where nothing is. The smaller the step, the more the factor $q(x_t|x_{t-1})$ decides, which is Gaussian, and the less the data: ten times as many steps leave a twenty-sixth of the divergence. This is the reason for many small steps, and the price of few; a perfect denoiser does not help, since the shape of the step is wrong, not its mean.
//
// ### The same misprint again, and what it does
//
// In its sampling box that poster prints $\sqrt{1-\alpha_t}$ where line 4 has $\sqrt{1-\bar\alpha_t}$. For data from $\mathcal N(0,1)$ the effect needs no dice. The perfect answer is $\hat\epsilon=\sqrt{1-\bar\alpha_t}\,x_t$, so each step multiplies $x_t$ by a number $g_t$ and adds a variance of $\beta_t$. **Predict:** the samples should have variance 1. With the misprint: more, or less?

// %% tags=["predict"]
check::predict("The variance of the samples with the misprint", &["more than 1", "less than 1", "1, by luck"], 0)

// %%
fn end_variance(s: &Schedule, root: fn(&Schedule, usize) -> f64) -> f64 {
    (1..=s.T()).rev().fold(1.0, |variance, t| {
        let gain = (1.0 - s.beta(t) / root(s, t) * (1.0 - s.alpha_bar(t)).sqrt()) / s.alpha(t).sqrt();
        gain * gain * variance + if t > 1 { s.beta(t) } else { 0.0 }
    })
}
let right = end_variance(&paper, |s, t| (1.0 - s.alpha_bar(t)).sqrt());
let misprint = end_variance(&paper, |s, t| (1.0 - s.alpha(t)).sqrt());
println!("variance of the samples, Algorithm 2: {right:.4}, misprint: {misprint:.4}");
assert!((right - 0.9999).abs() < 1e-9 && (misprint - 0.092).abs() < 5e-4);

// %% [markdown]
// *What to see:* a tenth of the variance. The misprint divides by a number that is far too small, so that every step takes out much more noise than there is. Images made that way are flat and grey, and one would blame the network.
//
// ## The two ends of the loop
//
// Two more published slips, both of one step. One adds noise at $t=1$ too (B6 of our museum). One never visits $t=1$ (B7): the result is then $x_1$. They hardly show in broad data. In data with fine detail they do:

// %%
let detail = GaussianWorld::new(0.3, 0.0001, schedule.clone());
let z = Noise::seed(9).batch([5000, 1, 1, 1], &[1; 5000]);
let start = Noise::seed(2).batch([5000, 1, 1, 1], &[0; 5000]);
let last = decode_steps(&detail, &reverse, start, 100, &Noise::seed(2)).last().unwrap(); // of t = 1
let (x1, good) = (last.x_t, last.x_prev);
let noisy = &good + &(&z * schedule.beta(1).sqrt());
for (name, x) in [("data", 0.01), ("Algorithm 2", good.std(0.0)), ("noise at t = 1 too", noisy.std(0.0)), ("t = 1 left out", x1.std(0.0))] {
    println!("{name}: standard deviation {x:.4}");
}
assert!(good.std(0.0) < 0.012 && noisy.std(0.0) > 0.03 && x1.std(0.0) > 0.03);

// %% [markdown]
// *What to see:* B6 leaves $\sqrt{\beta_1}=0.032$ on every pixel, B7 the noise of the step before, about $\sqrt{\beta_2}=0.055$: three and six times the detail itself. Algorithm 2 errs the other way. It ends with a mean, which is too smooth, here by half a grey level ($1/127.5=0.0078$).
//
// ## Clipping
//
// There is one thing in the authors' program that the paper doesn't say. Pixels lie in $[-1,1]$, so the program clips $\hat x_0$ to that range and takes $\tilde\mu_t(x_t,\hat x_0)$, instead of line 4. As long as $\hat x_0$ is inside, the two are equal. A perfect denoiser of images never leaves it, since a mean of pixels is a pixel; a network does, above all at large $t$, where Eq. 15 divides by a small $\sqrt{\bar\alpha_t}$. As a caricature of a poor network, let ours see only half of the noise.

// %%
for clip in [false, true] {
    let poor = |x_t: &Batch, t: &[usize]| 0.5 * world.predict(x_t, t);
    let reverse = Reverse { clip, ..reverse.clone() };
    let x0 = sample(&poor, &reverse, [2000, 1, 1, 1], &Noise::seed(1));
    let outside = x0.iter().filter(|x| x.abs() > 1.0).count() as f64 / 20.0;
    println!("clip = {clip}: {outside:.1} % of the samples outside [-1, 1], standard deviation {:.3}", x0.std(0.0));
    assert!(if clip { outside < 0.1 } else { outside > 20.0 });
}
println!("data: standard deviation {:.3}", (0.01 + 0.21 * 1.1_f64.powi(2)).sqrt());

// %% [markdown]
// *What to see:* clipped, all samples are possible pixels again. The sampler has become more robust, but not right: the spread is still too large. So two programs with the same weights differ in what they draw, and whether $\hat x_0$ is clipped belongs in a description (B15).
//
// ### Exercise 3.8 (code): the clipped mean

// %% tags=["exercise"]
/// μ̃_t(x_t, x̂_0) with x̂_0, made from `eps_hat`, clipped to [−1, 1].
fn clipped_mean(schedule: &Schedule, t: usize, x_t: f64, eps_hat: f64) -> f64 {
    todo!()
}

// %% tags=["check"]
check::clipped_mean(clipped_mean)

// %% [markdown]
// ## Perfect, and useless
//
// Why train a network at all, if the perfect denoiser is a formula? Give the formula a training set of images: each garment is one mode of a mixture, without any width. $\mathbb E[x_0|x_t]$ is then a weighted mean of the training images.

// %%
let garments = fashion_mnist_test().first(500).batch(&(0..500).collect::<Vec<_>>());
let memory = MixtureWorld::new(garments.clone(), &[1.0; 500], 0.0, schedule.clone());
let keep = [100, 80, 60, 50, 40, 30, 20, 10];
let (made, snapshots) = progressive(&memory, &reverse, [4, 28, 28, 1], &keep, &Noise::seed(6));
let nearest: f64 = made.outer_iter().map(|x| {
    garments.outer_iter().map(|g| (&x - &g).mapv(|d| d * d).mean().unwrap()).fold(f64::INFINITY, f64::min)
}).fold(0.0, f64::max);
println!("largest mean squared distance of a sample from its nearest training image: {nearest:.0e}");
assert!(nearest < 1e-6);
let mut rows: Vec<_> = (0..4).flat_map(|n| snapshots.iter().map(move |s| (s.t, n))).collect();
let images = ndarray::stack(Axis(0), &rows.drain(..).map(|(t, n)| {
    snapshots.iter().find(|s| s.t == t).unwrap().x0_hat.index_axis(Axis(0), n)
}).collect::<Vec<_>>()).unwrap();
Grid::new(&to_u8(&images), 8).scale(3).column_labels(keep.map(|t| format!("t = {t}"))).figure()

// %% [markdown]
// *What to see:* $\hat x_0$ of four chains. At $t=100$ all begin with the same grey mean of 500 garments; then the guess sharpens, changes its mind, and ends in a garment. But each is a **copy of a training image**, to the last pixel. The perfect denoiser of the training set has learned nothing but the training set. A network can't store it all and has to make do with what garments have in common. That is where new garments come from, and why a larger network is not always better (notebook 10 looks for copies).
//
// ### ★ Open
//
// Put three modes into the world, one of them with 1 % of the data. How many chains have to be drawn before you can say that their share is right to a tenth, and does σ² = β̃ find the small mode as often?
//
// ## You can now
//
// - derive the step back by Bayes' rule, and test a formula where it can fail;
// - say why steps must be small, and what the score has to do with the noise;
// - turn a guess of the noise into one of the image or of $v$, and say what an error in it costs;
// - write Algorithm 2, with the right denominator, the right last step and the right clipping;
// - say what the network is for.
//
// **In the paper:** section 2 (Eqs. 6 and 7), section 3.2 (Eq. 11 and Algorithm 2), section 4.3 (Eq. 15, the guess of the image along the way).

// %%
println!("{}", check::score());
