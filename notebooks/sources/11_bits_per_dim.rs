// %% [markdown]
// # 11 Bits per dimension of a real model
//
// **You will be able to** measure how well a diffusion model knows its data, in bits per dimension with an error behind it; say which steps of the chain the bits are paid in; and read the paper's Fig. 5: what each bit buys.
//
// **Before:** notebooks 01 (bits), 04 (the bound) and 10 (the trained network). **Time:** 80 minutes. **Figure:** the bound of the shipped network term by term, and its rate–distortion curve.
//
// A sampler shows pictures, and one can like them. A likelihood is a number, and one can be wrong about it by a factor of a thousand: it happens in this notebook.

// %%
:dep ddpm = { package = "ddpm-notebook", path = "kernel" }
use ddpm::prelude::*;
ddpm::start();

// %% [markdown]
// The shipped network has 2.6 million parameters, was trained on Fashion-MNIST with $L_\text{simple}$ and $T=1000$, and has never seen the test set. We take its first twelve images.

// %%
let model: checkpoint::Pretrained = checkpoint::GARMENTS.load().unwrap();
let x0: Batch = fashion_mnist_test().batch(&(0..12).collect::<Vec<_>>());
let schedule: Schedule = model.reverse.schedule.clone();
println!("{} parameters, T = {}, images {:?}", model.unet.count(), schedule.T(), x0.shape());
println!("β̃_1 = {}, β̃_2 = {:.2e}", schedule.beta_tilde(1), schedule.beta_tilde(2));

// %% [markdown]
// ## The bound
//
// With $q$ the fixed forward chain and $p_\theta$ the learned reverse one (Eq. 5),
//
// $$-\log p_\theta(x_0)\;\le\; L = \mathbb E_q\Big[\underbrace{\mathrm{KL}\big(q(x_T|x_0)\,\|\,p(x_T)\big)}_{L_T} + \sum_{t=2}^{T}\underbrace{\mathrm{KL}\big(q(x_{t-1}|x_t,x_0)\,\|\,p_\theta(x_{t-1}|x_t)\big)}_{L_{t-1}} \underbrace{-\log p_\theta(x_0|x_1)}_{L_0}\Big].$$
//
// $L_T$ is what the prior $p(x_T)=\mathcal N(0, I)$ doesn't know of the last latent, $L_{t-1}$ what one step of the network loses against the step back $q(x_{t-1}|x_t,x_0)$ that knows the image, $L_0$ the cost of the exact grey levels once $x_1$ is there (notebook 04).
//
// The poster prints the same sum as "ELBO $= \mathrm{KL} + \sum_{t\ge1}\mathrm{KL} - \log p$", and further down with "$-L_0$". Three slips, and how one sees them. KL terms are $\ge0$, and so is $-\log p$ of a *probability*: the sum is a cost, $L=-\text{ELBO}$. The minus sign sits inside $L_0$ already; a second one would make a better decoder worsen the bound. And the sum starts at $t=2$: as $\tilde\beta_1=0$, the posterior of $t=1$ is a point, and its divergence from any Gaussian is infinite.
//
// So the last step is scored by the probability of the grey levels instead. (The poster calls it a decoder "without variance". It has one, $\sigma_1^2$: without it every image but one would have probability 0. Only the picture that is *shown* gets no noise at $t=1$.)
//
// ### Exercise 11.1 (code): the prior term
//
// $L_T$ needs no network: it asks whether the schedule forgets the image.

// %% tags=["exercise"]
/// L_T of a batch of images in bits per dimension, the mean over the images.
fn prior_bits(x0: &Batch, schedule: &Schedule) -> f64 {
    todo!()
}

// %% tags=["check"]
check::prior_bits(prior_bits)

// %% [markdown]
// **Predict:** $\bar\alpha_{1000} = 4\cdot10^{-5}$. Is $L_T$ nearer to 1, to $10^{-2}$ or to $10^{-5}$ bits/dim?

// %% tags=["predict"]
check::predict("L_T is nearest to", &["1", "10⁻²", "10⁻⁵"], 0)

// %%
for (name, schedule) in [("T = 1000", &schedule), ("T = 50 with the same β_1 and β_T", &Schedule::linear(50))] {
    let e = Estimate::of(&L_T(schedule, &x0).mapv(|nats| bits_per_dim(nats, 784)));
    println!("{name}: L_T = {:.1e} ± {:.1e} bits/dim", e.mean, e.std_error);
};

