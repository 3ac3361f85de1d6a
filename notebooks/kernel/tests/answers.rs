//! Answers that the checks have not been written for: right ones put otherwise pass, wrong ones fail and are not explained by a
//! mistake that they are not, panics are told as panics.

#![allow(
    clippy::unwrap_used,
    clippy::manual_clamp,
    clippy::type_complexity,
    clippy::needless_range_loop,
    non_snake_case,
    reason = "students' code"
)]

use ddpm_notebook::check::{self, Verdict};
use ddpm_notebook::prelude::*;
use std::f64::consts::{LN_2, PI};

/// The verdicts on the right and on the wrong answers to each exercise, and on a panic.
macro_rules! answers {
    ($($name:ident($($argument:pat),*): right $($right:expr),+; wrong $($wrong:expr),+;)*) => {
        fn verdicts() -> Vec<(&'static str, Vec<Verdict>, Vec<Verdict>, Verdict)> {
            vec![$((
                stringify!($name),
                vec![$(check::$name($right)),+],
                vec![$(check::$name($wrong)),+],
                check::$name(|$($argument),*| panic!("attempt to divide by zero")),
            )),*]
        }
    };
}

#[test]
fn right_answers_pass_wrong_ones_have_no_wrong_cause_and_panics_are_panics() {
    let (all, mut faults) = (verdicts(), Vec::new());
    let names: Vec<&str> = all.iter().map(|(name, ..)| *name).collect();
    let known: Vec<&str> = check::all().iter().map(|(name, _)| *name).collect();
    assert_eq!(names, known, "answers to each exercise, in their order");
    for (name, right, wrong, panic) in &all {
        assert!(
            right.len() >= 2 && wrong.len() >= 4,
            "{name}: {} right and {} wrong answers",
            right.len(),
            wrong.len()
        );
        let failed = right.iter().enumerate().filter(|(_, verdict)| verdict.score() < 1.0);
        faults.extend(failed.map(|(n, verdict)| format!("{name}, right answer {n} fails:\n{verdict}")));
        let passed = wrong.iter().enumerate().filter(|(_, verdict)| verdict.score() == 1.0);
        faults.extend(passed.map(|(n, _)| format!("{name}, wrong answer {n} passes")));
        let explained = wrong.iter().enumerate().filter(|(_, verdict)| verdict.cause().is_some());
        faults.extend(
            explained.map(|(n, verdict)| format!("{name}, wrong answer {n} has a cause:\n{verdict}")),
        );
        if !panic.to_string().contains("panicked: attempt to divide by zero")
            || panic.score() > 0.0
            || panic.cause().is_some()
        {
            faults.push(format!("{name}, a panic:\n{panic}"));
        }
    }
    assert!(faults.is_empty(), "{} faults\n\n{}", faults.len(), faults.join("\n\n"));
}

fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len() as f64
}

fn bars(betas: &[f64]) -> Vec<f64> {
    (0..=betas.len()).map(|t| betas[..t].iter().map(|b| 1.0 - b).product()).collect()
}

fn c1(s: &Schedule, t: usize) -> f64 {
    s.alpha_bar(t - 1).sqrt() * s.beta(t) / (1.0 - s.alpha_bar(t))
}

fn c2(s: &Schedule, t: usize) -> f64 {
    s.alpha(t).sqrt() * (1.0 - s.alpha_bar(t - 1)) / (1.0 - s.alpha_bar(t))
}

fn image(s: &Schedule, t: usize, x_t: f64, eps: f64) -> f64 {
    let snr = s.alpha_bar(t) / (1.0 - s.alpha_bar(t));
    x_t / s.alpha_bar(t).sqrt() - eps / snr.sqrt()
}

fn line_4(s: &Schedule, t: usize, x: f64, eps: f64, sigma_z: f64) -> f64 {
    (x - s.beta(t) / (1.0 - s.alpha_bar(t)).sqrt() * eps) / s.alpha(t).sqrt() + sigma_z
}

fn run(s: &Schedule, start: f64, eps: &dyn Fn(f64, usize) -> f64, noise: &dyn Fn(usize) -> f64) -> f64 {
    (1..=s.T()).rev().fold(start, |x, t| line_4(s, t, x, eps(x, t), noise(t)))
}

fn matmul(a: &Array2<f32>, b: &Array2<f32>) -> Array2<f32> {
    Array2::from_shape_fn((a.nrows(), b.ncols()), |(i, j)| {
        (0..a.ncols()).map(|k| a[[i, k]] * b[[k, j]]).sum()
    })
}

/// Windows of k × k with `shift` instead of k/2 zeros before the image.
fn windows(x: &Array3<f64>, k: usize, shift: usize, outside: f64) -> Array2<f64> {
    let (h, w, c) = x.dim();
    let mut rows = Array2::from_elem((h * w, k * k * c), outside);
    for ((i, j), (u, v)) in ndarray::indices((h, w))
        .into_iter()
        .flat_map(|at| ndarray::indices((k, k)).into_iter().map(move |uv| (at, uv)))
    {
        let (y, z) = ((i + u).wrapping_sub(shift), (j + v).wrapping_sub(shift));
        for c in (0..c).filter(|_| y < h && z < w) {
            rows[[i * w + j, (u * k + v) * x.dim().2 + c]] = x[[y, z, c]];
        }
    }
    rows
}

fn convolved(x: &Array3<f64>, w: &Array4<f64>, shift: usize) -> Array3<f64> {
    let (h, width, _) = x.dim();
    let (k, _, inputs, outputs) = w.dim();
    let rows = windows(x, k, shift, 0.0);
    Array3::from_shape_fn((h, width, outputs), |(i, j, o)| {
        (0..k * k * inputs)
            .map(|n| rows[[i * width + j, n]] * w[[n / inputs / k, n / inputs % k, n % inputs, o]])
            .sum()
    })
}

fn softmax(s: &Array2<f64>) -> Array2<f64> {
    let mut p = s.clone();
    for mut row in p.rows_mut() {
        let most = row.fold(f64::MIN, |a: f64, &b| a.max(b));
        row.mapv_inplace(|s| (s - most).exp());
        let sum = row.sum();
        row /= sum;
    }
    p
}

/// (dq, dk, dv) with the scale in dq and dk, and the last term of the softmax, as they are given.
fn attention(
    q: &Array2<f64>,
    k: &Array2<f64>,
    v: &Array2<f64>,
    g: &Array2<f64>,
    scales: [f64; 2],
    inner: f64,
) -> (Array2<f64>, Array2<f64>, Array2<f64>) {
    let p = softmax(&(q.dot(&k.t()) / (q.ncols() as f64).sqrt()));
    let dp = g.dot(&v.t());
    let ds =
        Array2::from_shape_fn(p.dim(), |(i, j)| p[[i, j]] * (dp[[i, j]] - inner * p.row(i).dot(&dp.row(i))));
    (ds.dot(k) * scales[0], ds.t().dot(q) * scales[1], p.t().dot(g))
}

fn root(q: &Array2<f64>) -> f64 {
    1.0 / (q.ncols() as f64).sqrt()
}

/// A pass over all pixels and taps of a 3×3 convolution: `f(from, to, tap, image)`.
fn taps((n, h, w): (usize, usize, usize), mut f: impl FnMut([usize; 3], [usize; 3], [usize; 2])) {
    for n in 0..n {
        for (i, j, u, v) in ndarray::indices((h, w, 3, 3)) {
            let (y, z) = ((i + u).wrapping_sub(1), (j + v).wrapping_sub(1));
            if y < h && z < w {
                f([n, y, z], [n, i, j], [u, v]);
            }
        }
    }
}

fn data_gradient(dy: &Batch, w: &Batch) -> Batch {
    let (n, h, width, outputs) = dy.dim();
    let inputs = w.dim().2;
    let mut dx = Batch::zeros((n, h, width, inputs));
    taps((n, h, width), |[n, y, z], [_, i, j], [u, v]| {
        for (c, o) in ndarray::indices((inputs, outputs)) {
            dx[[n, y, z, c]] += w[[u, v, c, o]] * dy[[n, i, j, o]];
        }
    });
    dx
}

fn weight_gradient(x: &Batch, dy: &Batch) -> Batch {
    let (n, h, width, inputs) = x.dim();
    let outputs = dy.dim().3;
    let mut dw = Batch::zeros((3, 3, inputs, outputs));
    taps((n, h, width), |[n, y, z], [_, i, j], [u, v]| {
        for (c, o) in ndarray::indices((inputs, outputs)) {
            dw[[u, v, c, o]] += x[[n, y, z, c]] * dy[[n, i, j, o]];
        }
    });
    dw
}

fn halves(dy: &Batch, factor: f64, from: usize) -> Batch {
    let (n, h, w, c) = dy.dim();
    Batch::from_shape_fn((n, h / 2, w / 2, c), |(n, i, j, c)| {
        let four: f64 = (from..4).map(|k| dy[[n, 2 * i + k / 2, 2 * j + k % 2, c]]).sum();
        factor * four
    })
}

/// The three terms of the gradient, each times a factor.
fn normalised(x: &Array1<f64>, g: &Array1<f64>, eps: f64, [a, b, c]: [f64; 3]) -> Array1<f64> {
    let n = x.len() as f64;
    let mean = x.mean().unwrap();
    let r = (x.mapv(|x| x * x).mean().unwrap() - mean * mean + eps).sqrt().recip();
    let hat = x.mapv(|x| (x - mean) * r);
    let (s1, s2) = (g.sum() / n, g.dot(&hat) / n);
    Array1::from_shape_fn(x.len(), |i| r * (a * g[i] - b * s1 - c * s2 * hat[i]))
}

/// Adam with the numbers given: β_1, β_2, ε, and by how much the count of the corrections is off.
fn adam(theta: f64, g: &[f64], lr: f64, [b1, b2, eps]: [f64; 3], shift: i32) -> Vec<f64> {
    let (mut theta, mut m, mut v, mut out) = (theta, 0.0, 0.0, vec![]);
    for (k, g) in g.iter().enumerate() {
        m += (1.0 - b1) * (g - m);
        v += (1.0 - b2) * (g * g - v);
        let correction = |b: f64| 1.0 - b.powi(k as i32 + 1 + shift);
        theta -= lr * (m / correction(b1)) / ((v / correction(b2)).sqrt() + eps);
        out.push(theta);
    }
    out
}

fn blended(w: &[f64], d: impl Fn(usize) -> f64) -> Vec<f64> {
    w.iter()
        .enumerate()
        .scan(0.0, |a, (i, w)| {
            *a += (1.0 - d(i)) * (w - *a);
            Some(*a)
        })
        .collect()
}

