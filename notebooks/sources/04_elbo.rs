// %% [markdown]
// # 04 The ELBO, term by term, exactly
//
// **You will be able to** name every term of the variational bound, compute each of them, say what each one measures, and check that together they really bound the likelihood.
//
// **Before:** notebooks 01 to 03. **Time:** 95 minutes. **Figure:** the bound as a bar, term by term, beside the likelihood it bounds and the entropy that no model can beat.
//
// For images nobody knows $\log p_\theta(x_0)$; papers report a bound and hope that it is tight. So we begin where everything is known: an image of **one pixel**. There the bound, the likelihood and the entropy are three numbers, and we can look at the gaps between them.

// %%
:dep ddpm = { package = "ddpm-notebook", path = "kernel" }
use ddpm::prelude::*;
ddpm::start();

// %% [markdown]
// ## A world of one pixel
//
// A pixel has a grey level $k\in\{0,\dots,255\}$, or $x = k/127.5-1$ on $[-1,1]$. Our data: dark levels around 60 and, less often, bright ones around 180.

// %%
let world = OnePixelWorld::two_humps();
let levels: Vec<f64> = (0..256).map(f64::from).collect();
println!("entropy H = {:.4} bits", world.entropy());
Chart::new("grey level k", "probability p(k)").line("", &levels, world.probabilities()).figure()

// %% [markdown]
// *What to see:* two humps. The **entropy** $H=-\sum_k p(k)\log_2 p(k)$ is what a pixel costs on average if it is coded with its true probabilities: 7.02 bits, where a coder that knows nothing needs 8.
//
// Now a diffusion model of this world: a chain of $T=50$ steps with the perfect denoiser of notebook 03, $\hat x_0=\mathbb E[x_0|x_t]$, and the reverse variance $\sigma_t^2=\beta_t$. With one pixel, the density $p_\theta(x_{t-1})=\int p_\theta(x_t)\,p_\theta(x_{t-1}|x_t)\,dx_t$ is a curve on a grid. `exact_terms` pushes it down the chain, from $\mathcal N(0,1)$ at $T$ to the grey levels, and returns the model's own distribution $p_\theta(x_0)$.

// %%
let schedule = Schedule::linear_scaled(50).unwrap();
let exact = world.exact_terms(&schedule, Variance::Beta);
println!("exact -log2 p_theta(x_0), on average: {:.4} bits", exact.nll);
assert!((exact.p_theta.iter().sum::<f64>() - 1.0).abs() < 1e-6);
Chart::new("grey level k", "probability").line("data, p(k)", &levels, world.probabilities())
    .line("model, p_{θ}(k)", &levels, &exact.p_theta).figure()

// %% [markdown]
// *What to see:* a perfect denoiser does not make a perfect model. Fifty Gaussian steps can't follow the true reverse chain exactly, which is not Gaussian: both humps come out too wide, and the valley between them fills up. (The small tick at 255 is the open last bin.) The price: coded with $p_\theta$, a pixel costs 7.10 bits on average instead of 7.02. This is the **negative log-likelihood** (NLL), and it can't be below $H$, whatever the model: the difference is $\mathrm{KL}(p\,\|\,p_\theta)\ge 0$.
//
// ### Exercise 4.1 (code): what a model costs

// %% tags=["exercise"]
/// The mean of −log₂ model(k), in bits, if k is drawn from p.
fn cross_entropy(p: &[f64], model: &[f64]) -> f64 {
    todo!()
}

// %% tags=["check"]
check::cross_entropy(cross_entropy)

// %% [markdown]
// ## The bound
//
// With 784 pixels there is no grid of $x_t$ to integrate over. What can be computed is an upper bound on the NLL. It takes four lines. Write the likelihood as an integral over all chains, and multiply and divide by $q$, to make it a mean over the chains of the forward process:
//
// $$-\log p_\theta(x_0)=-\log\int p_\theta(x_{0:T})\,dx_{1:T}=-\log\mathbb E_q\Big[\frac{p_\theta(x_{0:T})}{q(x_{1:T}|x_0)}\Big]\;\le\;\mathbb E_q\Big[-\log\frac{p_\theta(x_{0:T})}{q(x_{1:T}|x_0)}\Big].$$
//
// The last step is **Jensen's inequality**: $-\log$ is convex, so the mean of the logarithms is the larger. (For the two numbers 1 and 4: $-\log2.5=-0.92$, and $-(\log1+\log4)/2=-0.69$.) Both chains are products of steps, so the fraction is one too (Eq. 3):
//
// $$L=\mathbb E_q\Big[-\log p(x_T)-\sum_{t=1}^{T}\log\frac{p_\theta(x_{t-1}|x_t)}{q(x_t|x_{t-1})}\Big].$$
//
// This compares a step back with a step *forwards*. To compare like with like, turn $q(x_t|x_{t-1})$ round, for $t\ge2$:
//
// ### Exercise 4.2 (pencil): Bayes' rule, once more