// %% [markdown]
// ## Twelve thousand looks
//
// Now all terms: for each of 12 images and each of 1,000 steps one noise $\epsilon$, one $x_t$ and one look of the network. The output is read in two ways, with the reverse variance $\sigma_t^2=\beta_t$ and with $\sigma_t^2=\tilde\beta_t$ (section 3.2), so both bounds cost one evaluation. As in the official code $\hat x_0$ is clipped to $[-1,1]$. It takes a minute or so.

// %%
fn parts(bound: &Elbo) -> [Estimate; 4] {
    let [prior, rest] = [bound.L_T.clone(), bound.sum_L_t_minus_1()].map(|nats| bound.mean_bits_per_dim(nats));
    [prior, rest, bound.distortion(), bound.bits_per_dim()]
}
fn written(e: &Estimate) -> String {
    if e.mean < 0.01 { format!("{:.1e} ± {:.0e}", e.mean, e.std_error) } else { format!("{e:.3}") }
}
let variants: [Reverse; 2] = [Variance::Beta, Variance::BetaTilde].map(|variance| Reverse { variance, ..model.reverse.clone() });
let options: ElboOptions = ElboOptions { batch: 12, ..ElboOptions::default() };
let bounds: Vec<Elbo> = {
    let (done, all) = (std::cell::Cell::new(0), 12 * 1000);
    let before = |query: &Query| {
        done.set(done.get() + query.t.len());
        if 4 * done.get() / all > 4 * (done.get() - query.t.len()) / all { println!("{} %", 100 * done.get() / all) }
    };
    elbo_variants(&Watched { model: &model.unet, before }, &variants, &x0, &options, &Noise::seed(1))
};
let sums: [[Estimate; 4]; 2] = [parts(&bounds[0]), parts(&bounds[1])];
["L_T", "Σ L_t−1", "L_0", "L"].iter().enumerate().fold(Table::new(["bits/dim", "σ² = β", "σ² = β̃"]), |table, (i, name)| {
    table.row([name.to_string(), written(&sums[0][i]), written(&sums[1][i])])
})

// %% [markdown]
// *What to see:* a raw pixel takes 8 bits, this network 3.31. Somewhat less than half goes to $L_0$, the exact grey levels; it is the same for both, since at $t=1$ both take $\sigma_1^2=\tilde\beta_2$, as the official code does. $L_T$ is nothing. The full run of `ddpm figures` (32 images, the same noises) has 3.404 ± 0.167 and 3.360 ± 0.198; on 1,000 images the first is 3.474 ± 0.024. The ± is the spread over *images*, divided by $\sqrt{12}$. Where does it come from?

// %%
let each: Array1<f64> = bounds[0].total().mapv(|nats| bits_per_dim(nats, 784));
let mut order: Vec<usize> = (0..12).collect();
order.sort_by(|&a, &b| each[a].total_cmp(&each[b]));
let labels: Vec<String> = order.iter().map(|&n| format!("{:.2}", each[n])).collect();
Grid::new(&to_u8(&x0.select(Axis(0), &order)), 12).column_labels(&labels).figure()

// %% [markdown]
// *What to see:* the twelve images, each with its own bound in bits/dim. The sandal, mostly black, costs 1.88, the checked shirt 5.15. Black background is foreseen; threads have to be paid for.
//
// ## Which steps are dear?
//
// **Predict:** the sum has 999 terms, $t=2,\dots,1000$. Which share of $\sum_t L_{t-1}$ is paid in the first nine of them, $t\le10$: about 1 %, 10 % or 50 %?

// %% tags=["predict"]
check::predict("The first nine terms carry", &["about 1 %", "about 10 %", "about 50 %"], 0)

// %%
use ddpm::figures::elbo::{ElboTerms, Term, decomposition};
fn term(bound: &Elbo, t: usize, nats: Array1<f64>) -> Term {
    let Estimate { mean, std_error } = bound.mean_bits_per_dim(nats);
    Term { t, mean, std_error }
}
fn terms(name: &str, bound: &Elbo) -> ElboTerms {
    let column = |t: usize| term(bound, t, bound.L.column(t - 1).to_owned());
    let rest = (2..=1000).map(column).collect();
    ElboTerms { name: name.into(), L_0: column(1), L_t_minus_1: rest, L_T: term(bound, 1000, bound.L_T.clone()) }
}
let both: [ElboTerms; 2] = [terms("σ_{t}^{2} = β_{t}", &bounds[0]), terms("σ_{t}^{2} = β\u{303}_{t}", &bounds[1])];
let early: f64 = both[0].L_t_minus_1.iter().take(9).map(|term| term.mean).sum();
println!("t = 2 to 10: {early:.3} of {:.3} bits/dim", both[0].sum());
decomposition(&both)

