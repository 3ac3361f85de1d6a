// Solutions of notebook 10: training on garments.

use ddpm_notebook::prelude::*;

/// Backwards through x = k/127.5 − 1, to the nearest level there is.
fn to_level(x: f64) -> usize {
    (127.5 * (x + 1.0)).round().clamp(0.0, 255.0) as usize
}

/// Most is learned in the first minutes; fourteen times the steps win another quarter.
fn plateau() -> f64 {
    0.039
}

/// The checkpoint holds all that a step depends on: weights, moments, averages, and the number of the step, from which
/// the step draws its noise.
fn go_on(file: &str, data: &Dataset, steps: u64) -> Trainer {
    let mut trainer = Trainer::load(file.as_ref()).expect("a checkpoint");
    while trainer.adam.steps < steps {
        trainer.step(data).expect("a finite loss");
    }
    trainer
}

/// As it is, or mirrored, whichever is nearer.
fn nearest_garment(sample: &Array2<f64>, training: &Array3<f64>) -> (usize, f64) {
    let mut best = (0, f64::INFINITY);
    for (index, image) in training.outer_iter().enumerate() {
        for candidate in [image, image.slice(s![.., ..;-1])] {
            let distance = (sample - &candidate).mapv(|d| d * d).sum().sqrt();
            if distance < best.1 {
                best = (index, distance);
            }
        }
    }
    best
}

/// 1: its average is still the initial weights. 2: no gradient has reached its last layer. 3: NaN. 4: it says the same
/// at every t. 5: ᾱ_T = 0.66.
fn cause(patient: usize) -> char {
    match patient {
        1 => 'c',
        2 => 'e',
        3 => 'a',
        4 => 'b',
        _ => 'd',
    }
}