// %% tags=["exercise"]
/// log q(x_t|x_{t−1}), from log q(x_{t−1}|x_t, x_0), log q(x_t|x_0) and log q(x_{t−1}|x_0).
fn bayes_step(log_posterior: f64, log_q_t: f64, log_q_before: f64) -> f64 {
    todo!()
}

// %% tags=["check"]
check::bayes_step(bayes_step)

// %% [markdown]
// In the sum over $t$ the two marginals then cancel, neighbour against neighbour, all but $q(x_T|x_0)$ and $q(x_1|x_0)$. The first joins $p(x_T)$, the second meets the step $t=1$ that we did not turn, and what remains (Eq. 5) is, for each image,
//
// $$-\log p_\theta(x_0)\;\le\;L=\mathbb E_q\Big[\underbrace{\mathrm{KL}\big(q(x_T|x_0)\,\|\,p(x_T)\big)}_{L_T}+\sum_{t=2}^{T}\underbrace{\mathrm{KL}\big(q(x_{t-1}|x_t,x_0)\,\|\,p_\theta(x_{t-1}|x_t)\big)}_{L_{t-1}}\underbrace{-\log p_\theta(x_0|x_1)}_{L_0}\Big].$$
//
// Read it as the length of a message: first $x_T$, then each $x_{t-1}$ given $x_t$, at last $x_0$ given $x_1$. The mean $\mathbb E_q$ runs over the noises of the forward chain. The **ELBO**, the evidence *lower* bound, is $-L$.
//
// A poster that sums up the paper prints four slips here. Each is easily seen. (1) It calls this sum the ELBO: but KL divergences and code lengths are $\ge0$, while the log-probability of a grey level is $\le0$, so the sum is *minus* the ELBO. (2) It writes $-L_0$ at the end of Eq. 5: the minus stands *inside* $L_0$. (3) It omits $\mathbb E_q$: but $L_{t-1}$ depends on the $x_t$ one happens to get. (4) It starts the sum of KL divergences at $t=1$. Here is what that would cost:

// %%
for variance in [1e-2_f64, 1e-4, 1e-8, 1e-16, 1e-32] {
    let nats = kl_normal(0.0, variance.ln(), 0.0, schedule.beta(1).ln());
    println!("KL(N(0, {variance:.0e}) ‖ N(0, β_1)) = {nats:6.2} nats");
};
println!("and the posterior variance at t = 1 is {}", schedule.beta_tilde(1));

// %% [markdown]
// *What to see:* once the variance is below $\beta_1=0.002$, every further factor of $10^{-16}$ costs $18.4=\frac12\log10^{16}$ nats, without end. At $t=1$ the posterior is a point, $\tilde\beta_1=0$, and the divergence is infinite. That step has a term of its own, $L_0$.
//
// ## $L_T$: what the noise still knows
//
// No network takes part in it; it only says whether the schedule forgets the image. The classic slip of notebook 02 is to keep the range of $\beta_t$ made for $T=1000$ in a short chain.

// %%
for (name, s) in [("β scaled to T = 50", schedule.clone()), ("β from 1e-4 to 0.02, as for T = 1000", Schedule::linear(50))] {
    let l_t = world.exact_terms(&s, Variance::Beta).L_T;
    println!("{name}: ᾱ_T = {:.6}, L_T = {l_t:.6} bits", s.alpha_bar(50));
};

