// %% [markdown]
// # 15 Whom to pair with whom
//
// **You will be able to** change which noise an image is trained with, say exactly what the network then learns, and judge whether it helps.
//
// **Before:** notebooks 03, 08 and 13. **Time:** 50 minutes. **Figure:** what a network learns from assigned noise, and what it costs.
//
// Training takes an image, takes a noise, and draws the line between them. Since the pairs are random, lines cross everywhere, and where they cross the network can only answer the mean. **Immiscible diffusion** (Li and others 2024) shuffles the noises *within a batch* so that the sum of the distances is as small as possible: an assignment problem. One line of code, and the authors report training that is up to three times faster. Here it is tried in the plane, where everything is known, and on garments; the answers differ.

// %%
:dep ddpm = { package = "ddpm-notebook", path = "kernel" }
use ddpm::prelude::*;
ddpm::start();

// %% [markdown]
// ### Exercise 15.1 (code): the cheapest pairing
//
// For at most six rows you may try all permutations.

// %% tags=["exercise"]
/// Which column each row gets, all different, with the least sum of costs.
fn cheapest(cost: &Array2<f64>) -> Vec<usize> {
    todo!()
}

// %% tags=["check"]
check::cheapest(cheapest)

// %% [markdown]
// The notebooks' library has `assign`, the Hungarian method, which needs $n^3$ operations instead of $n!$. First 64 points of the plane:

// %%
fn distances_between(a: &Array2<f64>, b: &Array2<f64>) -> Array2<f64> {
    Array2::from_shape_fn((a.nrows(), b.nrows()), |(i, j)| (&a.row(i) - &b.row(j)).mapv(|d| d * d).sum().sqrt())
}
fn lines(data: &Array2<f64>, noise: &Array2<f64>, columns: &[usize], axis: usize) -> Vec<f64> {
    columns.iter().enumerate().flat_map(|(i, &j)| [noise[[j, axis]], data[[i, axis]], f64::NAN]).collect()
}
let data = data::toy::moons(64, &mut stream(6, 0));
let noise: Array2<f64> = normal((64, 2), &mut stream(6, 1));
fn pairing(title: &str, data: &Array2<f64>, noise: &Array2<f64>, columns: &[usize]) -> Chart {
    Chart::new("", "").title(title).x_range(-3.0, 3.0).y_range(-3.0, 3.0).square()
        .reference("", &lines(data, noise, columns, 0), &lines(data, noise, columns, 1))
        .points("noise", &noise.column(0).to_vec(), &noise.column(1).to_vec())
        .points("data", &data.column(0).to_vec(), &data.column(1).to_vec())
}
let as_drawn: Vec<usize> = (0..64).collect();
let assigned = assign(&distances_between(&data, &noise));
Chart::panels(vec![pairing("at random", &data, &noise, &as_drawn), pairing("assigned", &data, &noise, &assigned)], 2, (480, 495))

// %% [markdown]
// *What to see:* assigned lines don't cross, and each region of the noise belongs to a region of the data. The noises are the same ones, so that all of them together are still draws from $\mathcal N(0, I)$. But *given an image* they are not.
//
// ## Where everything is known
//
// The smallest world: the data are $x_0=-1$ and $x_0=1$, and every batch holds both, with two noises. The shorter pairing gives the larger noise to $x_0 = 1$.
//
// ### Exercise 15.2 (code): the law of an assigned noise
//
// What is the density of $\epsilon$, given that the image is $x=\pm1$? (One of two independent draws from $\mathcal N(0,1)$, and it is the larger, or the smaller one; `normal_cdf` is there.)

// %% tags=["exercise"]
/// The density of ε given x = ±1, in batches {−1, 1} whose noises are assigned.
fn assigned_density(eps: f64, x: f64) -> f64 {
    todo!()
}

// %% tags=["check"]
check::assigned_density(assigned_density)

// %% [markdown]
// A network that is trained to the end knows $\mathrm E[\epsilon\mid x_t]$, under whatever law its pairs had. By Bayes' rule over the two images we can compute it for both laws.
//
// **Predict:** half-way up the chain, what will the network say of $x_t = 0$, and how fast does it change its mind around it?

// %% tags=["predict"]
check::predict("Of x_t = 0 half-way up the network says", &["nothing: ε̂ is near 0", "it decides sharply for a side", "it is as soft as ever"], 0)

