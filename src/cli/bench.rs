//! `ddpm bench`: how long steps and their parts take, beside what the CPU could do at best.

mod link;
mod machine;
mod report;
mod scaling;
mod shapes;
mod stopwatch;
mod work;

use super::model::{self, image_shape};
use super::numbers::{time, whole};
use crate::cli::say::show;
use anyhow::{Result, bail};
use clap::Args;
use ddpm::Error;
use ddpm::checkpoint::{About, Pretrained};
use ddpm::diffusion::{Reverse, Schedule};
use ddpm::figures::Figure;
use ddpm::files::{check_file, write_atomically};
use ddpm::params::Params;
use ddpm::rng::stream;
use ddpm::unet::{Unet, UnetConfig};
use link::Link;
use report::Report;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Time training and reverse steps, convolutions and matrix products
///
/// Each row is the median of several repetitions, in CPU time with one thread and wall time with more. Between them a
/// loop that only multiplies and adds in registers shows what the CPU could do; peak_share is the row's part of it.
/// Operations are two per multiplication and addition of the direct algorithm, borders included; backward is twice
/// forward. (A convolution that needs fewer, by Winograd's algorithm or on the small side of an upsampling, may have
/// more than 100 %.) A convolution goes through in groups of images as in the network, and of a product each thread does one.
/// The memory of a row is the peak of what is resident; it holds what earlier rows have left to the allocator.
/// DDPM_SIMD=portable, avx2 or avx512 chooses the kernel.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  ddpm bench\n  ddpm bench --model m28h1 --threads 1 --json bench.json\n  ddpm bench --work train --batch 64 --seconds 20\n  ddpm bench --work matmul --seconds 0.5 --check\n  ddpm bench --scaling scaling.svg --seconds 0.5\n  mpirun -n 2 ddpm bench --link"
)]
pub(super) struct Bench {
    /// tiny, m28h1, m32h1, c32, or a diffusers folder
    #[arg(long, value_name = "NAME|DIR", default_value = "m28h1")]
    model: String,

    /// Only these, in this order; by default those that need little memory go before those that need much
    #[arg(long, value_delimiter = ',', default_value = "reverse,train,conv,matmul")]
    work: Vec<Work>,

    /// Images at a time [default: 32,64,128 in training, 1,16,64 in a reverse step, 64 in a convolution]
    #[arg(long, value_delimiter = ',', value_parser = whole(1..=65536))]
    batch: Option<Vec<usize>>,

    /// For the repetitions of a row; there are at least three
    #[arg(long, default_value_t = 3.0, value_parser = time)]
    seconds: f64,

    /// Also write everything as JSON; its peak_gflops is that of all threads together
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Instead draw what a reverse step costs against images, their size, channels, steps and threads: a .png or .svg
    #[arg(long, value_name = "FILE", conflicts_with_all = ["work", "model", "batch", "json", "check"])]
    scaling: Option<PathBuf>,

    /// Instead say how far training carries over many ranks: with what two of them measure under mpirun -n 2, or with a link
    /// of so many microseconds and GB/s
    #[arg(long, value_name = "µs,GB/s", num_args = 0..=1, conflicts_with_all = ["work", "batch", "json", "check", "scaling"])]
    link: Option<Option<Link>>,

    /// Fail if the best A B is below 80 % of the peak, or the best AᵀB below 65 % (the portable kernels are)
    #[arg(long)]
    check: bool,
}

/// What can be timed.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Work {
    Train,
    Reverse,
    Conv,
    Matmul,
}

/// Side and channels of the images; channels of each level, residual blocks per level, groups of the normalisations.
type Shape = (usize, usize, &'static [usize], usize, usize);

/// Networks by name, all with one attention head: one for tests, the shipped one's, its larger siblings.
const SHAPES: [(&str, Shape); 4] = [
    ("tiny", (8, 1, &[8, 16], 1, 4)),
    ("m28h1", (28, 1, &[32, 64, 128], 1, 8)),
    ("m32h1", (32, 1, &[32, 64, 128], 1, 8)),
    ("c32", (32, 3, &[64, 128, 128], 2, 32)),
];

impl Bench {
    /// Whether several processes do it together.
    pub(super) fn shares(&self) -> bool {
        self.link.is_some()
    }

    pub(super) fn run(self) -> Result<()> {
        let budget = Duration::from_secs_f64(self.seconds);
        if let Some(path) = &self.scaling {
            Figure::check_path(path)?;
            scaling::scaling(budget)?.save(path)?;
            show!("{}", path.display());
            return Ok(());
        }
        if let Some(given) = self.link {
            return link::link(&load(&self.model)?, budget, given);
        }
        if self.check && !self.work.contains(&Work::Matmul) {
            bail!(Error::argument("--check", "matmul in --work", "other work only"));
        }
        self.json.iter().try_for_each(|path| check_file(path))?;
        let model = load(&self.model)?;
        let mut report = Report::begin(&self.model, budget);
        show!("{}\n\n{}", describe(&self.model, &model), report::COLUMNS);
        for &work in &self.work {
            self.measure(work, &model, &mut report)?;
        }
        show!("\n{}", report.peak());
        if let Some(path) = &self.json {
            write_atomically(path, report.json().as_bytes())?;
        }
        if self.check { report.check() } else { Ok(()) }
    }

    fn measure(&self, work: Work, model: &Pretrained, report: &mut Report) -> Result<()> {
        let batches = |usual| self.batch.as_deref().unwrap_or(usual);
        match work {
            Work::Train => work::train(model, batches(&[32, 64, 128]), report),
            Work::Reverse => work::reverse(model, batches(&[1, 16, 64]), report),
            Work::Conv => work::convolutions(model, batches(&[64]), report),
            Work::Matmul => work::products(model, report),
        }
    }
}

/// A network of a named shape, untrained, or one from a folder. (The time does not depend on the weights.)
fn load(name: &str) -> Result<Pretrained> {
    if let Some((_, (side, channels, widths, layers, groups))) = SHAPES.iter().find(|(n, _)| *n == name) {
        let config = UnetConfig::paper(*side, *channels, widths, *layers, *groups);
        let unet = Unet::new(&config, &mut stream(work::SEED, 0));
        let reverse = Reverse::new(Schedule::linear(1000));
        return Ok(Pretrained {
            unet,
            reverse,
            about: About::default(),
            autoencoder: None,
            warnings: Vec::new(),
        });
    }
    if Path::new(name).is_dir() {
        return model::load(Path::new(name));
    }
    let names = SHAPES.map(|(name, _)| name).join(", ");
    bail!(Error::argument("--model", format!("{names} or a diffusers folder"), format!("'{name}'")))
}

fn describe(name: &str, model: &Pretrained) -> String {
    let [h, w, c] = image_shape(model);
    let parameters = model.unet.count() as f64 / 1e6;
    let flops = model.unet.flops(h, w) as f64 / 1e6;
    format!("{name}: {parameters:.2} M parameters, {flops:.1} MFLOP per image {h}x{w}x{c}, forward")
}