// %% [markdown]
// *What to see:* a third of a bit on every pixel with the slip, since the sampler starts from $\mathcal N(0,1)$ and the forward chain never gets there.
//
// ## $L_{t-1}$: one step back
//
// Two Gaussians over $x_{t-1}$: the posterior, which knows $x_0$, and the model's step, which must guess it. Their means are $c_1x_0+c_2x_t$ and $c_1\hat x_0+c_2x_t$ with the same $c_1,c_2$ (Eq. 7), so that
//
// $$L_{t-1}=\underbrace{\tfrac12\Big(\log\frac{\sigma_t^2}{\tilde\beta_t}-1+\frac{\tilde\beta_t}{\sigma_t^2}\Big)}_{C_t\text{: the wrong width}}+\underbrace{\frac{c_1^2\,(x_0-\hat x_0)^2}{2\sigma_t^2}}_{\text{the wrong guess}}\quad\text{nats}.$$

// %%
let denoiser = world.denoiser(schedule.clone());
let reverse = Reverse { clip: false, ..Reverse::new(schedule.clone()) };
let x0 = Batch::from_elem((1, 1, 1, 1), 60.0 / 127.5 - 1.0);
let x_t = q_sample(&schedule, &x0, &[5], &Batch::ones((1, 1, 1, 1)));
let (q, p) = (q_posterior(&schedule, &x0, &x_t, &[5]), reverse.p_mean_variance(&denoiser, &x_t, &[5]));
let nats = L_t_minus_1(&schedule, &x0, &x_t, &[5], &p)[0];
fn bell(x: &[f64], mean: &Batch, log_variance: f64) -> Vec<f64> {
    x.iter().map(|&x| log_normal(x, mean[[0, 0, 0, 0]], log_variance).exp()).collect()
}
let x: Vec<f64> = (0..=700).map(|i| -1.0 + i as f64 / 500.0).collect();
Chart::new("x_{4}", "density").title(format!("t = 5, level 60, ε = 1: KL = {nats:.3} nats"))
    .line("q(x_{4} | x_{5}, x_{0})", &x, &bell(&x, &q.mean, q.log_variance[[0, 0, 0, 0]]))
    .line("p_{θ}(x_{4} | x_{5})", &x, &bell(&x, &p.normal.mean, p.normal.log_variance[[0, 0, 0, 0]])).figure()

// %% [markdown]
// *What to see:* this pixel of level 60 got a noise of $\epsilon=1$, so $x_5$ is too bright, and the model, which can't know that, guesses too bright as well: its bell stands to the right. It is also wider, since $\sigma_5^2=\beta_5>\tilde\beta_5$. Both cost.
//
// ### Exercise 4.3 (code): the term of one step

// %% tags=["exercise"]
/// L_{t−1} of one pixel, in nats: KL of q(x_{t−1}|x_t, x_0) and a model step of variance `sigma2` that guesses `x0_hat`.
fn step_kl(schedule: &Schedule, t: usize, x0: f64, x_t: f64, x0_hat: f64, sigma2: f64) -> f64 {
    todo!()
}

// %% tags=["check"]
check::step_kl(step_kl)

// %% [markdown]
// ## $L_0$: from a number to a grey level
//
// The last step is a Gaussian too, $\mathcal N(\mu_\theta(x_1,1),\sigma_1^2)$, cut into the 256 bins of notebook 01 (Eq. 13). Here $\sigma_1=\sqrt{\beta_1}=0.045$, which is 5.7 grey levels: the decoder spreads its probability over some twenty levels, and naming one of them costs over 4 bits.
//
// ## All together
//
// Three models of the same pixel: $T=50$, $T=200$, and $T=50$ with the slip. **Predict:** put the three totals in order. What else does the slip change, besides $L_T$? (Its $\beta_1$ is $10^{-4}$.)

// %% tags=["predict"]
check::predict("The shortest bar", &["T = 50", "T = 200", "T = 50 with the slip"], 0)