// %% [markdown]
// *What to see:* every term with ± one standard error over the images as a band, over $\log t$ and over $t$: six and a half orders of magnitude. Below, added up: 1.04 of 1.90 bits/dim, 55 % of $\sum L_{t-1}$, are paid by $t=10$ (in the full run 1.07 of 1.92). The two variances differ by 0.06 in all.
//
// ### Why do they fall?
//
// For a network that predicts $\epsilon$ and a fixed variance each term is a weighted squared error of the noise (Eq. 12, with its constant written out; $D$ is the number of dimensions):
//
// $$\frac{L_{t-1}}{D} = w_t\,\frac{\|\epsilon-\epsilon_\theta\|^2}{D} + C_t,\qquad w_t=\frac{\beta_t^2}{2\sigma_t^2\alpha_t(1-\bar\alpha_t)},\qquad C_t=\tfrac12\Big(\log\frac{\sigma_t^2}{\tilde\beta_t}-1+\frac{\tilde\beta_t}{\sigma_t^2}\Big)\ \text{nats}.$$
//
// $C_t$ is what a variance that is not $\tilde\beta_t$ costs even a perfect network. The cell checks the identity on ours, for every image and step ($\epsilon_\theta$ being the noise that the clipped $\hat x_0$ implies).

// %%
let t: Vec<f64> = (2..=1000).map(f64::from).collect();
let weight: Vec<f64> = (2..=1000).map(|t| schedule.weight(t, schedule.beta(t))).collect();
let constant: Vec<f64> = (2..=1000).map(|t| schedule.kl_const(t, schedule.beta(t))).collect();
for ((n, k), nats) in bounds[0].L.indexed_iter().filter(|((_, k), _)| *k > 0) {
    let predicted = 784.0 * (weight[k - 1] * bounds[0].eps_mse[[n, k]] + constant[k - 1]);
    assert!((nats - predicted).abs() < 1e-6 * predicted + 1e-9);
};
println!("Σ C_t = {:.3} bits/dim", constant.iter().sum::<f64>() / std::f64::consts::LN_2);
let mse: Vec<f64> = bounds[0].eps_mse.columns().into_iter().skip(1).map(|c| c.mean().unwrap()).collect();
let product: Vec<f64> = weight.iter().zip(&mse).map(|(w, e)| w * e).collect();
Chart::new("t", "squared error, weight, nats/dim").y_range(1e-7, 2.0).scales(Scale::Log, Scale::Log)
    .line("‖ε − ε_{θ}‖^{2}/D", &t, &mse).line("w_{t}", &t, &weight)
    .line("their product, nats/dim", &t, &product).line("C_{t}, nats/dim", &t, &constant)
    .figure()

// %% [markdown]
// *What to see:* at $t=2$ the noise is two grey levels wide and hidden in the image's own detail. The network guesses only about half of it, and there it counts most. At large $t$ nearly all of $x_t$ is noise, and easy to name. And 0.486 of the bits are no fault of the network: $\sum_t C_t$. (With $\tilde\beta_t$ it is 0, but then each error weighs more.)
//
// ## One $t$ instead of a thousand
//
// Training looks at one random $t$ per image. Can one such look estimate the bound? With $t$ uniform on $1,\dots,T$ and $L_0$ as the term of $t=1$,
//
// $$\mathbb E_t\big[\,T\cdot L_{t-1}\big] = \sum_{t=1}^{T} L_{t-1},$$
//
// so $L_T + T\cdot L_{t-1}$ is unbiased. Leave out the $T$ and you report a likelihood a thousand times too good. (Well-known training code multiplies this term by $T/1000$, to balance a hybrid loss. What it logs is then not the bound.)
//
// ### Exercise 11.2 (code): the bound from random terms

// %% tags=["exercise"]
/// The bound and its standard error from the terms at n uniform t of 1..=steps; all in one unit. `prior` is L_T.
fn one_t_estimate(prior: f64, steps: usize, drawn: &[f64]) -> [f64; 2] {
    todo!()
}

// %% tags=["check"]
check::one_t_estimate(one_t_estimate)

// %% [markdown]
// Since all 12,000 terms are known, we can play the game without the network: draw 100 pairs of image and $t$, estimate, and see whether the truth lies within ± 2 standard errors. 40 times. An honest interval holds the truth in 38 of 40.
//
// **Predict:** how many do?

