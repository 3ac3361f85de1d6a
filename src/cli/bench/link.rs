//! How far a training carries over many ranks: what an exchange and a step cost here, and what follows for more of them.
//!
//! ```text
//! T(R) = s + (groups / R) · g + log₂ R · (latency + gradient / bandwidth)
//! ```
//!
//! s is what every rank does for itself (drawing the batch, Adam, the average), g one group of images, forward and backward.

use super::stopwatch::{Stopwatch, pool};
use super::work::trainer;
use crate::cli::say::show;
use crate::cli::together::ranks;
use anyhow::{Result, bail};
use ddpm::Error;
use ddpm::checkpoint::Pretrained;
use ddpm::params::Params;
use ddpm::unet::GROUP_SIZE;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// What carries the numbers from one rank to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Link {
    /// seconds of an exchange of nothing
    latency: f64,
    /// bytes per second, each way
    bandwidth: f64,
}

impl FromStr for Link {
    type Err = String;

    fn from_str(text: &str) -> Result<Link, String> {
        let positive = |number: &str| number.trim().parse().ok().filter(|&x: &f64| x.is_finite() && x > 0.0);
        let numbers = text.split_once(',').and_then(|(a, b)| positive(a).zip(positive(b)));
        let (us, gb) = numbers.ok_or("expected microseconds and GB/s, as in 30,1.2")?;
        Ok(Link { latency: us * 1e-6, bandwidth: gb * 1e9 })
    }
}

/// What a step of training takes on one rank, seconds.
struct Step {
    alone: f64,
    group: f64,
}

impl Step {
    /// T(R) for so many groups in all; a rank has whole ones.
    fn time(&self, groups: usize, ranks: usize, gradient: f64, link: &Link) -> f64 {
        let exchanges = f64::from(ranks.trailing_zeros());
        let exchange = link.latency + gradient / link.bandwidth;
        self.alone + groups.div_ceil(ranks) as f64 * self.group + exchanges * exchange
    }
}

/// Measures, or takes the link's numbers as given, and prints the efficiency T(1)/(R · T(R)) for the same batch on all ranks
/// and T(1)/T(R) for the same batch on each.
pub(super) fn link(model: &Pretrained, budget: Duration, given: Option<Link>) -> Result<()> {
    let bytes = 4 * model.unet.count();
    let link = match given {
        Some(link) => link,
        None if ranks().size() == 2 => measured(bytes),
        None => {
            let expected =
                "two ranks, as in mpirun -n 2 ddpm bench --link, or the link's microseconds and GB/s";
            bail!(Error::argument("--link", expected, format!("{} and no numbers", ranks().size())));
        }
    };
    if !ranks().is_first() {
        return Ok(());
    }
    let step = step(model, budget)?;
    let Link { latency, bandwidth } = link;
    show!("a gradient: {:.2} MB", bytes as f64 / 1e6);
    show!("a link: {:.1} µs, {:.2} GB/s", latency * 1e6, bandwidth / 1e9);
    show!("a step: {:.1} ms + {:.1} ms for each {GROUP_SIZE} images", step.alone * 1e3, step.group * 1e3);
    show!("\n{:>6} {:>14} {:>22} {:>22}", "ranks", "one batch: 64", "one batch: 1024", "64 images on each");
    for ranks in (0..=10).map(|power| 1 << power) {
        let time = |groups| step.time(groups, ranks, bytes as f64, &link);
        let alone = |groups| step.time(groups, 1, bytes as f64, &link);
        let same = |groups: usize| match ranks <= groups {
            true => format!("{:.0} %", 100.0 * alone(groups) / time(groups) / ranks as f64),
            false => String::from("–"),
        };
        let (small, large) = (same(64 / GROUP_SIZE), same(1024 / GROUP_SIZE));
        let each = 64 / GROUP_SIZE;
        let weak = 100.0 * alone(each) / time(each * ranks);
        show!("{ranks:>6} {small:>14} {large:>22} {:>20.0} %", weak);
    }
    Ok(())
}

/// The shortest of many exchanges of a number, and of gradients: what else the machine does is not the link's fault.
fn measured(bytes: usize) -> Link {
    let shortest = |times: usize, length: usize| {
        let mine = vec![1u8; length];
        let exchange = || {
            let start = Instant::now();
            std::hint::black_box(ranks().all(&mine));
            start.elapsed().as_secs_f64()
        };
        (0..times).map(|_| exchange()).fold(f64::INFINITY, f64::min)
    };
    let latency = shortest(2000, 1);
    Link { latency, bandwidth: bytes as f64 / (shortest(50, bytes) - latency) }
}

/// From steps of one group and of eight, on one thread.
fn step(model: &Pretrained, budget: Duration) -> Result<Step> {
    let shortest = |groups: usize| -> Result<f64> {
        let (mut trainer, data) = trainer(model, groups * GROUP_SIZE);
        let steps = |calls| Ok((0..calls).try_for_each(|_| trainer.step(&data).map(drop))?);
        Ok(1e-3 * Stopwatch::on_the_wall(budget).measure(steps)?.ms_min)
    };
    pool(1)?.install(|| {
        let (one, eight) = (shortest(1)?, shortest(8)?);
        let group = (eight - one) / 7.0;
        Ok(Step { alone: (one - group).max(0.0), group })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_two_positive_numbers() {
        assert_eq!("30,1.2".parse(), Ok(Link { latency: 30.0 * 1e-6, bandwidth: 1.2 * 1e9 }));
        for bad in ["", "30", "30,", "0,1", "-1,1", "1,inf", "1;2"] {
            assert!(bad.parse::<Link>().is_err(), "{bad}");
        }
    }

    /// By hand: 16 groups of 0.1 s on 4 ranks, two exchanges of 0.01 + 0.04 s.
    #[test]
    fn the_time_of_a_step() {
        let step = Step { alone: 0.02, group: 0.1 };
        let link = Link { latency: 0.01, bandwidth: 1e9 };
        assert!((step.time(16, 4, 4e7, &link) - (0.02 + 0.4 + 0.1)).abs() < 1e-12);
        assert!((step.time(3, 2, 4e7, &link) - (0.02 + 0.2 + 0.05)).abs() < 1e-12);
    }
}