// %%
fn bar(name: &str, e: &ExactTerms) -> (figures::elbo::ElboTerms, f64) {
    let term = |t: usize, mean: f64| figures::elbo::Term { t, mean, std_error: 0.0 };
    let steps: Vec<_> = e.L_t_minus_1.iter().enumerate().map(|(i, &bits)| term(i + 2, bits)).collect();
    let (name, last) = (name.to_string(), term(steps.len() + 1, e.L_T));
    (figures::elbo::ElboTerms { name, L_0: term(1, e.L_0), L_t_minus_1: steps, L_T: last }, e.nll)
}
let longer = world.exact_terms(&Schedule::linear_scaled(200).unwrap(), Variance::Beta);
let slip = world.exact_terms(&Schedule::linear(50), Variance::Beta);
for e in [&exact, &longer, &slip] {
    let sum = e.L_T + e.L_t_minus_1.iter().sum::<f64>() + e.L_0;
    assert!(sum > e.nll && e.nll > e.entropy);
}
let bars = [bar("T = 50", &exact), bar("T = 200", &longer), bar("T = 50, the slip", &slip)];
figures::elbo::stacked(&bars, world.entropy())

// %% [markdown]
// *What to see:* each bar is longer than its model's exact NLL (orange), and each NLL lies right of the entropy (dashed): **bound ≥ NLL ≥ entropy**. The second gap says that the model is not the data. The first one says that the bound is not the model:
//
// $$L+\log p_\theta(x_0)=\mathrm{KL}\big(q(x_{1:T}|x_0)\,\|\,p_\theta(x_{1:T}|x_0)\big)\ge 0,$$
//
// the chain that the message names is not the one the model would have taken. More steps narrow both gaps; the first is 0.26 bits at $T=50$ and 0.09 at $T=200$.
//
// Did you expect the slip's bar to be the longest? Its total, 7.230 bits, is *below* the 7.356 of the first. Its $\sigma_1$ is less than a quarter as wide, so $L_0$ is two bits shorter, and finer steps at small $t$ suit this pixel. The total praises a schedule that is broken as a sampler, which starts where no training image ever ends; only $L_T$ says so. (It is a term of the *bound*: the exact likelihood of the slip, 7.035 bits, is even better than the 7.096 of the first.) Look at the terms.
//
// ## With dice, as it must be done for images
//
// With a network, $\mathbb E_q$ is an average over draws: an image, a noise, one look of the network for each $t$. The crate's `elbo` does that for any model. Against the exact terms:

// %%
let data = world.draw(400, &mut stream(4, 0));
let options = ElboOptions::default();
let dice = elbo(&denoiser, &reverse, &data, &options, &Noise::seed(4));
let bits: Vec<Estimate> = (1..50).map(|k| Estimate::of(&(&dice.L.column(k) / 2f64.ln()))).collect();
for (estimate, exact) in bits.iter().zip(&exact.L_t_minus_1) {
    assert!((estimate.mean - exact).abs() < 5.0 * estimate.std_error);
}
assert!(exact.L_t_minus_1[0] > exact.L_t_minus_1.iter().sum::<f64>() / 3.0);
let t: Vec<f64> = (2..=50).map(f64::from).collect();
let term = check::yours::step_kl(step_kl);
let some: Vec<f64> = vec![2.0, 3.0, 5.0, 8.0, 13.0, 21.0, 34.0, 50.0];
let by_step_kl: Vec<f64> = some.iter().map(|&t| {
    let (t, eps) = (t as usize, normal(data.dim(), &mut stream(4, t as u64)));
    let x_t = q_sample(&schedule, &data, &[t; 400], &eps);
    let x0_hat = reverse.p_mean_variance(&denoiser, &x_t, &[t; 400]).x0_hat;
    let nats = ndarray::Zip::from(&data).and(&x_t).and(&x0_hat).map_collect(|&x0, &x_t, &guess| term(&schedule, t, x0, x_t, guess, schedule.beta(t)));
    nats.mean().unwrap() / 2f64.ln()
}).collect();
fn ends(bits: &[Estimate], sign: f64) -> Vec<f64> {
    bits.iter().map(|b| b.mean + sign * b.std_error).collect()
}
Chart::new("t", "L_{t−1}, bits").scales(Scale::Log, Scale::Log).line("exact", &t, &exact.L_t_minus_1)
    .points("mean of 400 draws ± 1 standard error", &t, &ends(&bits, 0.0))
    .points("400 others, by step_kl", &some, &by_step_kl)
    .bars(&t, &ends(&bits, -1.0), &ends(&bits, 1.0)).figure()