fn step(net: &mut PointNet, adam: &mut Adam<PointNet>, reverse: &Reverse, batch: &NoisyBatch) -> f64 {
    let (eps_hat, cache) = net.forward(&batch.x_t, &batch.t);
    let all = simple_loss(reverse, &eps_hat, batch);
    let mut grad = net.zeros_like();
    net.backward(cache, &all.d_output.mapv(|d| d / batch.t.len() as f64), &mut grad);
    adam.step(net, &grad);
    all.loss.mean().unwrap()
}

/// E|x − y|, pairs of a row with itself left out if `off` says so.
fn between(x: &Array2<f64>, y: &Array2<f64>, power: f64) -> f64 {
    let all = x.outer_iter().flat_map(|a| {
        y.outer_iter().map(move |b| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().powf(power))
    });
    all.sum::<f64>() / (x.nrows() * y.nrows()) as f64
}

fn inputs(widths: &[usize], layers: usize, per_level: usize, deep: bool) -> Vec<usize> {
    let mut skips = vec![widths[0]];
    for (l, &w) in widths.iter().enumerate() {
        for _ in 0..layers {
            skips.push(w);
        }
        if l != widths.len() - 1 || deep {
            skips.push(w);
        }
    }
    let (mut h, mut all) = (*widths.last().unwrap(), vec![]);
    for &w in widths.iter().rev() {
        for _ in 0..per_level {
            all.push(h + skips.pop().unwrap_or(0));
            h = w;
        }
    }
    all
}

fn closest(sample: &Array2<f64>, training: &Array3<f64>) -> (usize, f64) {
    let distance = |image: ndarray::ArrayView2<f64>| {
        image.iter().zip(sample).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
    };
    let of = |image: ndarray::ArrayView2<f64>| distance(image).min(distance(image.slice(s![.., ..;-1])));
    let all: Vec<f64> = training.outer_iter().map(of).collect();
    let best = (0..all.len()).min_by(|&i, &j| all[i].total_cmp(&all[j])).unwrap();
    (best, all[best])
}

fn trained(file: &str, data: &Dataset, more: u64) -> Trainer {
    let mut trainer = Trainer::load(file.as_ref()).unwrap();
    for _ in 0..more {
        trainer.step(data).unwrap();
    }
    trainer
}

