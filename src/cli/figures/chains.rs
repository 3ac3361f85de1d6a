//! Algorithm 2 to look at: samples, every step of denoising, and the two chains drawn with a sample's own x_t.

use super::studio::Studio;
use crate::cli::sample;
use anyhow::Result;
use ddpm::data::to_u8;
use ddpm::figures::{self, Gif, tile};
use ddpm::tensor::Batch;
use ndarray::{Axis, concatenate, s, stack};

pub(super) fn samples(studio: &Studio) -> Result<()> {
    for subject in studio.subjects() {
        let chains = subject.chains(studio.seed);
        studio.save(format!("{}samples.png", subject.prefix), &sample::samples(&chains.x0))?;
    }
    Ok(())
}

/// x_t and x̂_0 of the first samples every fifty steps, and sixteen x_t in motion.
pub(super) fn denoising(studio: &Studio) -> Result<()> {
    for subject in studio.subjects() {
        let chains = subject.chains(studio.seed);
        studio.save(
            format!("{}denoising.png", subject.prefix),
            &sample::denoising(&chains.steps, &chains.x0, 4),
        )?;
        let x_t = chains.steps.iter().map(|step| &step.x_t).chain([&chains.x0]);
        let frame = |x: &Batch| tile(&to_u8(&x.slice(s![..16, .., .., ..])), 4, 2);
        let frames: Vec<_> = x_t.map(frame).collect();
        let views: Vec<_> = frames.iter().map(|frame| frame.view()).collect();
        let frames = stack(Axis(0), &views).expect("frames of one shape");
        let gif = Gif::new(&frames, 200).scale(sample::magnified(&chains.x0, 3));
        studio.save_gif(format!("{}denoising.gif", subject.prefix), &gif)?;
    }
    Ok(())
}

/// Fig. 2, with x_T, two steps between, and x_0 of the first garment.
pub(super) fn graphical_model(studio: &Studio) -> Result<()> {
    let chains = studio.garments.chains(studio.seed);
    let T = studio.garments.model.reverse.schedule.T();
    let first = |x: &Batch| x.slice(s![..1, .., .., ..]).to_owned();
    let at = |t: usize| chains.steps.iter().find(|s| s.t == t).map_or(first(&chains.x0), |s| first(&s.x_t));
    let images = [at(T), at(T * 3 / 10), at(T / 4), first(&chains.x0)];
    let views: Vec<_> = images.iter().map(|image| image.view()).collect();
    let images = concatenate(Axis(0), &views).expect("images of one shape");
    studio.save("graphical_model.png", &figures::graphical_model(Some(&to_u8(&images))))
}