// %%
fn law(eps: f64, x: f64, assigned: bool) -> f64 {
    let bell = (-0.5 * eps * eps).exp() / (2.0 * std::f64::consts::PI).sqrt();
    if assigned { 2.0 * bell * normal_cdf(eps * x) } else { bell }
}
/// E[ε|x_t]: x_t comes from either x, with the noise (x_t − √ᾱ x)/√(1 − ᾱ).
fn learned(x_t: f64, alpha_bar: f64, assigned: bool) -> f64 {
    let eps = |x: f64| (x_t - alpha_bar.sqrt() * x) / (1.0 - alpha_bar).sqrt();
    let (a, b) = (law(eps(-1.0), -1.0, assigned), law(eps(1.0), 1.0, assigned));
    (a * eps(-1.0) + b * eps(1.0)) / (a + b)
}
fn answer(alpha_bar: f64) -> Chart {
    let x: Vec<f64> = (-120..=120).map(|i| f64::from(i) / 40.0).collect();
    let of = |assigned: bool| x.iter().map(|&x| learned(x, alpha_bar, assigned)).collect::<Vec<f64>>();
    Chart::new("x_{t}", "E[ε|x_{t}]").title(format!("ᾱ = {alpha_bar}"))
        .line("noise as drawn", &x, &of(false)).line("assigned", &x, &of(true))
}
Chart::panels(vec![answer(0.8), answer(0.4), answer(0.1)], 3, (430, 420))

// %% [markdown]
// *What to see:* both curves pass through 0 in the middle, where either image is as likely; but the assigned one turns more sharply. An image at 1 had the larger noise, so that what lies a little to the right comes from 1 all the more surely. At $\bar\alpha=0.1$, where independent noise tells next to nothing of the image and the curve is all but the straight line of pure noise, the assigned one still bends.
//
// **But** the paper's bound and Algorithm 2 have independent noise: $x_t$ is drawn as $\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon$ with an $\epsilon$ that knows nothing of $x_0$. For them the right answer is the other curve. What does the difference cost?

// %%
/// The mean squared error, with noise of one law, of a network that learned under another.
fn cost(alpha_bar: f64, learned_assigned: bool, tried_assigned: bool) -> f64 {
    (0..4000).map(|i| {
        let eps = -6.0 + 12.0 * (f64::from(i) + 0.5) / 4000.0;
        let error = |x: f64| {
            let x_t = alpha_bar.sqrt() * x + (1.0 - alpha_bar).sqrt() * eps;
            law(eps, x, tried_assigned) * (learned(x_t, alpha_bar, learned_assigned) - eps).powi(2)
        };
        0.5 * (error(-1.0) + error(1.0)) * 12.0 / 4000.0
    }).sum()
}
let levels: Vec<f64> = (1..=19).map(|k| f64::from(k) / 20.0).collect();
let [free, crossed, home]: [Vec<f64>; 3] = [(false, false), (true, false), (true, true)]
    .map(|(under, tried)| levels.iter().map(|&a| cost(a, under, tried)).collect::<Vec<f64>>());
assert!((0..19).all(|i| home[i] < free[i] && free[i] < crossed[i]));
println!("at ᾱ = 0.5: {:.3} as drawn; assigned {:.3} on its own noises, {:.3} on independent ones", free[9], home[9], crossed[9]);
Chart::new("ᾱ", "mean squared error of ε̂")
    .line("noise as drawn", &levels, &free)
    .line("assigned, with independent noise", &levels, &crossed)
    .line("assigned, with its own noise", &levels, &home).figure()

// %% [markdown]
// *What to see:* on its own noises, which is the loss that a training prints, the assigned network is far better at every level: a sixth of the error in the middle. On independent ones it is worse at every level, as it must be: a mean squared error has one minimum, and that is the other network.

// %% [markdown]
// ## Points of the plane
//
// The `PointNet` of notebook 08 trains for 1,000 steps on moons, once with the noises as they are drawn, once with those of each batch of 128 assigned.

