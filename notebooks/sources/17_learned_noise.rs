// %% [markdown]
// # 17 Learned noise
//
// **You will be able to** say what a noise schedule is worth and where its steps should stand, and learn it together with a network.
//
// **Before:** notebooks 02, 04 and 11. **Time:** 45 minutes. **Figure:** the cost of a short chain, with steps that are placed by a rule and steps that are learned.
//
// Where do the $\beta_t$ of the paper come from? "We set the forward process variances to constants." Kingma and others (2021, *VDM*) asked what a schedule *is*, found that only one function of it matters, and learned that; Sahoo and others (2024, *MuLAN*) gave every pixel its own.

// %%
:dep ddpm = { package = "ddpm-notebook", path = "kernel" }
use ddpm::prelude::*;
ddpm::start();

// %% [markdown]
// ## One number says how noisy
//
// What a network sees, up to a factor, is $x_0 + \epsilon\sqrt{(1-\bar\alpha_t)/\bar\alpha_t}$. So all that counts of $\bar\alpha_t$ is the signal-to-noise ratio $\mathrm{SNR}_t=\bar\alpha_t/(1-\bar\alpha_t)$; we write $\gamma_t=-\log\mathrm{SNR}_t$, which grows with the noise. In these terms a step of the bound, from $t$ down to $s$, is
//
// $$L_{t\to s} = \tfrac12\left(\frac{\mathrm{SNR}_s}{\mathrm{SNR}_t}-1\right)\|\epsilon-\hat\epsilon\|^2 = \tfrac12\left(e^{\gamma_t-\gamma_s}-1\right)\|\epsilon-\hat\epsilon\|^2,$$
//
// for $\sigma^2=\tilde\beta$. (Eq. 12 says the same with $\beta_t$, $\alpha_t$ and $\bar\alpha_t$.)
//
// ### Exercise 17.1 (pencil): the cost of a step

// %% tags=["exercise"]
/// ½ (e^{γ_t − γ_s} − 1) · mse, in nats per dimension, with all its digits.
fn step_cost(gamma_s: f64, gamma_t: f64, mse: f64) -> f64 {
    todo!()
}

// %% tags=["check"]
check::step_cost(step_cost)

// %%
// the same as Eq. 12, for every step of the paper's chain
let schedule = Schedule::linear(1000);
fn gamma(schedule: &Schedule, t: usize) -> f64 { ((1.0 - schedule.alpha_bar(t)) / schedule.alpha_bar(t)).ln() }
let off = (2..=1000).map(|t| {
    let weight = 0.5 * (gamma(&schedule, t) - gamma(&schedule, t - 1)).exp_m1();
    (weight / schedule.weight(t, schedule.beta_tilde(t)) - 1.0).abs()
}).fold(0.0, f64::max);
println!("the two weights differ by at most {off:.0e}; γ_1 = {:.2}, γ_1000 = {:.2}", gamma(&schedule, 1), gamma(&schedule, 1000));
assert!(off < 1e-6);

// %% [markdown]
// ## A world where the error is known
//
// The data are Gaussians of sixteen variances, from $10^{-4}$ to 1, like the directions of an image. For each of them the best network leaves a known error.
//
// ### Exercise 17.2 (pencil): what cannot be known of the noise

// %% tags=["exercise"]
/// The least mean squared error of ε̂, for data N(0, v) at the noise level γ.
fn gaussian_mse(v: f64, gamma: f64) -> f64 {
    todo!()
}

// %% tags=["check"]
check::gaussian_mse(gaussian_mse)

// %%
fn variances() -> Vec<f64> { (0..16).map(|i| 10_f64.powf(-4.0 + 4.0 * f64::from(i) / 15.0)).collect() }
fn mse(gamma: f64) -> f64 { variances().iter().map(|v| v / (v + gamma.exp())).sum::<f64>() / 16.0 }
/// The steps of a chain whose levels are `gammas`, in nats per dimension.
fn cost(gammas: &[f64]) -> f64 { gammas.windows(2).map(|g| 0.5 * (g[1] - g[0]).exp_m1() * mse(g[1])).sum() }
fn even(steps: usize) -> Vec<f64> { (0..=steps).map(|i| -13.3 + 18.3 * i as f64 / steps as f64).collect() }
let levels: Vec<f64> = (0..=200).map(|i| -13.3 + 18.3 * f64::from(i) / 200.0).collect();
Chart::new("γ", "mean squared error of ε̂").line("", &levels, &levels.iter().map(|&g| mse(g)).collect::<Vec<f64>>()).figure()

// %% [markdown]
// *What to see:* at small $\gamma$ the noise is guessed badly, since it is smaller than the data's own spread; at large $\gamma$ it is all there is. Between, each direction lets go in its turn.
//
// **Predict:** the same ends, $\gamma$ from −13.3 to 5, in equal steps of $\gamma$: how does the cost change from 5 steps to 500?

// %% tags=["predict"]
check::predict("From 5 to 500 steps the cost", &["falls about as 1/T", "falls exponentially", "does not change"], 0)

// %%
let exact: f64 = 0.5 * (0..20_000).map(|i| mse(-13.3 + 18.3 * (f64::from(i) + 0.5) / 20_000.0)).sum::<f64>() * 18.3 / 20_000.0;
let counts = [5, 10, 20, 50, 100, 200, 500];
for steps in counts { println!("{steps:4} steps: {:8.3} nats per dimension", cost(&even(steps))); }
println!("    ∞ steps: {exact:8.3}");
assert!(cost(&even(500)) > exact && cost(&even(500)) < 1.02 * exact);