// %% [markdown]
// *What to see:* the dice agree with the integrals (most error bars are hidden by their points), and so do 400 other draws that went through your `step_kl`. $L_1$, the term of $t=2$, alone is more than a third of the sum, and that of $t=50$ a millionth of a bit: the bits are in the last steps of the reverse chain, where the finest differences are decided.
//
// All $T$ terms of an image need $T$ looks. One may instead draw **one** $t$ per image, uniformly from $2,\dots,T$: cheap, unbiased, and noisy. (Training draws from $1,\dots,T$.)

// %%
let one_t = ElboOptions { time_steps: TimeSteps::Stratified { count: 1, seed: 4 }, ..options };
let cheap = elbo(&denoiser, &reverse, &data, &one_t, &Noise::seed(5));
let truth: f64 = exact.L_t_minus_1.iter().sum();
println!("sum of L_(t-1) over t = 2..=50, exact: {truth:.3} bits");
for (name, run) in [("all t", &dice), ("one t", &cheap)] {
    let sum = run.mean_bits_per_dim(run.sum_L_t_minus_1());
    println!("400 pixels, {name} each: {sum:.3}");
    assert!((sum.mean - truth).abs() < 4.0 * sum.std_error);
};

// %% [markdown]
// *What to see:* a forty-ninth of the work for seven times the error: no bargain and no loss, since 49 times as many pixels with one $t$ each would have the small error again. And each single term had to stand for all 49 of them; leaving that out is a known bug of published code, number B16 in our museum.
//
// ### Exercise 4.4 (code): the bound from a few draws

// %% tags=["exercise"]
/// An estimate of the bound, from L_T, L_{t−1} at t drawn uniformly from 2..=`steps`, and L_0; `steps` is T.
fn bound_from_draws(steps: usize, l_prior: f64, draws: &[f64], l_0: f64) -> f64 {
    todo!()
}

// %% tags=["check"]
check::bound_from_draws(bound_from_draws)

// %% [markdown]
// ## Which $\sigma_t^2$?
//
// Section 3.2 offers two: $\sigma_t^2=\beta_t$ is best if $x_0\sim\mathcal N(0,1)$, $\sigma_t^2=\tilde\beta_t$ if $x_0$ is always the same. Our pixel lies between. At $T=50$ the first bound is 7.356 bits and the second 8.680: too narrow costs more than too wide, as in notebook 01.
//
// ### Exercise 4.5 (guess): predict

// %%
check::task("looser_by")

// %% tags=["exercise"]
/// bound with σ² = β̃ minus bound with σ² = β, in bits.
fn looser_by() -> f64 {
    todo!()
}

// %% tags=["check"]
check::looser_by(looser_by)

// %% [markdown]
// And the best? Take the mean of $L_{t-1}$ over the data, with $m_t=\mathbb E(x_0-\hat x_0)^2$. As a function of $\sigma_t^2$ it is least at $\sigma_t^2=\tilde\beta_t+c_1^2m_t$, the posterior's width plus the uncertainty of the guess, and then $L_{t-1}=\frac12\log(\sigma_t^2/\tilde\beta_t)$. The figure shows where that lies between the paper's two, on a log scale.

// %%
fn best_variance(s: &Schedule, e: &ExactTerms, t: usize) -> f64 {
    s.beta_tilde(t) + s.posterior_coefs(t).0.powi(2) * e.x0_mse[t - 2]
}
let small = world.exact_terms(&schedule, Variance::BetaTilde);
assert!((exact.bound() - 7.356).abs() < 1e-3 && (small.bound() - 8.680).abs() < 1e-3);
let steps: f64 = (2..=50).map(|t| 0.5 * (best_variance(&schedule, &exact, t) / schedule.beta_tilde(t)).log2()).sum();
let best = exact.L_T + steps + exact.L_0;
println!("T = 50, bound with β: {:.3}, with β̃: {:.3}, with the best σ²: {best:.3} bits", exact.bound(), small.bound());
assert!(best < exact.bound() && best > exact.entropy);
let place: Vec<f64> = (2..=50).map(|t| {
    let (low, high) = (schedule.beta_tilde(t).ln(), schedule.beta(t).ln());
    (best_variance(&schedule, &exact, t).ln() - low) / (high - low)
}).collect();
let mean: f64 = (0..256).map(|k| world.probabilities()[k] * (k as f64 / 127.5 - 1.0)).sum();
let variance: f64 = (0..256).map(|k| world.probabilities()[k] * (k as f64 / 127.5 - 1.0 - mean).powi(2)).sum();
assert!((place[48] - variance).abs() < 0.005 && (variance - 0.233).abs() < 0.001);
Chart::new("t", "place of the best σ_{t}^{2}: 0 is β̃_{t}, 1 is β_{t}").y_range(0.0, 1.05).line("", &t, &place).figure()

