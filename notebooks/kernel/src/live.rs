//! A loss that is plotted while it falls.
//!
//! What a cell prints arrives line by line, but a picture only when the cell ends. So a first cell shows an image
//! that asks for its file again every second, and the training cell, the next one, writes that file.

use crate::display::show;
use ddpm::figures::{LossCurve, loss_curves};
use ddpm::{Result, files};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The folder of the files, inside the folder of the notebooks, which JupyterLab serves under `/files`.
const FOLDER: &str = "live";

/// Losses, printed every few seconds with speed and time left, and plotted.
///
/// ```text
/// let mut plot = LossPlot::new("garments", 300, 64); // 300 steps of 64 images
/// plot                                               // last expression: shows the picture
/// // next cell
/// for _ in 0..300 { plot.push(trainer.step(&data)?.loss); }
/// plot.figure()
/// ```
#[derive(Clone, Debug)]
pub struct LossPlot {
    name: String,
    folder: PathBuf,
    steps: usize,
    batch: usize,
    losses: Vec<f64>,
    started: Option<Instant>,
    printed: Option<Instant>,
    drawn: Option<Instant>,
}

impl LossPlot {
    /// A plot of the losses of `steps` steps on `batch` images each.
    pub fn new(name: &str, steps: usize, batch: usize) -> LossPlot {
        LossPlot {
            name: name.to_string(),
            folder: Path::new(FOLDER).to_path_buf(),
            steps,
            batch,
            losses: Vec::new(),
            started: None,
            printed: None,
            drawn: None,
        }
    }

    /// Adds the loss of a step: prints a line every five seconds, and draws the picture at most once a second.
    pub fn push(&mut self, loss: f64) {
        let now = Instant::now();
        let started = *self.started.get_or_insert(now);
        self.losses.push(loss);
        let last = self.losses.len() == self.steps;
        if last || due(&mut self.printed, now, Duration::from_secs(5)) {
            println!("{}", self.line(now - started));
        }
        if (last || due(&mut self.drawn, now, Duration::from_secs(1)))
            && let Err(error) = self.draw()
        {
            println!("no live plot: {error}");
        }
    }

    /// Step, mean of the last 20 losses, images per second, seconds left.
    fn line(&self, elapsed: Duration) -> String {
        let step = self.losses.len();
        let recent = &self.losses[step.saturating_sub(20)..];
        let mean = recent.iter().sum::<f64>() / recent.len() as f64;
        // the clock started at the end of the first step
        let seconds_per_step = elapsed.as_secs_f64() / (step - 1).max(1) as f64;
        if step == 1 {
            return format!("step {step:5}/{}   loss {mean:.4}", self.steps);
        }
        let left = seconds_per_step * self.steps.saturating_sub(step) as f64;
        let speed = self.batch as f64 / seconds_per_step;
        format!("step {step:5}/{}   loss {mean:.4}   {speed:6.0} images/s   {left:4.0} s left", self.steps)
    }

    /// All losses so far, and their moving average.
    pub fn figure(&self) -> ddpm::figures::Figure {
        let steps = (1..=self.losses.len()).map(|step| step as f64).collect();
        let curve = LossCurve { name: self.name.clone(), steps, losses: self.losses.clone() };
        loss_curves(&[curve], self.losses.len() / 20)
    }

    /// The losses so far.
    pub fn losses(&self) -> &[f64] {
        &self.losses
    }

    fn file(&self) -> PathBuf {
        self.folder.join(format!("{}.svg", self.name))
    }

    fn draw(&self) -> Result<()> {
        std::fs::create_dir_all(&self.folder).map_err(ddpm::Error::io(&self.folder))?;
        files::write_atomically(&self.file(), self.figure().to_svg()?.as_bytes())
    }

    /// Shows the picture, which follows the losses in JupyterLab; nothing where no one looks.
    pub fn evcxr_display(&self) {
        if std::env::var_os("NB_STRICT").is_some() {
            return println!(
                "(a live plot stands here in JupyterLab; the next figure shows the whole curve)"
            );
        }
        let again = "setTimeout(() => { this.src = this.dataset.src + '?' + Date.now() }, 1000)";
        let file = self.file();
        let image = format!(
            "<img data-src=\"/files/{0}\" src=\"/files/{0}\" onload=\"{again}\" onerror=\"{again}\" width=\"640\" \
             alt=\"the loss appears here when training begins\">",
            file.display()
        );
        show("text/html", &image);
    }
}

/// Whether `pause` is over since the time in `last`, which then becomes `now`.
fn due(last: &mut Option<Instant>, now: Instant, pause: Duration) -> bool {
    let due = last.is_none_or(|last| now - last >= pause);
    if due {
        *last = Some(now);
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_is_there_after_the_first_loss_and_after_the_last() -> Result<()> {
        let folder = tempfile::tempdir().expect("a folder");
        let mut plot = LossPlot::new("test", 3, 64);
        plot.folder = folder.path().join("live");
        plot.push(1.0);
        let first = std::fs::read_to_string(plot.file()).expect("a picture");
        plot.push(0.5);
        plot.push(0.25);
        let last = std::fs::read_to_string(plot.file()).expect("a picture");
        assert!(first.starts_with("<svg") && last.starts_with("<svg") && first != last);
        assert_eq!(plot.losses(), [1.0, 0.5, 0.25]);
        Ok(())
    }

    #[test]
    fn speed_and_time_left() {
        let mut plot = LossPlot::new("test", 11, 64);
        plot.losses = vec![1.0, 2.0, 3.0];
        let line = plot.line(Duration::from_secs(4)); // the first step is not in it: two seconds a step
        assert_eq!(line, "step     3/11   loss 2.0000       32 images/s     16 s left");
    }
}