// %%
fn trained(assigned: bool, points: &Array2<f64>, reverse: &Reverse) -> (PointNet, f64) {
    let mut net = PointNet::new(128, &mut stream(13, 2));
    let mut adam = Adam::new(&net, AdamOptions { lr: 3e-3, warmup: 100, ema_decay: 0.99, ..AdamOptions::default() });
    let mut loss_at_the_end = 0.0; // mean of the last 100 steps
    for step in 1..=1000 {
        let mut rng = stream(131, step);
        let rows: Vec<usize> = (0..128).map(|_| rng.random_range(0..points.nrows())).collect();
        let x0 = points.select(Axis(0), &rows);
        let mut eps: Array2<f64> = normal((128, 2), &mut rng);
        if assigned { eps = eps.select(Axis(0), &assign(&distances_between(&x0, &eps))); }
        let t = (0..128).map(|_| rng.random_range(1..=200)).collect();
        let batch = NoisyBatch::new(&reverse.schedule, as_batch(&x0), t, as_batch(&eps));
        let loss = net.train_step(&mut adam, reverse, &batch);
        if step > 900 { loss_at_the_end += loss / 100.0; }
    }
    (adam.ema, loss_at_the_end)
}

// %% [markdown]
// **Predict:** three numbers can say which network is the better one: its loss at the end of the training; its loss on noises that are independent of the data again; the distance of its samples from the data. Will they agree? (The assignments take ten seconds.)

// %% tags=["predict"]
check::predict("The three numbers", &["agree", "disagree: one of them gets worse", "all say no difference"], 0)

// %%
let points = data::toy::moons(10_000, &mut stream(13, 1));
let short = Reverse { clip: false, ..Reverse::new(Schedule::linear_scaled(200).unwrap()) };
let nets = [false, true].map(|assigned| trained(assigned, &points, &short));
let t: Vec<usize> = (0..4000).map(|i| 1 + i % 200).collect();
let eps: Batch = normal((4000, 1, 1, 2), &mut stream(13, 3));
let independent = NoisyBatch::new(&short.schedule, as_batch(&points.slice(s![..4000, ..]).to_owned()), t, eps);
let tested = nets.each_ref().map(|(net, _)| L_simple(&independent.eps, &net.predict(&independent.x_t, &independent.t)).mean().unwrap());
println!("noise as drawn: loss of the training {:.3}, with independent noise {:.3}", nets[0].1, tested[0]);
println!("assigned:       loss of the training {:.3}, with independent noise {:.3}", nets[1].1, tested[1]);
assert!(nets[1].1 < 0.3 * nets[0].1 && tested[1] > 1.1 * tested[0]);

// %%
fn to_moons(net: &PointNet, reverse: &Reverse, eta: f64, real: &Array2<f64>) -> Vec<f64> {
    [5, 10, 20, 50, 200].iter().map(|&steps| {
        let x0 = ddim_sample(net, reverse, &Ddim { eta, ..Ddim::new(steps) }, [1000, 1, 1, 2], &Noise::seed(8));
        energy_distance(&as_points(&x0), real)
    }).collect()
}
let real = points.slice(s![1000..2000, ..]).to_owned();
let chance = energy_distance(&points.slice(s![2000..3000, ..]).to_owned(), &real);
let steps = vec![5.0, 10.0, 20.0, 50.0, 200.0];
let mut chart = Chart::new("steps", "energy distance to data").scales(Scale::Log, Scale::Log);
let mut found: Vec<Vec<f64>> = Vec::new();
for (eta, n, name) in [(0.0, 0, "as drawn, η = 0"), (0.0, 1, "assigned, η = 0"), (1.0, 0, "as drawn, η = 1"), (1.0, 1, "assigned, η = 1")] {
    let distance = to_moons(&nets[n].0, &short, eta, &real);
    chart = chart.line(name, &steps, &distance).marks(&steps, &distance);
    found.push(distance);
}
assert!(found[1][0] < 0.2 * found[0][0] && found[3][4] > 3.0 * found[2][4]);
chart.clone().reference("data against data", &[5.0, 200.0], &[chance, chance]).figure()

// %% [markdown]
// *What to see:* they do not agree. The training loss is seven times lower because the task has become easier: where no lines cross, $x_t$ itself tells which noise is in it. On independent noise, which is what Eq. 4, $L$ and bits/dim are about, this network is the worse one by a fifth. Yet without dice its samples are the better ones, and five steps are enough, since along lines that don't cross the guess hardly changes on the way. With dice they get worse the more are thrown: each $z$ is a new noise that was never assigned to this place, while Algorithm 2 relies on an $\epsilon$ that is independent of $x_0$. (Flow matching, which throws no dice, does the same under the name of minibatch optimal transport: Pooladian and others, Tong and others 2023.) Whoever changes how training pairs are drawn should judge by what the network is wanted for, never by its training loss.

// %% [markdown]
// ## Real images
//
// How much is there to be gained where there are 784 numbers? The law can be measured: how far does an image's noise reach in the direction of the image?
//
// ### Exercise 15.3 (code): the alignment of noise and image