// %% tags=["predict"]
check::predict("Of 40 intervals the truth is in", &["38 to 40", "about 35", "fewer than 30"], 0)

// %%
/// The bound without L_T from n random pairs (image, t): `draw` gives t and 1/(T p_t). In bits/dim.
fn estimate(bound: &Elbo, times: &TimeDistribution, n: usize, rng: &mut impl Rng) -> Estimate {
    let draw = |_| {
        let (t, weight) = times.draw(rng);
        let image = rng.random_range(0..bound.L.nrows());
        bits_per_dim(1000.0 * weight * bound.L[[image, t - 1]], bound.dims)
    };
    Estimate::of(&(0..n).map(draw).collect())
}
fn intervals(bound: &Elbo, times: &TimeDistribution) -> Figure {
    let truth = bound.bits_per_dim().mean;
    let all: Vec<Estimate> = (1..=40).map(|i| estimate(bound, times, 100, &mut stream(11, i))).collect();
    let edge = |sign: f64| all.iter().map(|e| e.mean + sign * 2.0 * e.std_error).collect::<Vec<f64>>();
    let (low, high) = (edge(-1.0), edge(1.0));
    let held = low.iter().zip(&high).filter(|&(&l, &h)| l < truth && truth < h).count();
    println!("{held} of 40 intervals hold the truth, {truth:.3} bits/dim");
    let (x, means): (Vec<f64>, Vec<f64>) = all.iter().enumerate().map(|(i, e)| (i as f64 + 1.0, e.mean)).unzip();
    Chart::new("estimate from 100 looks", "bits/dim").points("mean ± 2 standard errors", &x, &means).bars(&x, &low, &high)
        .y_range(low.iter().fold(0.98 * truth, |a, &b| a.min(b)), high.iter().fold(truth, |a, &b| a.max(b))).reference("all t", &[0.0, 41.0], &[truth, truth]).figure()
}
intervals(&bounds[0], &TimeDistribution::Uniform(1000))

// %% [markdown]
// *What to see:* unbiased, and useless. A hundred uniform $t$ hit one of the dear ones, $t\le10$, in about six of ten attempts. The attempts that miss them are far too low, *and sure of it*, as their error bars know only what they have seen; those that hit $t=1$ are far too high. A standard error is honest only if the tail is in the sample.
//
// ## Look where the bits are
//
// Draw $t$ with probabilities $p_t$ and count a term $1/p_t$ times: $\mathbb E_{t\sim p}[L_{t-1}/p_t] = \sum_t L_{t-1}$ for any $p_t>0$. The variance is least for
//
// $$p_t \propto \sqrt{\mathbb E[L_{t-1}^2]}$$
//
// (Nichol & Dhariwal 2021, Eq. 18, who use it in training; the mean is over images and noises).
//
// ### Exercise 11.3 (code): the best $p_t$

// %% tags=["exercise"]
/// From E[L_{t−1}²] for t = 1, 2, …, T: the probabilities with which t should be drawn.
fn best_times(mean_squares: &[f64]) -> Vec<f64> {
    todo!()
}

// %% tags=["check"]
check::best_times(best_times)

// %%
let rms: Vec<f64> = bounds[0].L.columns().into_iter().map(|c| c.mapv(|l| l * l).mean().unwrap().sqrt()).collect();
let p: Vec<f64> = rms.iter().map(|r| r / rms.iter().sum::<f64>()).collect();
intervals(&bounds[0], &TimeDistribution::Cumulative((1..=1000).map(|t| p[..t].iter().sum()).collect()))

// %% [markdown]
// *What to see:* mind the axis. A hundred looks again, and the intervals are ± 0.2 instead of up to ± 26; 39 of 40 hold the truth.
//
// The crate's `TimeSteps::Stratified` needs no $p_t$: it takes $t=1$ always, and one random $t$ from each of 20 strata that grow geometrically. Here it evaluates a hundred images, 21 looks each. The table compares the plans: the standard deviation of one draw of (image, $t$) follows from the terms we have, and $n$ draws have the error $\text{sd}/\sqrt n$.