// %% [markdown]
// *What to see:* it falls to a limit, $\tfrac12\int\mathrm{mse}(\gamma)\,d\gamma$. In this integral no $t$ is left: **in continuous time every schedule between the same ends costs the same.** What a schedule can do is spend few steps well.
//
// ## Where the steps should stand
//
// A few numbers are to be learned, and $\gamma$ must rise whatever they are.
//
// ### Exercise 17.3 (code): knots that rise
//
// From $n$ numbers make $n+1$ levels: the increments are the softplus of the numbers, $\log(1+e^x)$, and all is stretched to the given ends.

// %% tags=["exercise"]
/// γ at the ends of n steps, from `first` to `last`.
fn knots(raw: &[f64], first: f64, last: f64) -> Vec<f64> {
    todo!()
}

// %% tags=["check"]
check::knots(knots)

// %% [markdown]
// With a network one would let Adam move the numbers. Here the cost is a formula, and a simple search will do: move one level at a time to where the two steps beside it cost least.
//
// **Predict:** will the learned steps stand closer where the error is large, or where it is small?

// %% tags=["predict"]
check::predict("The learned steps stand closer where the error is", &["large", "small", "it makes no difference"], 0)

// %%
fn placed(steps: usize) -> Vec<f64> {
    let mut gammas = even(steps);
    for _ in 0..400 {
        for i in 1..steps {
            // golden section between the neighbours
            let (mut low, mut high) = (gammas[i - 1], gammas[i + 1]);
            let beside = |g: f64| cost(&[gammas[i - 1], g, gammas[i + 1]]);
            for _ in 0..30 {
                let (a, b) = (high - 0.618 * (high - low), low + 0.618 * (high - low));
                if beside(a) < beside(b) { high = b } else { low = a }
            }
            gammas[i] = 0.5 * (low + high);
        }
    }
    gammas
}
let learned = placed(20);
println!("20 steps, excess over the limit: even {:.3}, placed {:.3} nats per dimension", cost(&even(20)) - exact, cost(&learned) - exact);
assert!(cost(&learned) < cost(&even(20)));
let t: Vec<f64> = (0..=20).map(f64::from).collect();
Chart::new("step", "γ").line("even", &t, &even(20)).marks(&t, &even(20)).line("placed", &t, &learned).marks(&t, &learned).figure()

// %%
let few = [5, 10, 20, 50];
let x: Vec<f64> = few.iter().map(|&n| n as f64).collect();
Chart::new("steps", "excess, nats per dimension").scales(Scale::Log, Scale::Log)
    .line("even in γ", &x, &few.iter().map(|&n| cost(&even(n)) - exact).collect::<Vec<f64>>())
    .line("placed", &x, &few.iter().map(|&n| cost(&placed(n)) - exact).collect::<Vec<f64>>()).figure()

// %% [markdown]
// *What to see:* short steps where the error is large, long ones where it is small, and a third less of an excess with twenty steps, more with fewer. The excess falls like one over their number: a long chain forgives every schedule, as the paper's thousand did.
//
// ## Garments
//
// A network of 0.44 million parameters and $\gamma$ with twenty steps, trained together (`ddpm noise`; the project's results). In bits/dim of VDM's bound, 256 test images with the same noises; the difference from the straight line image by image:

// %%
let t = stored("noise_garments.csv");
let (bits, below, error, context) = (t.column("bits_per_dim"), t.column("below_linear"), t.column("below_linear_error"), t.column("context"));
for (i, name) in t.text("run").iter().enumerate() {
    println!("{name:32} {:.3} bits/dim, {:.3} ± {:.3} below the line; of that z costs {:.3}", bits[i], below[i], error[i], context[i]);
}
assert!(below[1] > 0.5);

// %% [markdown]
// *What to see:* twenty knots that all pixels share gain 0.63 bits. A path for every pixel gains less after the same thousand steps of training: its 2,352 numbers share what one path had for itself, and the network is told the mean of $\gamma$ only. MuLAN's last step, a $\gamma$ that depends on the image through a few numbers $z$ (which cost bits themselves), brings part of it back.
//
// ## Bug museum
//
// - $\gamma_0$ is learned, and the reconstruction term left out of the bound: $\gamma_0\to\infty$, and the bound is cheated. Keep both terms, or pin the ends.
// - $e^{\gamma_t-\gamma_s}-1$ computed as it stands: with a thousand steps in single precision most digits are gone. `exp_m1`.
// - The gradient of the loss by $\gamma$ has three parts: the weight, the noised input, and the level that the network is told. With one left out the training goes on, to somewhere else.
// - Bits with twenty steps beside bits with a thousand.
//
// ## What a learned schedule does not do
//
// - In continuous time it changes nothing about the bound; all it can lower there is the noise of the gradient.
// - It is no remedy for a network that is too small: its excess is what the *steps* cost, and the error itself stays.
//
// ### ★ Open
//
// Learn a schedule for the reconstruction of your own data and compare it with the linear one at T = 10, 50, 250. From where on is it not worth the trouble?
//
// ## You can now
//
// - say what of a schedule matters, and what the steps of a short chain cost;
// - learn levels that cannot cross.
//
// **Run it again.** `ddpm noise --path knots --steps 1000`, `ddpm figures --only noise`.

// %%
println!("{}", check::score());