// %% tags=["exercise"]
/// The mean over the rows of ε·x/|x|: 0 if the noise knows nothing of the image.
fn alignment(x: &Array2<f64>, eps: &Array2<f64>) -> f64 {
    todo!()
}

// %% tags=["check"]
check::alignment(alignment)

// %% [markdown]
// **Predict:** how much shorter do the lines get for real images, with 784 pixels and a batch of 128?

// %% tags=["predict"]
check::predict("For images the lines get shorter by", &["a half", "a tenth", "a few per cent"], 0)

// %%
fn shorter(data: &Array2<f64>, noise: &Array2<f64>) -> (f64, f64) {
    let cost = distances_between(data, noise);
    let columns = assign(&cost);
    let paired = noise.select(Axis(0), &columns);
    let norm = |x: &Array2<f64>| x.mapv(|x| x * x).sum().sqrt();
    let correlation = |noise: &Array2<f64>| (data * noise).sum() / norm(data) / norm(noise);
    let sum: f64 = columns.iter().enumerate().map(|(i, &j)| cost[[i, j]]).sum();
    (1.0 - sum / cost.diag().sum(), correlation(&paired) - correlation(noise))
}
let flat = fashion_mnist_test().batch(&(0..128).collect::<Vec<_>>()).into_shape_with_order((128, 784)).unwrap();
let many: Array2<f64> = normal((128, 784), &mut stream(6, 2));
let (plane, images) = (shorter(&data, &noise), shorter(&flat, &many));
println!("64 points of the plane: {:.0} % shorter, correlation up by {:.2}", 100.0 * plane.0, plane.1);
println!("128 garments:           {:.1} % shorter, correlation up by {:.3}", 100.0 * images.0, images.1);

// %% [markdown]
// *What to see:* in 784 dimensions everything is far from everything, and the best pairing is hardly shorter than a random one: a few per cent. Yet along the one direction of its image the noise is shifted by more than one standard deviation (1.4 in batches of 64), and that direction is the one that matters.
//
// So what does it do to a network? Three trainings each of the small network, 1,500 steps, always measured with independent noise; the differences from the same seed with noise as drawn (`examples/immiscible.rs` of the project):

// %%
let t = stored("immiscible.csv");
let (names, bits, error) = (t.text("pairing"), t.column("bits_per_dim"), t.column("bits_per_dim_error"));
let (frechet, f_error, ratio) = (t.column("frechet"), t.column("frechet_error"), t.column("steps_ratio"));
for i in 0..names.len() {
    println!("{:10} bits/dim {:+.3} ± {:.3}, Fréchet distance {:+.1} ± {:.1}, as good as noise as drawn after {:.0} % of its steps",
        names[i], bits[i], error[i], frechet[i], f_error[i], 100.0 * ratio[i]);
}
assert!(bits.iter().zip(&error).all(|(b, e)| b > &(3.0 * e)));

// %% [markdown]
// *What to see:* on garments, at this size, it harms: in bits, as the little world said it must, and in samples too. `nearest:4` (each image takes the nearest of four noises of its own) is the worst for samples: its noises are not only shifted but smaller, $\mathrm E\,\epsilon^2=0.967$, and the sampler starts from $\mathcal N(0, I)$.
//
// ## Bug museum
//
// - A curve that falls faster is a curve of *some* loss. Assigned noise makes the training loss fall by itself, and so do easier crops, a clipped weight, a target that is nearer to the input. Measure both runs with one yardstick that neither was trained on.
// - Assign within the batch that is trained on together, and with classes within a class: across them the noise would tell the label.
//
// ## What pairing does not do
//
// - It does not leave $q(x_t|x_0)$ the law of the training pairs, so the bound of a fully trained network gets worse, always.
// - It does not help where dice are thrown. Without dice, and with few steps, it does, as the moons have shown; flow matching uses it for that.
// - Li and others report gains on larger images and networks. What is here is no word on those, and theirs is none on garments.
//
// ### ★ Open
//
// Think of another way to pair noises and images that keeps the noise of each image N(0, I). What would it have to do, and what can be gained then?
//
// ## You can now
//
// - say what a network learns from any law of pairs, and what that costs under another one;
// - tell an improvement of a model from an improvement of its loss.
//
// **Run it again.** `ddpm train --pairing assigned` (or `nearest:4`), `ddpm figures --only immiscible`.

// %%
println!("{}", check::score());