answers! {
    twice(_): right |x| x + x, |x| x / 0.5; wrong |x| x * x + x, |x| 3.0 * x, |x| -2.0 * x, |x| 2.0 * x + 1.0;
    average(_): right |l| l.iter().map(|&l| f64::from(l)).sum::<f64>() / l.len() as f64, |l| l.iter().map(|&l| u64::from(l)).sum::<u64>() as f64 / l.len() as f64;
        wrong |l| f64::from(*l.iter().min().unwrap()) + 1.0, |l| f64::from(*l.iter().max().unwrap()), |l| f64::from(l[l.len() / 2]) + 0.5, |l| l.iter().map(|&l| f64::from(l)).sum::<f64>() / (l.len() as f64 + 1.0);
    countdown(_): right |n| (0..n).map(|k| n - k).collect(), |n| { let mut v: Vec<usize> = (1..n + 1).collect(); v.reverse(); v };
        wrong |n| (1..=n).map(|k| 2 * k).collect(), |n| (0..=n + 1).rev().collect(), |n| vec![n; n], |n| (2..=n).rev().collect();
    brightest_row(_): right |x| x.outer_iter().max_by(|a, b| a.sum().total_cmp(&b.sum())).unwrap().to_owned(), |x| { let s = x.sum_axis(Axis(1)); let i = (0..s.len()).fold(0, |b, i| if s[i] > s[b] { i } else { b }); x.row(i).to_owned() };
        wrong |x| x.row(1).to_owned() * 2.0, |x| x.column(0).to_owned(), |x| x.sum_axis(Axis(0)), |x| x.outer_iter().max_by(|a, b| a.sum().total_cmp(&b.sum())).unwrap().mapv(|x| -x);
    updated(_, _): right |p, l| { let sum = (0..p.len()).map(|k| p[k] * l[k]).sum::<f64>(); (0..p.len()).map(|k| l[k] / sum * p[k]).collect() }, |p, l| { let mut q: Vec<f64> = p.iter().zip(l).map(|(p, l)| (p.ln() + l.ln()).exp()).collect(); let sum: f64 = q.iter().sum(); q.iter_mut().for_each(|q| *q /= sum); q };
        wrong |p, l| { let most = l.iter().copied().fold(0.0, f64::max); p.iter().zip(l).map(|(p, l)| p * l / most).collect() }, |p, l| p.iter().zip(l).map(|(p, l)| p / l).collect(), |p, l| { let sum: f64 = p.iter().zip(l).map(|(p, l)| p * l).sum(); p.iter().zip(l).map(|(p, l)| 1.0 - p * l / sum).collect() }, |p, l| { let sum: f64 = p.iter().zip(l).map(|(p, l)| p * l * l).sum(); p.iter().zip(l).map(|(p, l)| p * l * l / sum).collect() };
    after_steps(_, _, _): right |p, m, n| { let mut p = p.to_vec(); for _ in 0..n { let old = p.clone(); for j in 0..p.len() { p[j] = (0..old.len()).map(|i| old[i] * m[[i, j]]).sum(); } } p }, |p, m, n| { let mut power = Array2::eye(p.len()); for _ in 0..n { power = power.dot(m); } (0..p.len()).map(|j| p.iter().enumerate().map(|(i, p)| p * power[[i, j]]).sum()).collect() };
        wrong |p, m, n| { let mut p = Array1::from(p.to_vec()); for _ in 0..n { p = p.dot(m); p *= 0.5; } p.to_vec() }, |p, m, n| (0..p.len()).map(|j| (0..p.len()).map(|i| p[i] * m[[i, j]].powi(n as i32)).sum()).collect(), |p, m, n| { let mut p = Array1::from(p.to_vec()); for _ in 0..2 * n { p = p.dot(m); } p.to_vec() }, |p, m, n| { let mut p = p.to_vec(); for _ in 0..n { for j in 0..p.len() { p[j] = (0..p.len()).map(|i| p[i] * m[[i, j]]).sum(); } } p };
    mean_square(_, _, _): right |m, v, c| m * m + v - 2.0 * m * c + c * c, |m, v, c| (m - c).powi(2) + v.sqrt() * v.sqrt();
        wrong |m, v, c| m * m + v + c * c, |m, v, c| (v.sqrt() + (m - c).abs()).powi(2), |m, v, c| v - (m - c).powi(2), |m, v, c| v.sqrt() + (m - c).powi(2);
    log_pdf(_, _, _): right |x, m, v| -((2.0 * PI * v).ln() + (x - m).powi(2) / v) / 2.0, |x, m, v| { let s = v.sqrt(); -(s * (2.0 * PI).sqrt()).ln() - 0.5 * ((x - m) / s).powi(2) };
        wrong |x, m, v| -0.5 * (2.0 * PI * v).ln() + (x - m).powi(2) / (2.0 * v), |x, m, v| -0.5 * (2.0 * PI * v).ln() - (x - m).powi(2) / v, |x, m, v| -(2.0 * PI * v).ln() - (x - m).powi(2) / (2.0 * v), |x, m, v| -0.5 * (2.0 * PI * v).ln() - (x - m).abs() / (2.0 * v);
    kl(_, _, _, _): right |m1, v1, m2, v2| 0.5 * (v1 / v2 - 1.0 - (v1 / v2).ln()) + (m1 - m2).powi(2) / (2.0 * v2), |m1, v1, m2, v2| (v2.sqrt() / v1.sqrt()).ln() + (v1 + (m1 - m2).powi(2)) / (2.0 * v2) - 0.5;
        wrong |m1, v1, m2, v2| 0.5 * ((v2 / v1).ln() - 1.0 + v1 / v2 + (m1 - m2).abs() / v2), |m1, v1, m2, v2| 0.5 * ((v2 / v1).ln() + 1.0 - v1 / v2 + (m1 - m2).powi(2) / v2), |m1, v1, m2, v2| 0.5 * ((v1 / v2).ln() - 1.0 + v1 / v2 + (m1 - m2).powi(2) / v2), |m1, v1, m2, v2| (v2 / v1).ln() - 0.5 + (v1 + (m1 - m2).powi(2)) / (2.0 * v2);
    to_bits_per_dim(_, _): right |n, d| n / (d as f64 * LN_2), |n, d| n * std::f64::consts::LOG2_E / d as f64; wrong |n, d| n / d as f64 / 2.0, |n, d| n / LN_2 * d as f64, |n, d| n.log2() / d as f64, |n, d| n / LN_2 / (d as f64 - 1.0);
    bin_probability(_, _, _, _): right |k, m, s, cdf| { let (x, h) = (2.0 * k as f64 / 255.0 - 1.0, 1.0 / 255.0); let up = if k < 255 { cdf((x + h - m) / s) } else { 1.0 }; up - if k > 0 { cdf((x - h - m) / s) } else { 0.0 } },
            |k, m, s, cdf| { let edge = |e: usize| match e { 0 => 0.0, 256 => 1.0, e => cdf(((2 * e) as f64 / 255.0 - 1.0 - 1.0 / 255.0 - m) / s) }; edge(k + 1) - edge(k) };
        wrong |k, m, s, _| 2.0 / 255.0 * (-0.5 * ((k as f64 / 127.5 - 1.0 - m) / s).powi(2)).exp() / (s * (2.0 * PI).sqrt()), |k, m, s, cdf| { let x = k as f64 / 127.5 - 1.0; 1.0 - cdf((x + 1.0 / 255.0 - m) / s) }, |k, m, s, cdf| { let x = k as f64 / 255.0; let up = if k == 255 { 1.0 } else { cdf((x + 1.0 / 255.0 - m) / s) }; up - if k == 0 { 0.0 } else { cdf((x - 1.0 / 255.0 - m) / s) } }, |k, m, s, cdf| { let x = k as f64 / 127.5 - 1.0; cdf((x + 1.0 / 255.0 + m) / s) - cdf((x - 1.0 / 255.0 + m) / s) };
    tanh_error(): right || 0.5, || 0.7; wrong || 0.1, || 2.0, || 6.0, || -0.05;
    walk(_, _, _): right |x, b, e| (0..b.len()).fold(x, |x, i| x * (1.0 - b[i]).sqrt() + e[i] * b[i].sqrt()), |x0, b, e| { let bar = bars(b); bar[b.len()].sqrt() * x0 + (0..b.len()).map(|i| (bar[b.len()] / bar[i + 1]).sqrt() * b[i].sqrt() * e[i]).sum::<f64>() };
        wrong |x, b, e| (0..b.len()).rev().fold(x, |x, i| x * (1.0 - b[i]).sqrt() + e[i] * b[i].sqrt()), |x, b, e| (0..b.len()).fold(x, |x, i| x * (1.0 - b[i]).sqrt() - e[i] * b[i].sqrt() + 0.01), |x, b, e| x * (1.0 - b[0]).sqrt() + e[0] * b[0].sqrt() + 0.1 * b.len() as f64, |x, b, e| (0..b.len()).fold(x, |x, i| x * (1.0 - b[i].sqrt()) + e[i] * b[i].sqrt());
    alpha_bars(_): right bars, |b| { let mut all = vec![0.0; b.len() + 1]; all[0] = 1.0; for t in 1..all.len() { all[t] = all[t - 1] - all[t - 1] * b[t - 1]; } all };
        wrong |b| (0..=b.len()).map(|t| 1.0 - b[..t].iter().sum::<f64>()).collect(), |b| bars(b).iter().map(|a| a.sqrt()).collect(), |b| bars(b).into_iter().rev().collect(), |b| bars(b).iter().map(|a| 1.0 - a).collect();
    noised(_, _, _): right |x, a, e| x * a.sqrt() + e * (1.0 - a).sqrt(), |x, a, e| { let angle = a.sqrt().acos(); angle.cos() * x + angle.sin() * e };
        wrong |x, a, e| a.sqrt() * x - (1.0 - a).sqrt() * e, |x, a, e| a * x + (1.0 - a).sqrt() * e, |x, a, e| a.sqrt() * (x + (1.0 - a).sqrt() * e), |x, a, e| a.sqrt() * x + (1.0 - a * a).sqrt() * e;
    quad_betas(_): right |n| { let d = (0.02_f64.sqrt() - 0.01) / (n as f64 - 1.0); (0..n).map(|i| (0.01 + d * i as f64).powi(2) * (1000.0 / n as f64)).collect() }, |n| { let (a, b) = (1e-4_f64.sqrt(), 0.02_f64.sqrt()); (0..n).map(|i| { let w = i as f64 / (n - 1) as f64; (a * (1.0 - w) + b * w).powi(2) * 1000.0 / n as f64 }).collect() };
        wrong |n| (0..n).map(|i| (0.01 + (0.02_f64.sqrt() - 0.01) * (i as f64 + 0.5) / n as f64).powi(2) * 1000.0 / n as f64).collect(), |n| (0..n).map(|i| (0.01 + (0.02_f64.sqrt() - 0.01) * i as f64 / (n - 1) as f64) * 1000.0 / n as f64).collect(), |n| (0..n).rev().map(|i| (0.01 + (0.02_f64.sqrt() - 0.01) * i as f64 / (n - 1) as f64).powi(2) * 1000.0 / n as f64).collect(), |n| (0..n).map(|i| (0.01 + (0.02_f64.sqrt() - 0.01) * i as f64 / (n - 1) as f64).powi(2) * n as f64 / 1000.0).collect();
    prior_cost(): right || 0.30, || 0.37; wrong || 1.0, || 0.05, || 3.4, || 0.0;
    completed_square(_, _, _, _): right |s, t, x0, x| { let (v, b) = (1.0 - s.alpha_bar(t - 1), s.beta(t)); ((v * s.alpha(t) + b) / (v * b), (s.alpha(t).sqrt() * x * v + s.alpha_bar(t - 1).sqrt() * x0 * b) / (v * b)) }, |s, t, x0, x| { let a = 1.0 / s.beta_tilde(t); (a, a * (c1(s, t) * x0 + c2(s, t) * x)) };
        wrong |s, t, x0, x| { let a = 1.0 / s.beta_tilde(t); (a, c1(s, t) * x0 + c2(s, t) * x) }, |s, t, x0, x| { let a = 1.0 / s.beta_tilde(t); (-a, -a * (c1(s, t) * x0 + c2(s, t) * x)) }, |s, t, x0, x| { let a = 1.0 / s.beta_tilde(t); (a * (c1(s, t) * x0 + c2(s, t) * x), a) }, |s, t, x0, x| { let a = 1.0 / s.beta_tilde(t); (a, 2.0 * a * (c1(s, t) * x0 + c2(s, t) * x)) };
    posterior(_, _, _, _): right |s, t, x0, x| (c1(s, t) * x0 + c2(s, t) * x, s.beta_tilde(t)), |s, t, x0, x| { if t == 1 { return (x0, 0.0); } let (v, b) = (1.0 - s.alpha_bar(t - 1), s.beta(t)); let precision = 1.0 / v + s.alpha(t) / b; ((s.alpha_bar(t - 1).sqrt() * x0 / v + s.alpha(t).sqrt() * x / b) / precision, 1.0 / precision) };
        wrong |s, t, x0, x| (c2(s, t) * x0 + c1(s, t) * x, s.beta_tilde(t)), |s, t, x0, x| (c1(s, t) * x0 + c2(s, t) * x, 3.0 * s.beta_tilde(t)), |s, t, x0, x| (0.5 * (x0 + x), s.beta_tilde(t)), |s, t, x0, x| (c1(s, t) * x0 - c2(s, t) * x, s.beta_tilde(t));
    mixture_guess(_, _, _, _, _): right |x, a, w, m, v| { let s = a * v + 1.0 - a; let r: Vec<f64> = w.iter().zip(m).map(|(w, m)| w * (-(x - a.sqrt() * m).powi(2) / (2.0 * s)).exp()).collect(); let z: f64 = r.iter().sum(); r.iter().zip(m).map(|(r, m)| r / z * ((1.0 - a) * m + a.sqrt() * v * x) / s).sum() }, |x, a, w, m, v| { let p = 1.0 / v + a / (1.0 - a); let logs: Vec<f64> = w.iter().zip(m).map(|(w, &m)| w.ln() + log_normal(x, a.sqrt() * m, (a * v + 1.0 - a).ln())).collect(); let most = logs.iter().copied().fold(f64::MIN, f64::max); let z: f64 = logs.iter().map(|l| (l - most).exp()).sum(); logs.iter().zip(m).map(|(l, m)| (l - most).exp() / z * (m / v + a.sqrt() * x / (1.0 - a)) / p).sum() };
        wrong |x, a, _, _, _| x / a.sqrt(), |x, a, w, m, v| { let s = a * v + 1.0 - a; let r: Vec<f64> = w.iter().zip(m).map(|(w, m)| w * (-(x - a.sqrt() * m).powi(2) / (2.0 * s)).exp()).collect(); r.iter().zip(m).map(|(r, m)| r * ((1.0 - a) * m + a.sqrt() * v * x) / s).sum() }, |x, a, w, m, v| { let s = a * v + 1.0 - a; let near = |m: &f64| (x - a.sqrt() * m).abs(); let m = m.iter().zip(w).min_by(|p, q| near(p.0).total_cmp(&near(q.0))).unwrap().0; ((1.0 - a) * m + a.sqrt() * v * x) / s }, |x, a, w, m, v| { let s = a * v + 1.0 - a; let mean: f64 = w.iter().zip(m).map(|(w, m)| w * m).sum(); mean + a.sqrt() * v / s * (x - a.sqrt() * mean) };
    guess_image(_, _, _, _): right image, |s, t, x, e| (x - (1.0 - s.alpha_bar(t)).sqrt() * e) * s.alpha_bar(t).powf(-0.5);
        wrong |s, t, x, e| (x + (1.0 - s.alpha_bar(t)).sqrt() * e) / s.alpha_bar(t).sqrt(), |s, t, x, e| (x - (1.0 - s.alpha(t)).sqrt() * e) / s.alpha(t).sqrt() + 0.1, |s, t, x, e| image(s, t, x, e).tanh(), |s, t, x, e| x / s.alpha_bar(t).sqrt() - (1.0 - s.alpha_bar(t)).sqrt() * e;
    slope(_, _, _): right |s, t, e| -e * (1.0 - s.alpha_bar(t)).powf(-0.5), |s, t, e| { let x = |e: f64| (1.0 - s.alpha_bar(t)).sqrt() * e; -x(e) / (1.0 - s.alpha_bar(t)) };
        wrong |s, t, e| -e / s.alpha_bar(t).sqrt(), |s, t, e| -2.0 * e / (1.0 - s.alpha_bar(t)).sqrt(), |s, t, e| (1.0 - e) / (1.0 - s.alpha_bar(t)).sqrt(), |s, t, e| -e / (1.0 - s.alpha_bar(t).sqrt());
    reverse_step(_, _, _, _, _): right |s, t, x, e, z| line_4(s, t, x, e, if t == 1 { 0.0 } else { s.beta(t).sqrt() * z }), |s, t, x, e, z| c1(s, t) * image(s, t, x, e) + c2(s, t) * x + if t > 1 { s.beta(t).sqrt() * z } else { 0.0 };
        wrong |s, t, x, e, z| line_4(s, t, x, -e, if t == 1 { 0.0 } else { s.beta(t).sqrt() * z }), |s, t, x, e, z| line_4(s, t, x, e, if t == 1 { 0.0 } else { -0.5 * s.beta(t).sqrt() * z }), |s, t, x, e, z| image(s, t, x, e) + if t == 1 { 0.0 } else { s.beta(t).sqrt() * z }, |s, t, x, e, z| s.alpha(t).sqrt() * (x - s.beta(t) / (1.0 - s.alpha_bar(t)).sqrt() * e) + if t == 1 { 0.0 } else { s.beta(t).sqrt() * z };
    run_chain(_, _, _, _): right |s, x, e, z| run(s, x, e, &|t| if t > 1 { s.beta(t).sqrt() * z(t) } else { 0.0 }), |s, x, e, z| { let (mut x, mut t) = (x, s.T()); while t > 0 { let noise = if t == 1 { 0.0 } else { z(t) }; x = line_4(s, t, x, e(x, t), s.beta(t).sqrt() * noise); t -= 1; } x };
        wrong |s, x, e, z| run(s, x, e, &|t| if t > 1 { -0.3 * s.beta(t).sqrt() * z(t) } else { 0.0 }), |s, x, e, _| run(s, -x, e, &|_| 0.0), |s, x, e, z| 0.9 * run(s, x, e, &|t| if t > 1 { s.beta(t).sqrt() * z(t) } else { 0.0 }), |s, x, e, z| run(s, x, &|x, t| 0.8 * e(x, t), &|t| if t > 1 { s.beta(t).sqrt() * z(t) } else { 0.0 });
    clipped_mean(_, _, _, _): right |s, t, x, e| { let c = s.posterior_coefs(t); c.0 * image(s, t, x, e).max(-1.0).min(1.0) + c.1 * x }, |s, t, x, e| c1(s, t) * image(s, t, x, e).clamp(-1.0, 1.0) + c2(s, t) * x;
        wrong |s, t, x, e| c1(s, t) * image(s, t, x, e).clamp(-2.0, 2.0) + c2(s, t) * x, |s, t, x, e| c1(s, t) * image(s, t, x, e).clamp(-1.0, 1.0) - c2(s, t) * x, |s, t, x, e| c1(s, t) * image(s, t, x, e).tanh() + c2(s, t) * x, |s, t, x, e| image(s, t, x, e).clamp(-1.0, 1.0);
    cross_entropy(_, _): right |p, q| p.iter().zip(q).map(|(p, q)| p * (1.0 / q).log2()).sum(), |p, q| -p.iter().zip(q).map(|(p, q)| p * q.ln()).sum::<f64>() / LN_2;
        wrong |p, q| p.iter().zip(q).map(|(p, q)| p * (p / q).log2()).sum(), |p, q| p.iter().zip(q).map(|(p, q)| p * q.log2()).sum(), |p, q| p.iter().zip(q).map(|(p, q)| -(p * q).log2()).sum::<f64>() / 10.0, |p, q| p.iter().zip(q).map(|(p, q)| -p * q.log10()).sum();
    bayes_step(_, _, _): right |p, now, before| (p + now) - before, |p, now, before| -(before - p - now);
        wrong |p, now, before| before - p - now, |p, now, before| p + before - 2.0 * now, |p, now, before| (p.exp() + now.exp()) / before.exp(), |p, now, _| p + now;
    step_kl(_, _, _, _, _, _): right |s, t, x0, _, h, v| { let b = s.beta_tilde(t); 0.5 * ((v / b).ln() - 1.0 + b / v + (c1(s, t) * (x0 - h)).powi(2) / v) }, |s, t, x0, x, h, v| { let mean = |x0: f64| c1(s, t) * x0 + c2(s, t) * x; kl_normal(mean(x0), s.beta_tilde(t).ln(), mean(h), v.ln()) };
        wrong |s, t, x0, _, h, v| { let b = s.beta_tilde(t); 0.5 * ((v / b).ln() + b / v + (c1(s, t) * (x0 - h)).powi(2) / v) }, |s, t, x0, _, h, v| { let b = s.beta_tilde(t); 0.5 * ((v / b).ln() - 1.0 + b / v + c1(s, t) * (x0 - h).powi(2) / v) }, |s, t, x0, x, h, v| 1000.0 * kl_normal(c1(s, t) * x0 + c2(s, t) * x, s.beta_tilde(t).ln(), c1(s, t) * h + c2(s, t) * x, v.ln()) + 1.0, |s, t, x0, _, h, v| { let b = s.beta_tilde(t); (v / b).ln() - 1.0 + b / v + (c1(s, t) * (x0 - h)).powi(2) / v };
    bound_from_draws(_, _, _, _): right |n, p, d, l| p + l + (n as f64 - 1.0) * mean(d), |n, p, d, l| d.iter().map(|d| (n - 1) as f64 * d).sum::<f64>() / d.len() as f64 + p + l;
        wrong |n, _, d, l| (n - 1) as f64 * mean(d) + l + 0.3, |n, p, d, _| p + (n - 1) as f64 * mean(d), |n, p, d, l| p + (n - 2) as f64 * mean(d) + l, |n, p, d, l| (p + mean(d) + l) * n as f64;
    looser_by(): right || 0.80, || 0.95; wrong || 0.2, || 8.5, || 0.0, || -0.1;
    eps_weight(_, _, _): right |s, t, v| { let b = s.beta(t); b * b / v / s.alpha(t) / (1.0 - s.alpha_bar(t)) / 2.0 }, |s, t, v| c1(s, t).powi(2) / (2.0 * v) * (1.0 / s.alpha_bar(t) - 1.0);
        wrong |s, t, v| c1(s, t).powi(2) / (2.0 * v), |s, t, v| s.weight(t, v).sqrt(), |s, t, v| s.weight(t, v) * (1.0 - s.alpha_bar(t)), |s, t, _| s.weight(t, 1.0);
    weight_share(_, _): right |s, n| { let w: Vec<f64> = (1..=s.T()).map(|t| s.weight(t, s.beta(t))).collect(); w[..n].iter().sum::<f64>() / w.iter().sum::<f64>() }, |s, n| { let w = |t: usize| s.beta(t) / (2.0 * s.alpha(t) * (1.0 - s.alpha_bar(t))); (1..=n).map(w).sum::<f64>() / (1..=s.T()).map(w).sum::<f64>() };
        wrong |s, n| 1.0 - (1..=n).map(|t| s.weight(t, s.beta(t))).sum::<f64>() / (1..=s.T()).map(|t| s.weight(t, s.beta(t))).sum::<f64>(), |s, n| (1..=n).map(|t| s.beta(t)).sum::<f64>() / (1..=s.T()).map(|t| s.beta(t)).sum::<f64>(), |s, n| s.weight(n, s.beta(n)) / s.weight(1, s.beta(1)), |s, n| 2.0 * n as f64 / s.T() as f64;
    strides(_): right |shape| (0..shape.len()).map(|k| shape[k + 1..].iter().product()).collect(), |shape| { let (mut s, mut all) = (1, vec![]); for &n in shape.iter().rev() { all.push(s); s *= n; } all.reverse(); all };
        wrong |shape| (0..shape.len()).map(|k| shape[k..].iter().sum()).collect(), |shape| (0..shape.len()).map(|k| 4 * shape[k + 1..].iter().product::<usize>() + 1).collect(), |shape| (0..shape.len()).map(|k| shape[k + 1..].iter().sum()).collect(), |shape| (0..shape.len()).map(|k| k + shape[k + 1..].iter().product::<usize>()).collect();
    fast_matmul(_, _): right |a, b| a.dot(b), |a, b| b.t().dot(&a.t()).reversed_axes();
        wrong |a, b| a.dot(b) * 2.0, |a, b| a.dot(b) + 1.0, |a, b| a.dot(&b.mapv(|b| b.abs())), |a, b| -matmul(a, b);
    im2col(_, _): right |x, k| windows(x, k, k / 2, 0.0), |x, k| { let (h, w, c) = x.dim(); let p = k / 2; let mut big = Array3::zeros((h + 2 * p, w + 2 * p, c)); big.slice_mut(s![p..p + h, p..p + w, ..]).assign(x); Array2::from_shape_fn((h * w, k * k * c), |(n, m)| big[[n / w + m / c / k, n % w + m / c % k, m % c]]) };
        wrong |x, k| windows(x, k, k / 2 + 1, 0.0), |x, k| windows(x, k, k / 2, 0.5), |x, k| windows(x, k, k / 2, 0.0).mapv(|x| -x), |x, k| windows(&x.mapv(|x| x.abs()), k, k / 2, 0.0) * 1.5;
    conv_by_matmul(_, _): right |x, w| convolved(x, w, w.dim().0 / 2), |x, w| { let (h, width, _) = x.dim(); let (k, _, i, o) = w.dim(); let m = w.to_shape((k * k * i, o)).unwrap(); m.t().dot(&windows(x, k, k / 2, 0.0).t()).reversed_axes().as_standard_layout().into_owned().into_shape_with_order((h, width, o)).unwrap() };
        wrong |x, w| convolved(x, w, w.dim().0 / 2 + 1), |x, w| convolved(x, w, w.dim().0 / 2) + 1.0, |x, w| convolved(x, w, w.dim().0 / 2) * 2.0, |x, w| -convolved(x, w, w.dim().0 / 2);
    conv_gflop(): right || 1.8496, || 1.85; wrong || 3.7, || 18.0, || 0.1, || 185.0;
    silu_backward(_, _): right |x, g| Array1::from_shape_fn(x.len(), |i| { let s = 1.0 / (1.0 + (-x[i]).exp()); g[i] * (s + x[i] * s * (1.0 - s)) }), |x, g| { let sigma = x.mapv(|x| 0.5 + 0.5 * (0.5 * x).tanh()); let y = x * &sigma; g * &(&sigma + &(&y * &(1.0 - &sigma))) };
        wrong |x, g| Array1::from_shape_fn(x.len(), |i| { let s = 1.0 / (1.0 + (-x[i]).exp()); g[i] * (s - x[i] * s * (1.0 - s)) }), |x, g| Array1::from_shape_fn(x.len(), |i| { let s = 1.0 / (1.0 + (-x[i]).exp()); g[i] * s * (1.0 - s) + 0.1 }), |x, g| Array1::from_shape_fn(x.len(), |i| { let s = 1.0 / (1.0 + x[i].exp()); g[i] * (s + x[i] * s * (1.0 - s)) }), |x, g| Array1::from_shape_fn(x.len(), |i| g[i] * (1.0 - x[i].tanh().powi(2)));
    linear_backward(_, _, _): right |x, w, g| (w.dot(&g.t()).reversed_axes(), g.t().dot(x).reversed_axes(), g.t().sum_axis(Axis(1))), |x, w, g| (g.dot(&w.t()), x.t().dot(g), Array1::ones(g.nrows()).dot(g));
        wrong |x, w, g| (g.dot(&w.t()), x.t().dot(g), g.sum_axis(Axis(0)) * 2.0), |x, w, g| (-g.dot(&w.t()), x.t().dot(g), g.sum_axis(Axis(0))), |x, w, g| (g.dot(&w.t()), x.t().dot(g) * 0.5, g.sum_axis(Axis(0))), |x, w, g| (g.dot(&w.t()) + 1.0, x.t().dot(g), g.sum_axis(Axis(0)));
    unbroadcast(_, _): right |g, (r, c)| Array2::from_shape_fn((r, c), |(i, j)| { let rows = if r == 1 { 0..g.nrows() } else { i..i + 1 }; rows.map(|i| if c == 1 { g.row(i).sum() } else { g[[i, j]] }).sum() }), |g, (r, c)| { let mut d = Array2::zeros((r, c)); for ((i, j), g) in g.indexed_iter() { d[[i.min(r - 1), j.min(c - 1)]] += g; } d };
        wrong |g, (r, c)| Array2::from_shape_fn((r, c), |(i, j)| g.sum() + (i + j) as f64), |g, (r, c)| g.slice(s![..r, ..c]).to_owned() * 2.0, |g, (r, c)| { let mut d = Array2::zeros((r, c)); for ((i, j), g) in g.indexed_iter() { d[[i.min(r - 1), j.min(c - 1)]] -= g; } d }, |g, (r, c)| { let mut d = Array2::zeros((r, c)); for ((i, j), g) in g.indexed_iter() { let at: &mut f64 = &mut d[[i.min(r - 1), j.min(c - 1)]]; *at = at.max(*g); } d };
    mse_backward(_, _): right |p, t| { let n = p.len() as f64; let loss = p.iter().zip(t).map(|(p, t)| (p - t).powi(2)).sum::<f64>() / n; (loss, (p - t).mapv(|d| 2.0 * d / n)) }, |p, t| { let d = p - t; ((&d * &d).mean().unwrap(), &d * 2.0 / d.len() as f64) };
        wrong |p, t| { let d = p - t; ((&d * &d).mean().unwrap().sqrt(), &d * 2.0 / d.len() as f64) }, |p, t| { let d = p - t; (d.mapv(f64::abs).mean().unwrap(), &d * 2.0 / d.len() as f64) }, |p, t| { let d = p - t; ((&d * &d).mean().unwrap(), d.mapv(f64::signum)) }, |p, t| { let d = p - t; ((&d * &d).mean().unwrap() / 2.0, &d * 3.0 / d.len() as f64) };
    gradient_is_wrong(_, _, _): right |f, b, x| { let g: Array1<f64> = normal(x.len(), &mut stream(9, 1)); let dx = b(x, &g); let h = 1e-5; let numeric: Vec<f64> = (0..x.len()).map(|i| { let (mut p, mut m) = (x.clone(), x.clone()); p[i] += h; m[i] -= h; ((f(&p) - f(&m)) * &g).sum() / (2.0 * h) }).collect(); let scale = numeric.iter().map(|n| n.abs()).fold(0.0, f64::max); numeric.iter().zip(&dx).any(|(n, d)| (n - d).abs() > 1e-5 * scale) },
            |f, b, x| { let g = Array1::from_shape_fn(x.len(), |i| ((i * i + 1) as f64).sin()); let dx = b(x, &g); let v = |k: usize| { let (mut p, mut m) = (x.clone(), x.clone()); p[k] += 1e-4; m[k] -= 1e-4; (f(&p).dot(&g) - f(&m).dot(&g)) / 2e-4 }; let n = Array1::from_shape_fn(x.len(), v); (&n - &dx).mapv(|d| d * d).sum() > 1e-10 * n.mapv(|n| n * n).sum() };
        wrong |f, b, x| { let g = Array1::from_shape_fn(x.len(), |i| ((i * i + 1) as f64).sin()); (f(x) - b(x, &g)).sum().abs() > 0.5 }, |f, _, x| f(x)[0] > f(x)[1], |_, b, x| b(x, &Array1::ones(x.len())).sum() > 1.0, |f, b, x| { let g: Array1<f64> = normal(x.len(), &mut stream(9, 1)); f(x).dot(&g) < b(x, &g).dot(x) };
    conv_backward_data(_, _): right data_gradient, |g, w| { let (n, h, wd, _) = g.dim(); let mut dx = Batch::zeros((n, h, wd, w.dim().2)); for u in 0..3 { for v in 0..3 { let tap = w.slice(s![u, v, .., ..]); taps((n, h, wd), |[n, y, z], [_, i, j], uv| if uv == [u, v] { let part = tap.dot(&g.slice(s![n, i, j, ..])); let mut at = dx.slice_mut(s![n, y, z, ..]); at += &part; }); } } dx };
        wrong |g, w| data_gradient(&g.mapv(|g| g * g.abs()), w), |g, w| data_gradient(g, w) * 2.0, |g, w| -data_gradient(g, w), |g, w| data_gradient(g, w) + 1.0;
    conv_backward_weights(_, _): right weight_gradient, |x, g| { let (n, h, w, c) = x.dim(); let mut big = Batch::zeros((n, h + 2, w + 2, c)); big.slice_mut(s![.., 1..=h, 1..=w, ..]).assign(x); Batch::from_shape_fn((3, 3, c, g.dim().3), |(u, v, c, o)| (&big.slice(s![.., u..u + h, v..v + w, c]) * &g.slice(s![.., .., .., o])).sum()) };
        wrong |x, g| weight_gradient(x, g).permuted_axes([1, 0, 2, 3]), |x, g| weight_gradient(x, g) * 2.0, |x, g| -weight_gradient(x, g), |x, g| weight_gradient(x, g) + 1.0;
    upsample_backward(_): right |g| halves(g, 1.0, 0), |g| { let (n, h, w, c) = g.dim(); let mut d = Batch::zeros((n, h / 2, w / 2, c)); for ((n, i, j, c), g) in g.indexed_iter() { d[[n, i / 2, j / 2, c]] += g; } d };
        wrong |g| halves(g, 2.0, 0), |g| halves(g, -1.0, 0), |g| halves(g, 1.0, 1), |g| halves(g, 1.0, 2);
    group_norm_backward(_, _, _): right |x, g, e| normalised(x, g, e, [1.0; 3]), |x, g, e| { let n = x.len() as f64; let d = x - x.mean().unwrap(); let r = 1.0 / (d.dot(&d) / n + e).sqrt(); let dots = d.dot(g) / n * r * r; (g - g.mean().unwrap() - &d * dots) * r };
        wrong |x, g, e| normalised(x, g, e, [1.0, 2.0, 1.0]), |x, g, e| normalised(x, g, e, [1.0, 1.0, 2.0]), |x, g, e| normalised(x, g, e, [2.0; 3]), |x, g, e| normalised(x, g, e, [-1.0, 1.0, 1.0]);
    attention_backward(_, _, _, _): right |q, k, v, g| attention(q, k, v, g, [root(q); 2], 1.0), |q, k, v, g| { let a = root(q); let p = softmax(&(q.dot(&k.t()) * a)); let dp = g.dot(&v.t()); let row = (&dp * &p).sum_axis(Axis(1)).insert_axis(Axis(1)); let ds = (&dp - &row) * &p * a; (ds.dot(k), q.t().dot(&ds).reversed_axes(), g.t().dot(&p).reversed_axes()) };
        wrong |q, k, v, g| attention(q, k, v, g, [root(q); 2], 2.0), |q, k, v, g| attention(q, k, v, g, [-root(q); 2], 1.0), |q, k, v, g| { let (a, b, c) = attention(q, k, v, g, [root(q); 2], 1.0); (a, b, c * 2.0) }, |q, k, v, g| { let (a, b, c) = attention(q, k, v, g, [root(q); 2], 1.0); (a * 3.0, b, c) };
    time_sinusoids(_, _): right |t, d| { let h = d / 2; let w = |k: usize| ((t - 1) as f64) * (-(10_000_f64.ln()) * k as f64 / (h - 1) as f64).exp(); (0..d).map(|n| if n < h { w(n).sin() } else { w(n - h).cos() }).collect() }, |t, d| { let h = d / 2; let mut all = vec![0.0; d]; for k in 0..h { let (s, c) = ((t as f64 - 1.0) / 10_000_f64.powf(k as f64 / (h as f64 - 1.0))).sin_cos(); all[k] = s; all[k + h] = c; } all };
        wrong |t, d| { let h = d / 2; let w = |k: usize| (t - 1) as f64 / 1000_f64.powf(k as f64 / (h as f64 - 1.0)); (0..d).map(|n| if n < h { w(n).sin() } else { w(n - h).cos() }).collect() }, |t, d| { let h = d / 2; let w = |k: usize| (t - 1) as f64 / 10_000_f64.powf(k as f64 / (h as f64 - 1.0)); (0..d).map(|n| if n < h { -w(n).sin() } else { w(n - h).cos() }).collect() }, |t, d| { let h = d / 2; let w = |k: usize| (t - 1) as f64 * 10_000_f64.powf(k as f64 / (h as f64 - 1.0)); (0..d).map(|n| if n < h { w(n).sin() } else { w(n - h).cos() }).collect() }, |t, d| vec![t as f64 / 1000.0; d];
    adam_weights(_, _, _): right |x, g, l| adam(x, g, l, [0.9, 0.999, 1e-8], 0), |x, g, l| { let (mut x, mut m, mut v, mut a, mut b, mut all) = (x, 0.0, 0.0, 1.0, 1.0, vec![]); for &g in g { m = 0.9 * m + (1.0 - 0.9) * g; v = 0.999 * v + (1.0 - 0.999) * g * g; a *= 0.9; b *= 0.999; x -= l * (m / (1.0 - a)) / ((v / (1.0 - b)).sqrt() + 1e-8); all.push(x); } all };
        wrong |x, g, l| adam(x, g, l, [0.5, 0.999, 1e-8], 0), |x, g, l| adam(x, g, l, [0.9, 0.9, 1e-8], 0), |x, g, l| adam(x, g, l, [0.9, 0.999, 1e-1], 0), |x, g, l| adam(x, g, l, [0.9, 0.999, 1e-8], 1);
    averages(_, _): right |w, d| blended(w, |i| d.min(i as f64 / (i + 1) as f64)), |w, d| { let mut a = w.first().copied().unwrap_or(0.0); w.iter().enumerate().map(|(i, w)| { let k = d.min(1.0 - 1.0 / (i + 1) as f64); a = k * a + (1.0 - k) * w; a }).collect() };
        wrong |w, d| blended(w, |i| d.max(i as f64 / (i + 1) as f64)), |w, d| blended(w, |i| (1.0 - d).min(i as f64 / (i + 1) as f64)), |w, d| blended(w, |i| d.min(i as f64 / (i + 3) as f64)), |w, d| w.iter().map(|w| d * w + 0.1).collect();
    train_step(_, _, _, _): right step, |n, a, r, b| n.train_step(a, r, b);
        wrong |n, a, r, b| 2.0 * step(n, a, r, b), |n, a, r, b| step(n, a, r, b).sqrt(), |n, a, r, b| { let loss = step(n, a, r, b); n.train_step(a, r, b); loss }, |n, a, r, b| { step(n, a, r, b); n.train_step(a, r, b) };
    energy_between(_, _): right |x, y| 2.0 * between(x, y, 0.5) - between(x, x, 0.5) - between(y, y, 0.5), |x, y| { let e = |a: &Array2<f64>, b: &Array2<f64>| Array2::from_shape_fn((a.nrows(), b.nrows()), |(i, j)| (&a.row(i) - &b.row(j)).mapv(|d| d * d).sum().sqrt()).mean().unwrap(); 2.0 * e(x, y) - e(x, x) - e(y, y) };
        wrong |x, y| between(x, y, 0.5) - between(x, x, 0.5), |x, y| (2.0 * between(x, y, 0.5) - between(x, x, 0.5) - between(y, y, 0.5)).abs().sqrt(), |x, y| 3.0 * between(x, y, 0.5) - between(x, x, 0.5) - between(y, y, 0.5), |x, y| 2.0 * between(x, y, 0.25) - between(x, x, 0.25) - between(y, y, 0.25);
    up_inputs(_, _): right |w, l| inputs(w, l, l + 1, false), |w, l| { let n = w.len(); let mut all = vec![]; for (at, level) in (0..n).rev().enumerate() { for block in 0..=l { let h = if block == 0 && at > 0 { w[level + 1] } else { w[level] }; let skip = if block < l { w[level] } else if level > 0 { w[level - 1] } else { w[0] }; all.push(h + skip); } } all };
        wrong |w, l| inputs(w, l, l + 1, true), |w, l| inputs(w, l + 1, l + 1, false), |w, l| inputs(w, l, l + 1, false).into_iter().map(|n| n + 1).collect(), |w, l| inputs(w, l, l + 2, false);
    resnet_parameters(_, _, _): right |i, o, t| 2 * (i + o) + 9 * i * o + o + 9 * o * o + o + t * o + o + usize::from(i != o) * (i * o + o), |i, o, t| { let skip = if i == o { 0 } else { (i + 1) * o }; 2 * i + (9 * i + 1) * o + (t + 1) * o + 2 * o + (9 * o + 1) * o + skip };
        wrong |i, o, t| 2 * (i + o) + 9 * i * o + 9 * o * o + t * o + i * o, |i, o, t| 3 * i + 9 * i * o + 9 * o * o + t * o, |i, o, t| 9 * (i * o + o * o) + t, |i, o, t| (2 * (i + o) + 9 * i * o + o + 9 * o * o + o + t * o + o) * 2;
    tiny_u_backward(_, _, _, _): right |a, b, c, g| { let d = g.dot(&c.t()); let k = a.ncols(); let (dm, ds) = (d.slice(s![.., ..k]).to_owned(), d.slice(s![.., k..]).to_owned()); (dm.dot(&b.t()) + dm + ds).dot(&a.t()) }, |a, b, c, g| { let k = a.ncols(); let (top, bottom) = (c.slice(s![..k, ..]), c.slice(s![k.., ..])); let m = Array2::<f64>::eye(k) + b; a.dot(&(m.dot(&top) + bottom)).dot(&g.t()).reversed_axes() };
        wrong |a, b, c, g| { let d = g.dot(&c.t()); let k = a.ncols(); let (dm, ds) = (d.slice(s![.., ..k]).to_owned(), d.slice(s![.., k..]).to_owned()); (dm.dot(&b.t()) + ds * 2.0).dot(&a.t()) }, |a, b, c, g| { let d = g.dot(&c.t()); let k = a.ncols(); let dm = d.slice(s![.., ..k]).to_owned(); (dm.dot(&b.t()) * 3.0 + dm).dot(&a.t()) }, |a, b, c, g| { let d = g.dot(&c.t()); let k = a.ncols(); let (dm, ds) = (d.slice(s![.., ..k]).to_owned(), d.slice(s![.., k..]).to_owned()); -(dm.dot(&b.t()) + dm + ds).dot(&a.t()) }, |a, b, c, g| { let d = g.dot(&c.t()); let k = a.ncols(); let (dm, ds) = (d.slice(s![.., ..k]).to_owned(), d.slice(s![.., k..]).to_owned()); (dm.dot(&b.t()) + dm - ds).dot(&a.t()) };
    add_time(_, _): right |h, t| Batch::from_shape_fn(h.dim(), |(n, i, j, c)| h[[n, i, j, c]] + t[[n, c]]), |h, t| { let mut y = h.clone(); for (mut image, t) in y.outer_iter_mut().zip(t.outer_iter()) { image += &t; } y };
        wrong |h, t| Batch::from_shape_fn(h.dim(), |(n, i, j, c)| h[[n, i, j, c]] - t[[n, c]]), |h, t| Batch::from_shape_fn(h.dim(), |(n, i, j, c)| h[[n, i, j, c]] * t[[n, c]] + 0.5), |h, t| Batch::from_shape_fn(h.dim(), |(n, i, j, c)| t[[n, c]] + 0.0 * h[[n, i, j, c]]), |h, t| Batch::from_shape_fn(h.dim(), |(n, i, j, c)| h[[n, i, j, c]] + 2.0 * t[[n, c]]);
    first_loss(_, _): right |a, m| [1.0, m, a * 1.0 + m - a * m], |a, m| [1.0, m, m + (1.0 - m) * a]; wrong |a, m| [1.0, m * m, a + (1.0 - a) * m], |a, m| [1.0, m, a * m + (1.0 - a) * 2.0], |a, m| [1.0 - a, m, a], |a, m| [2.0, m, a + (1.0 - a) * m];
    to_level(_): right |x| ((x + 1.0) / 2.0 * 255.0).round().max(0.0).min(255.0) as usize, |x| { let l = 127.5 * x + 127.5; if l <= 0.0 { 0 } else if l >= 255.0 { 255 } else { (l + 0.5).floor() as usize } };
        wrong |x| (255.0 * x).clamp(0.0, 255.0) as usize, |x| (128.0 * (x + 1.0)).round().clamp(0.0, 200.0) as usize, |x| (127.5 * (1.0 - x)).round().clamp(0.0, 255.0) as usize, |x| (127.5 * x.abs()).round().clamp(0.0, 255.0) as usize;
    plateau(): right || 0.041, || 0.037; wrong || 0.02, || 0.1, || 0.001, || 39.0;
    go_on(_, _, _): right |f, d, n| { let left = n - Trainer::load(f.as_ref()).unwrap().adam.steps; trained(f, d, left) }, |f, d, n| { let mut t = Trainer::load(f.as_ref()).unwrap(); loop { if t.adam.steps >= n { return t; } t.step(d).unwrap(); } };
        wrong |f, d, _| trained(f, d, 0), |f, d, n| trained(f, d, n - Trainer::load(f.as_ref()).unwrap().adam.steps + 1), |f, d, n| { let mut t = trained(f, d, n - Trainer::load(f.as_ref()).unwrap().adam.steps); t.adam.ema = t.model.clone(); t }, |f, d, _| trained(f, d, 1);
    nearest_garment(_, _): right closest, |s, t| { let mut best = (0, f64::MAX); for (n, image) in t.outer_iter().enumerate() { let mirror = image.slice(s![.., ..;-1]); for d in [image.iter().zip(s).map(|(a, b)| (a - b) * (a - b)).sum::<f64>(), mirror.iter().zip(s).map(|(a, b)| (a - b) * (a - b)).sum()] { if d < best.1 { best = (n, d); } } } (best.0, best.1.sqrt()) };
        wrong |s, t| { let (n, d) = closest(s, t); (n, d + 1.0) }, |s, t| { let (n, d) = closest(s, t); (n + 1, d) }, |s, t| { let (n, d) = closest(s, t); (n, 2.0 * d) }, |s, t| { let (n, d) = closest(s, t); (n, d / 784.0) };
    cause(_): right |p| ['c', 'e', 'a', 'b', 'd'][p - 1], |p| "ceabd".chars().nth(p - 1).unwrap(); wrong |p| ['a', 'b', 'c', 'd', 'e'][p - 1], |p| ['d', 'b', 'a', 'e', 'c'][p - 1], |p| ['e', 'c', 'b', 'a', 'd'][p - 1], |p| ['b', 'a', 'e', 'd', 'c'][p - 1];
    prior_bits(_, _): right |x, s| { let a = s.alpha_bar(s.T()); x.mapv(|x| 0.5 * (-(1.0 - a).ln() - 1.0 + (1.0 - a) + a * x * x)).mean().unwrap() / LN_2 }, |x, s| bits_per_dim(x.outer_iter().map(|x| x.iter().map(|x| kl_normal(s.alpha_bar(s.T()).sqrt() * x, (1.0 - s.alpha_bar(s.T())).ln(), 0.0, 0.0)).sum::<f64>()).sum::<f64>(), x.len());
        wrong |x, s| { let a = s.alpha_bar(s.T()); x.mapv(|x| 0.5 * a * x * x).mean().unwrap() + 1.0 }, |x, s| { let a = s.alpha_bar(s.T() / 2); x.mapv(|x| kl_normal(a.sqrt() * x, (1.0 - a).ln(), 0.0, 0.0)).mean().unwrap() / LN_2 }, |x, s| { let a = s.alpha_bar(s.T()); -x.mapv(|x| kl_normal(a.sqrt() * x, (1.0 - a).ln(), 0.0, 0.0)).mean().unwrap() / LN_2 }, |x, s| { let a = s.alpha_bar(s.T()); 8.0 * x.mapv(|x| kl_normal(a.sqrt() * x, (1.0 - a).ln(), 0.0, 0.0)).mean().unwrap() };
    one_t_estimate(_, _, _): right |p, n, d| { let m = mean(d); let v = d.iter().map(|d| (d - m).powi(2)).sum::<f64>() / (d.len() - 1) as f64; [p + n as f64 * m, n as f64 * (v / d.len() as f64).sqrt()] }, |p, n, d| { let all: Vec<f64> = d.iter().map(|d| p + n as f64 * d).collect(); let e = Estimate::of(&Array1::from_vec(all)); [e.mean, e.std_error] };
        wrong |p, n, d| { let e = Estimate::of(&Array1::from_vec(d.to_vec())); [p - n as f64 * e.mean, n as f64 * e.std_error] }, |p, n, d| { let e = Estimate::of(&Array1::from_vec(d.to_vec())); [p + n as f64 * e.mean, 3.0 * n as f64 * e.std_error] }, |p, n, d| [p * n as f64, d[0]], |p, n, d| { let e = Estimate::of(&Array1::from_vec(d.to_vec())); [p + (n + 5) as f64 * e.mean, n as f64 * e.std_error] };
    best_times(_): right |m| { let r: Vec<f64> = m.iter().map(|m| m.sqrt()).collect(); let s: f64 = r.iter().sum(); r.iter().map(|r| r / s).collect() }, |m| { let s = m.iter().map(|m| m.powf(0.5)).sum::<f64>(); m.iter().map(|m| m.powf(0.5) / s).collect() };
        wrong |m| { let s = m.iter().map(|m| m.powf(0.25)).sum::<f64>(); m.iter().map(|m| m.powf(0.25) / s).collect() }, |m| { let s = m.iter().map(|m| m.powi(2)).sum::<f64>(); m.iter().map(|m| m.powi(2) / s).collect() }, |m| { let s = m.iter().map(|m| (1.0 + m).ln()).sum::<f64>(); m.iter().map(|m| (1.0 + m).ln() / s).collect() }, |m| { let s = m.iter().map(|m| m.sqrt()).sum::<f64>(); m.iter().rev().map(|m| 2.0 * m.sqrt() / s).collect() };
    rate_curve(_, _): right |p, l| { let mut sent = p; let mut all: Vec<f64> = l.iter().rev().map(|l| { let now = sent; sent += l; now }).collect(); all.reverse(); all }, |p, l| (0..l.len()).map(|k| p + l[k + 1..].iter().sum::<f64>()).collect();
        wrong |p, l| (0..l.len()).map(|k| p - l[k + 1..].iter().sum::<f64>()).collect(), |_, l| (0..l.len()).map(|k| l[k + 1..].iter().sum::<f64>() + 7.0).collect(), |p, l| (0..l.len()).map(|k| p + 2.0 * l[k + 1..].iter().sum::<f64>()).collect(), |p, l| l.iter().map(|l| p + l).collect();
    invisible_bits(): right || 2.7, || 3.0; wrong || 10.0, || 0.1, || 5.0, || -3.0;
    x0_estimate(_, _, _): right |x, e, a| Batch::from_shape_fn(x.dim(), |i| ((x[i] - (1.0 - a).sqrt() * e[i]) / a.sqrt()).clamp(-1.0, 1.0)), |x, e, a| (x / a.sqrt() - e * (1.0 / a - 1.0).sqrt()).mapv(|x| x.max(-1.0).min(1.0));
        wrong |x, e, a| (e * (1.0 / a - 1.0).sqrt() - x / a.sqrt()).mapv(|x| x.clamp(-1.0, 1.0)), |x, e, a| (x / a.sqrt() - e * (1.0 / a - 1.0).sqrt()).mapv(|x| x.clamp(-0.5, 0.5)), |x, e, a| (x / a - e * (1.0 / a - 1.0).sqrt()).mapv(|x| x.clamp(-1.0, 1.0)), |x, e, a| (x / a.sqrt() - e * (1.0 / a - 1.0).sqrt()).mapv(f64::tanh);
    mixed_latent(_, _, _, _, _, _): right |x, y, l, a, e, f| { let x_t = x * a.sqrt() + e * (1.0 - a).sqrt(); let y_t = y * a.sqrt() + f * (1.0 - a).sqrt(); &x_t + &((&y_t - &x_t) * l) }, |x, y, l, a, e, f| Batch::from_shape_fn(x.dim(), |i| a.sqrt() * ((1.0 - l) * x[i] + l * y[i]) + (1.0 - a).sqrt() * ((1.0 - l) * e[i] + l * f[i]));
        wrong |x, y, l, a, e, f| Batch::from_shape_fn(x.dim(), |i| a.sqrt() * ((1.0 - l) * x[i] + l * y[i]) - (1.0 - a).sqrt() * ((1.0 - l) * e[i] + l * f[i])), |x, y, l, _, _, _| (1.0 - l) * x + l * y + 0.1, |x, y, l, a, e, f| Batch::from_shape_fn(x.dim(), |i| a.sqrt() * ((1.0 - l * l) * x[i] + l * l * y[i]) + (1.0 - a).sqrt() * ((1.0 - l) * e[i] + l * f[i])), |x, y, _, a, e, f| Batch::from_shape_fn(x.dim(), |i| a.sqrt() * (x[i] + y[i]) + (1.0 - a).sqrt() * (e[i] + f[i]));
    log_variance_and_slope(_, _, _): right |v, b, c| { let f = (v + 1.0) / 2.0; [f * (b / c).ln() + c.ln(), (b / c).ln() / 2.0] }, |v, b, c| [0.5 * ((1.0 + v) * b.ln() + (1.0 - v) * c.ln()), 0.5 * (b / c).ln()];
        wrong |v, b, c| { let f = (v + 1.0) / 2.0; [f * (b / c).ln() - c.ln(), (b / c).ln() / 2.0] }, |v, b, c| { let f = (v + 1.0) / 2.0; [(f * b + (1.0 - f) * c).ln() + 1.0, (b / c).ln() / 2.0] }, |v, b, c| { let f = (v + 1.0) / 2.0; [f * (b / c).ln() + c.ln(), (b / c).ln() * 2.0] }, |v, b, c| { let f = (1.0 - v) / 2.0; [f * (b / c).ln() + c.ln(), 1.0] };
    hybrid_gradient(_, _, _): right |a, b, l| { let half = a.dim().3 / 2; Batch::from_shape_fn(a.dim(), |(n, i, j, c)| if c < half { a[[n, i, j, c]] } else { l * b[[n, i, j, c]] }) }, |a, b, l| { let half = a.dim().3 / 2; ndarray::concatenate![Axis(3), a.slice(s![.., .., .., ..half]), b.slice(s![.., .., .., half..]).mapv(|b| l * b)] };
        wrong |a, b, l| { let half = a.dim().3 / 2; Batch::from_shape_fn(a.dim(), |(n, i, j, c)| if c < half { a[[n, i, j, c]] } else { -l * b[[n, i, j, c]] }) }, |a, b, l| { let half = a.dim().3 / 2; Batch::from_shape_fn(a.dim(), |(n, i, j, c)| if c < half { l * a[[n, i, j, c]] } else { b[[n, i, j, c]] }) }, |a, b, l| a - &(b * l), |a, b, l| { let half = a.dim().3 / 2; Batch::from_shape_fn(a.dim(), |(n, i, j, c)| if c < half { a[[n, i, j, c]] } else { l * l * b[[n, i, j, c]] }) };
    share_of_decoder(): right || 0.96, || 0.98; wrong || 0.5, || 1.2, || 0.3, || 0.0;
    ddim_sigma(_, _, _): right |n, b, e| e * ((1.0 - b) / (1.0 - n)).sqrt() * (1.0 - n / b).sqrt(), |n, b, e| { let beta = 1.0 - n / b; e * (beta * (1.0 - b) / (1.0 - n)).max(0.0).sqrt() };
        wrong |n, b, e| e * ((1.0 - b) / (1.0 - n)).sqrt() * (1.0 - b / n).abs().sqrt(), |n, b, e| 2.0 * e * ((1.0 - b) / (1.0 - n) * (1.0 - n / b)).sqrt(), |n, b, e| e * (b - n).sqrt() + 0.1, |n, b, e| e * e * ((1.0 - b) / (1.0 - n) * (1.0 - n / b)).sqrt() + 0.05;
    ddim_jump(_, _, _, _): right |x, e, a, b| b.sqrt() * (x - (1.0 - a).sqrt() * e) / a.sqrt() + (1.0 - b).sqrt() * e, |x, e, a, b| (b / a).sqrt() * x + ((1.0 - b).sqrt() - (b * (1.0 - a) / a).sqrt()) * e;
        wrong |x, e, a, b| b.sqrt() * (x - (1.0 - a).sqrt() * e) / a.sqrt() - (1.0 - b).sqrt() * e, |x, e, a, b| (b / a).sqrt() * x + 0.3 * e, |x, e, a, b| (a / b).sqrt() * x + ((1.0 - b).sqrt() - (b * (1.0 - a) / a).sqrt()) * e, |x, e, a, b| b * (x - (1.0 - a).sqrt() * e) / a + (1.0 - b).sqrt() * e;
    strided(_, _): right |t, k| (0..k).rev().map(|i| (1.0 + (t as f64 - 1.0) * i as f64 / (k as f64 - 1.0)).round() as usize).collect(), |t, k| (0..k).map(|i| t - ((t - 1) as f64 * i as f64 / (k - 1) as f64).round() as usize).collect();
        wrong |t, k| (0..k).map(|i| t - i).collect(), |t, k| (0..k).map(|i| t - (t - 1) * i / k).collect(), |t, k| (0..k).map(|i| t * (k - i) / k + 1).collect(), |t, k| (0..=k).map(|i| ((t as f64) * (1.0 - i as f64 / k as f64)).round() as usize).collect();
    guided(_, _, _): right |c, a, w| c + w * (c - a), |c, a, w| a + (1.0 + w) * (c - a); wrong |c, a, w| c + w * (c + a) + 0.1, |c, a, w| c + w * w * (c - a), |c, a, w| (c + w * a) / (1.0 + w), |c, a, w| c - 2.0 * w * (c - a);
    without_class(_, _, _): right |e, p, d| { let s: f64 = p.iter().zip(d).map(|(p, d)| p * d).sum(); (0..e.len()).map(|c| e[c] * p[c] * d[c]).sum::<f64>() / s }, |e, p, d| { let w: Vec<f64> = p.iter().zip(d).map(|(p, d)| (p.ln() + d.ln()).exp()).collect(); e.iter().zip(&w).map(|(e, w)| e * w).sum::<f64>() / w.iter().sum::<f64>() };
        wrong |e, p, d| { let s: f64 = p.iter().zip(d).map(|(p, d)| p * d * d).sum(); (0..e.len()).map(|c| e[c] * p[c] * d[c] * d[c]).sum::<f64>() / s }, |e, p, d| { let s: f64 = p.iter().zip(d).map(|(p, d)| p + d).sum(); (0..e.len()).map(|c| e[c] * (p[c] + d[c])).sum::<f64>() / s }, |e, p, d| { let s: f64 = p.iter().zip(d).map(|(p, d)| p * d).sum(); -(0..e.len()).map(|c| e[c] * p[c] * d[c]).sum::<f64>() / s + 0.1 }, |e, p, d| { let s: f64 = p.iter().zip(d).map(|(p, d)| p / d).sum(); (0..e.len()).map(|c| e[c] * p[c] / d[c]).sum::<f64>() / s };
    tilted(_, _, _, _, _): right |m, v, a, b, w| { let p = (1.0 + w) / v - w / b; [((1.0 + w) * m / v - w * a / b) / p, 1.0 / p] }, |m, v, a, b, w| { let d = (1.0 + w) * b - w * v; [((1.0 + w) * m * b - w * a * v) / d, v * b / d] };
        wrong |m, v, a, b, w| { let p = (1.0 + w) / v - w / b; [((1.0 + w) * m / v + w * a / b) / p + 0.01 * w, 1.0 / p] }, |m, v, a, b, w| { let p = (1.0 + w) / v - w / b; [((1.0 + w) * m / v - w * a / b) / p, (1.0 / p).sqrt()] }, |m, v, a, b, w| { let p = (1.0 + w) / v.sqrt() - w / b.sqrt(); [((1.0 + w) * m / v - w * a / b) / p, 1.0 / p] }, |m, v, _, _, w| [m, v / (1.0 + w + 1e-9)];
    given_one(_, _, _, _): right |a, b, c, x| { let k = b / a; [k * x, c - k * b] }, |a, b, c, x| [x * b / a, (a * c - b * b) / a];
        wrong |a, b, c, x| [b / a * x, c + b * b / a], |a, b, c, x| [-b / a * x, c - b * b / a], |a, b, c, x| [b / (a * c).sqrt() * x, c * (1.0 - b * b / (a * c)) + 0.1], |a, b, c, x| [a / (b + 1.0) * x, c - b * b / a];
    crps(_, _): right |x, y| { let n = x.len() as f64; let a: f64 = x.iter().map(|x| (x - y).abs()).sum(); let mut b = 0.0; for i in x { for j in x { b += (i - j).abs(); } } a / n - b / (2.0 * n * n) }, |x, y| ddpm_notebook::quality::crps(ndarray::ArrayView1::from(x), y);
        wrong |x, y| { let n = x.len() as f64; x.iter().map(|x| (x - y).abs()).sum::<f64>() / n + 0.5 * x.iter().map(|a| x.iter().map(|b| (a - b).abs()).sum::<f64>()).sum::<f64>() / (n * n) }, |x, y| { let n = x.len() as f64; 2.0 * x.iter().map(|x| (x - y).abs()).sum::<f64>() / n - 0.5 * x.iter().map(|a| x.iter().map(|b| (a - b).abs()).sum::<f64>()).sum::<f64>() / (n * n) }, |x, y| (x[x.len() / 2] - y).abs() + 0.25, |x, y| x.iter().map(|x| (x - y).abs()).fold(f64::MAX, f64::min) + 0.1;
    shown(_, _, _): right |x, n, m| if m > 0.0 { [x, 0.0, 1.0] } else { [0.0, n, 0.0] }, |x, n, m| [x * m, n - n * m, m]; wrong |x, n, m| [m * x, m * n, m], |x, n, m| [m * x + (1.0 - m) * n, 0.0, m], |x, n, m| [m * x, (1.0 - m) * n, 0.5], |x, n, m| [m * n, (1.0 - m) * x, m];
    cheapest(_): right assign, |cost| { fn go(cost: &Array2<f64>, row: usize, used: u32) -> (f64, Vec<usize>) { if row == cost.nrows() { return (0.0, vec![]); } (0..cost.ncols()).filter(|j| used & (1 << j) == 0).map(|j| { let (rest, mut columns) = go(cost, row + 1, used | 1 << j); columns.insert(0, j); (rest + cost[[row, j]], columns) }).min_by(|a, b| a.0.total_cmp(&b.0)).unwrap() } go(cost, 0, 0).1 };
        wrong |cost| assign(&cost.mapv(|c| -c)), |cost| assign(&cost.mapv(|c| 1.0 / (c + 1.0))), |cost| { let mut a = assign(cost); a.rotate_left(1); a }, |cost| { let mut a = assign(cost); a.swap(0, 1); a };
    assigned_density(_, _): right |e, x| (2.0 / PI).sqrt() * (-e * e / 2.0).exp() * normal_cdf(x * e), |e, x| { let phi = (-0.5 * e * e).exp() / (2.0 * PI).sqrt(); if x > 0.0 { 2.0 * phi * normal_cdf(e) } else { 2.0 * phi * (1.0 - normal_cdf(e)) } };
        wrong |e, x| 2.0 * (-0.5 * (e - 0.564 * x).powi(2)).exp() / (2.0 * PI).sqrt(), |e, x| (-0.5 * (e - 0.564 * x).powi(2)).exp() / (2.0 * PI).sqrt(), |e, x| 2.0 * normal_cdf(e * x), |e, x| 2.0 * (-0.5 * e * e).exp() / (2.0 * PI).sqrt() * normal_cdf(e * x).powi(2);
    alignment(_, _): right |x, e| (x * e).sum_axis(Axis(1)).iter().zip(x.outer_iter()).map(|(d, x)| d / x.mapv(|x| x * x).sum().sqrt()).sum::<f64>() / x.nrows() as f64, |x, e| (0..x.nrows()).map(|i| x.row(i).dot(&e.row(i)) / x.row(i).dot(&x.row(i)).sqrt()).collect::<Array1<f64>>().mean().unwrap();
        wrong |x, e| -(0..x.nrows()).map(|i| x.row(i).dot(&e.row(i)) / x.row(i).dot(&x.row(i)).sqrt()).sum::<f64>() / x.nrows() as f64, |x, e| (x * e).sum() / x.mapv(|x| x * x).sum().sqrt() + 0.1, |x, e| (0..x.nrows()).map(|i| x.row(i).dot(&e.row(i)) / e.row(i).dot(&e.row(i)).sqrt()).sum::<f64>() / x.nrows() as f64 + 0.1, |x, e| (0..x.nrows()).map(|i| (x.row(i).dot(&e.row(i)) / x.row(i).dot(&x.row(i)).sqrt()).abs() + 0.1).sum::<f64>() / x.nrows() as f64;
    left_over(_, _): right |v, k| { let mut s = v.to_vec(); s.sort_by(f64::total_cmp); s[..v.len() - k].iter().sum::<f64>() / v.len() as f64 }, |v, k| { let mut s = v.to_vec(); s.sort_by(|a, b| b.partial_cmp(a).unwrap()); let kept: f64 = s.iter().take(k).sum(); (v.iter().sum::<f64>() - kept) / v.len() as f64 };
        wrong |v, k| { let mut s = v.to_vec(); s.sort_by(f64::total_cmp); s[k..].iter().sum::<f64>() / v.len() as f64 }, |v, k| { let mut s = v.to_vec(); s.sort_by(|a, b| b.total_cmp(a)); (s[k..].iter().sum::<f64>() / v.len() as f64).sqrt() }, |v, k| v.iter().sum::<f64>() / (k as f64 + 1.0), |v, k| { let mut s = v.to_vec(); s.sort_by(|a, b| b.total_cmp(a)); s[k..].iter().map(|v| v * v).sum::<f64>() / v.len() as f64 };
    through_sample(_, _, _): right |d, l, e| { let s = (l / 2.0).exp(); [d, d * e * s / 2.0] }, |d, l, e| [d, 0.5 * d * e * l.exp().sqrt()]; wrong |d, l, e| [d, -0.5 * d * (0.5 * l).exp() * e], |d, l, e| [-d, 0.5 * d * (0.5 * l).exp() * e], |d, l, e| [d, 0.5 * d * (-0.5 * l).exp() * e], |d, l, e| [d, 0.5 * d * (0.5 * l).exp() * e * e];
    bound_parts(_, _, _, _, _): right |x, a, v, m, s| { let c = (2.0 * PI).ln() / 2.0; [c + v.ln() / 2.0 + ((x - a * m).powi(2) + a * a * s) / (2.0 * v), -c - s.ln() / 2.0 - 0.5, c + (m * m + s) / 2.0] }, |x, a, v, m, s| [0.5 * (2.0 * PI * v).ln() + (x * x - 2.0 * x * a * m + a * a * (m * m + s)) / (2.0 * v), -0.5 * (2.0 * PI * std::f64::consts::E * s).ln(), 0.5 * (2.0 * PI).ln() + 0.5 * (m * m + s)];
        wrong |x, a, v, m, s| { let c = (2.0 * PI).ln() / 2.0; [c + v.ln() / 2.0 + ((x - a * m).powi(2) + a * s) / (2.0 * v) + 0.1, -c - s.ln() / 2.0 - 0.5, c + (m * m + s) / 2.0] }, |x, a, v, m, s| { let c = (2.0 * PI).ln() / 2.0; [c + v.ln() / 2.0 + ((x - a * m).powi(2) + a * a * s) / v, -c - s.ln() / 2.0 - 0.5, c + (m * m + s) / 2.0] }, |x, a, v, m, s| { let c = (2.0 * PI).ln() / 2.0; [c + v.ln() / 2.0 + ((x - a * m).powi(2) + a * a * s) / (2.0 * v), -c - s.ln() / 2.0, c + (m * m + s) / 2.0] }, |x, a, v, m, s| { let c = (2.0 * PI).ln() / 2.0; [-(c + v.ln() / 2.0 + ((x - a * m).powi(2) + a * a * s) / (2.0 * v)), -c - s.ln() / 2.0 - 0.5, c + (m * m + s) / 2.0] };
    step_cost(_, _, _): right |s, t, m| m * (t - s).exp_m1() / 2.0, |s, t, m| { let d: f64 = t - s; if d.abs() < 1e-5 { 0.5 * m * (d + d * d / 2.0 + d * d * d / 6.0) } else { 0.5 * m * (d.exp() - 1.0) } };
        wrong |s, t, m| 0.5 * (t - s).exp() * m, |s, t, m| 0.5 * (t - s).exp_m1() * m.sqrt(), |s, t, m| 0.5 * (t * t - s * s) * m + 0.1, |s, t, m| 0.5 * (t - s).sinh() * m;
    gaussian_mse(_, _): right |v, g| 1.0 / (1.0 + g.exp() / v), |v, g| { let a = 1.0 / (1.0 + g.exp()); a * v / (a * v + 1.0 - a) };
        wrong |v, g| v / (v + 1.0 + g.exp()), |v, g| v * v / (v * v + g.exp()) + 0.1, |v, g| v / (v + g.exp()).sqrt(), |v, g| v / (v + g.exp() * g.exp()) + 0.01;
    knots(_, _, _): right |r, a, b| { let p: Vec<f64> = r.iter().map(|x| if *x > 30.0 { *x } else { x.exp().ln_1p() }).collect(); let t: f64 = p.iter().sum(); (0..=r.len()).map(|k| a + (b - a) * p[..k].iter().sum::<f64>() / t).collect() }, |r, a, b| { let p: Vec<f64> = r.iter().map(|x| x.max(0.0) + (1.0 + (-x.abs()).exp()).ln()).collect(); let t: f64 = p.iter().sum(); let mut g = vec![a]; for p in p { g.push(g[g.len() - 1] + p / t * (b - a)); } g };
        wrong |r, a, b| (0..=r.len()).map(|k| a + (b - a) * (k as f64 / r.len() as f64).powi(2)).collect(), |r, a, b| { let p: Vec<f64> = r.iter().map(|x| x * x + 1.0).collect(); let t: f64 = p.iter().sum(); (0..=r.len()).map(|k| a + (b - a) * p[..k].iter().sum::<f64>() / t + k as f64).collect() }, |r, a, b| { let mut s = r.to_vec(); s.sort_by(f64::total_cmp); s.insert(0, a); s.push(b); s }, |r, a, b| (0..=r.len()).map(|k| b + (a - b) * k as f64 / r.len() as f64).collect();
}