// %%
let data: Batch = fashion_mnist_test().batch(&(0..100).collect::<Vec<_>>());
let options: ElboOptions = ElboOptions { time_steps: TimeSteps::Stratified { count: 20, seed: 1 }, ..ElboOptions::default() };
let hundred: Elbo = elbo(&model.unet, &variants[0], &data, &options, &Noise::seed(1));
println!("100 images, 21 looks each: {:.3} bits/dim", hundred.bits_per_dim());
let truth: f64 = bounds[0].bits_per_dim().mean;
{
    let squares = bounds[0].L.mapv(|l| bits_per_dim(l, 784).powi(2)).mean_axis(Axis(0)).unwrap();
    let one_t = |p: &[f64]| squares.iter().zip(p).map(|(square, p)| square / p).sum::<f64>() - truth * truth;
    let (uniform, importance) = (one_t(&[1e-3; 1000]), one_t(&p));
    let strata = 100.0 * hundred.bits_per_dim().std_error.powi(2);
    let all = each.mapv(|l| (l - truth).powi(2)).mean().unwrap();
    assert!(importance < 0.5 * uniform);
    let plans = [("one uniform t", 1.0, uniform), ("one t by importance", 1.0, importance), ("t = 1 and 20 strata", 21.0, strata), ("all t", 1000.0, all)];
    let head = ["an image is seen at", "looks", "sd of a draw, bits/dim", "looks for an error of 0.02"];
    plans.iter().fold(Table::new(head), |table, (name, looks, variance)| {
        table.row([name.to_string(), looks.to_string(), format!("{:.2}", variance.sqrt()), format!("{:.0}", looks * variance / 0.0004)])
    })
}

// %% [markdown]
// *What to see:* the images alone differ with a standard deviation of 0.89 bits/dim, which no choice of $t$ can remove. Importance sampling adds little to it: its variance is two thousand times less than that of a uniform $t$ (on new images, whose terms did not make $p_t$, it would be a little more). And all $t$ are a waste if the mean over images is wanted: a new image tells more than the thousandth look at the old one. The hundred images have 3.368 ± 0.080; the full run, with 300, has 3.411 ± 0.043.
//
// ## Rate and distortion
//
// The bound is also a price list (section 4.3). A sender transmits $x_T$, then $x_{T-1}$, and so on; step $t\to t-1$ costs $L_{t-1}$. A receiver who holds $x_t$ has paid the **rate**, and can show $\hat x_0(x_t)$, whose error is the **distortion**:
//
// $$R(t) = L_T + \sum_{s=t+1}^{T} L_{s-1}, \qquad \text{RMSE}(t) = 127.5\,\sqrt{\|x_0-\hat x_0(x_t)\|^2/D}\ \text{ grey levels of } 0\dots255.$$
//
// $L_0$ is never rate: it is the price of the last, lossless step. (It is an accounting: Algorithms 3 and 4 of the paper assume a coder that reaches the KL divergence, and none does in reasonable time.)
//
// ### Exercise 11.4 (code): the rate

// %% tags=["exercise"]
/// R(t) for t = 1, 2, …, T: entry t − 1 is what has been paid by who holds x_t. `terms[t - 1]` is L_{t−1}, `prior` is L_T.
fn rate_curve(prior: f64, terms: &[f64]) -> Vec<f64> {
    todo!()
}

// %% tags=["check"]
check::rate_curve(rate_curve)

// %%
fn panel(labels: [&str; 2], ours: [&[f64]; 2], paper: [&[f64]; 2]) -> Chart {
    let chart = Chart::new(labels[0], labels[1]).line("garments, σ^{2} = β", ours[0], ours[1]);
    chart.points("CIFAR10, the paper's Table 4", paper[0], paper[1])
}
let points: Vec<RatePoint> = rate_distortion(&bounds[0]);
assert!((points[999].rate_bits_per_dim.mean + bounds[0].distortion().mean - truth).abs() < 1e-9);
let n: Vec<f64> = points.iter().map(|p| p.reverse_time as f64).collect();
let (r, d): (Vec<f64>, Vec<f64>) = points.iter().map(|p| (p.rate_bits_per_dim.mean, p.rmse.mean)).unzip();
let terms: Vec<f64> = bounds[0].L.columns().into_iter().map(|l| bits_per_dim(l.mean().unwrap(), 784)).collect();
let by_hand: Vec<f64> = check::yours::rate_curve(rate_curve)(bits_per_dim(bounds[0].L_T.mean().unwrap(), 784), &terms).into_iter().rev().collect();
let mean_rmse: f64 = 127.5 * data.var_axis(Axis(0), 0.0).mean().unwrap().sqrt();
let table4: Stored = stored("table4.csv");
let [n4, r4, d4]: [Vec<f64>; 3] = ["reverse_time", "paper_cifar10_rate_bits_per_dim", "paper_cifar10_rmse"].map(|name| table4.column(name));
{
    let [steps, rate, rmse] = ["reverse steps, T − t + 1", "rate, bits/dim", "distortion, RMSE in grey levels"];
    let mean_garment = vec![mean_rmse; 2];
    let mut over_steps = [panel([steps, rmse], [&n, &d], [&n4, &d4]), panel([steps, rate], [&n, &r], [&n4, &r4])];
    over_steps[0] = over_steps[0].clone().reference("the mean garment", &[1.0, 1000.0], &mean_garment);
    over_steps[1] = over_steps[1].clone().reference("by rate_curve", &n, &by_hand);
    let trade = panel([rate, rmse], [&r, &d], [&r4, &d4]);
    Chart::panels([&over_steps[..], &[trade]].concat(), 3, (550, 540))
}