// %% [markdown]
// *What to see:* at large $t$ it stays at 0.23, and this is the variance of the data: with 1 for $\mathcal N(0,1)$ and 0 for a single value, the paper's two cases are the two ends of this axis. At small $t$, where the noise is no wider than a hump, it comes nearer to $\beta_t$: seen from so close, a hump is broad. A network can learn this place. That is the learned variance of notebook 12, and here it gains 0.15 bits.
//
// ## What is left out in $L_{\text{simple}}$
//
// The network guesses the noise. Since $x_0=(x_t-\sqrt{1-\bar\alpha_t}\,\epsilon)/\sqrt{\bar\alpha_t}$ and the same with hats, the wrong guess above is $w_t\,\|\epsilon-\epsilon_\theta\|^2$, with a weight that you find from $c_1$ (Eq. 7):
//
// ### Exercise 4.6 (pencil): from Eq. 8 to Eq. 12

// %% tags=["exercise"]
/// w in c_1² (x_0 − x̂_0)²/(2σ²) = w (ε − ε̂)².
fn eps_weight(schedule: &Schedule, t: usize, sigma2: f64) -> f64 {
    todo!()
}

// %% tags=["check"]
check::eps_weight(eps_weight)

// %% [markdown]
// $L_{\text{simple}}$ (Eq. 14) puts 1 in its place. At $t=1$ the paper reads $L_0$ as a term of the same form. **Predict:** with the paper's 1000 steps, which share of all weights do the first ten carry in $L$? In $L_{\text{simple}}$ it is 1 %.

// %% tags=["predict"]
check::predict("The share of the first ten of 1000 steps in L", &["1 %", "about 17 %", "about 60 %"], 0)

// %% [markdown]
// ### Exercise 4.7 (code): the share of the first steps

// %% tags=["exercise"]
/// (w_1 + … + w_n) / (w_1 + … + w_T) for σ_t² = β_t.
fn weight_share(schedule: &Schedule, n: usize) -> f64 {
    todo!()
}

// %% tags=["check"]
check::weight_share(weight_share)

// %%
let paper = Schedule::linear(1000);
let w = check::yours::eps_weight(eps_weight);
let weights: Vec<(usize, f64)> = (1..=1000).map(|t| (t, w(&paper, t, paper.beta(t)))).collect();
let share = weights[..10].iter().map(|w| w.1).sum::<f64>() / weights.iter().map(|w| w.1).sum::<f64>();
println!("the first 10 of 1000 steps carry {:.1} % of the weight in L", 100.0 * share);
assert!((share - 0.1725).abs() < 1e-4);
figures::elbo::weights(&[("σ^{2} = β", &weights)])

// %% [markdown]
// *What to see:* a hundred to one between $t=1$ and the least weight, near $t=350$; both axes are logarithmic. In $L$ the network's effort goes where the bits are, into differences too fine to see. $L_{\text{simple}}$ moves it to the larger $t$, where shapes are decided: better pictures, a looser bound. It is no bound on anything any more, and that is why notebook 11 evaluates $L$ for networks trained with $L_{\text{simple}}$.
//
// ### ★ Open
//
// Make a world of one pixel for which the slip of T = 50 is *worse* than the right schedule in every term. What does it look like?
//
// ## You can now
//
// - write down $L_T$, $L_{t-1}$ and $L_0$, each with its unit, and know the slips around them;
// - order bound, likelihood and entropy, and say what each gap means;
// - estimate a sum over $t$ from a few of its terms;
// - say what $\sigma_t^2$ and the weights $w_t$ do to the bound.
//
// **In the paper:** section 2 (Eqs. 3 and 5), sections 3.2 to 3.4 (Eqs. 8, 12, 13, 14), appendix A (how Eq. 3 becomes Eq. 5).

// %%
println!("{}", check::score());