// %% [markdown]
// *What to see:* the paper's Fig. 5, and the ten points of its Table 4. The rate stays near 0 for most of the process and shoots up in the last tenth; the distortion has fallen long before. On the right, the trade: the first tenth of a bit removes most of the error, the last whole bit hardly any. The distortion starts high, at more than 100 grey levels, where the mean of all garments (dotted), which asks no network, would be 74 off: at $t=1000$ the error of $\hat\epsilon$ becomes one of $\hat x_0$ multiplied by $\sqrt{(1-\bar\alpha_t)/\bar\alpha_t}=157$, and clipped. It costs nothing, since no bits are paid there.
//
// What does that look like?

// %%
fn guesses(model: &Unet, reverse: &Reverse, x0: &Batch, t: usize) -> Batch {
    let t = vec![t; x0.dim().0];
    let x_t = q_sample(&reverse.schedule, x0, &t, &Noise::seed(1).batch([x0.dim().0, 28, 28, 1], &t));
    reverse.p_mean_variance(model, &x_t, &t).x0_hat
}
let ten: Batch = x0.slice(s![..10, .., .., ..]).to_owned();
let (mut images, mut labels): (Vec<u8>, Vec<String>) = (Vec::new(), Vec::new());
for t in [1000, 500, 250, 100, 20, 2] {
    images.extend(to_u8(&guesses(&model.unet, &variants[0], &ten, t)));
    let point = points[1000 - t];
    labels.push(format!("t = {t}: {:.3} bits, ± {:.0}", point.rate_bits_per_dim.mean, point.rmse.mean));
}
images.extend(to_u8(&ten));
labels.push(format!("x_{{0}}: {truth:.3} bits, ± 0"));
Grid::new(&Array4::from_shape_vec((70, 28, 28, 1), images.clone()).unwrap(), 10).row_labels(&labels).figure()

// %% [markdown]
// *What to see:* $\hat x_0(x_t)$ of ten images, with the rate in bits/dim that bought it and its RMSE in grey levels. A hundredth of a bit says *boot* or *trousers*; a tenth writes *Lee*. From 0.59 bits on you will look in vain for a change.
//
// ### Exercise 11.5 (guess): how many bits go to what nobody sees?

// %%
check::task("invisible_bits")

// %% tags=["exercise"]
/// Bits/dim that are still to be paid.
fn invisible_bits() -> f64 {
    todo!()
}

// %% tags=["check"]
check::invisible_bits(invisible_bits)

// %% [markdown]
// This is how the paper explains excellent samples beside a likelihood that does not compete with autoregressive models: more than half of the code length describes what no one perceives.
//
// Is it good? The full run's 300 images take 5.225 bits/dim as PNG files and 4.964 as lossless WebP, or 4.213 and 4.268 if all are put into one file (`figures/likelihood.csv`). The network has 3.411, and that is only a bound: the likelihood itself is better still. Compare bits/dim of one data set only; the paper's $\le3.75$ are bits of CIFAR10's photographs.
//
// ### ★ Open
//
// Find a garment that costs the network more bits than a PNG file, and one that costs it least. What do the two have in common with the rest of their class?
//
// ## You can now
//
// - compute $L_T$, $\sum L_{t-1}$ and $L_0$ of a network in bits/dim, and say where they come from;
// - estimate the bound from a few random $t$, unbiased and with an error that can be trusted;
// - read a rate–distortion curve, and tell visible bits from invisible ones.
//
// **In the paper:** section 3.2 (Eqs. 8–12: the two variances and the weights), section 4.3 with Fig. 5 and Table 4 (progressive coding), Algorithms 3 and 4.

// %%
println!("{}", check::score());
