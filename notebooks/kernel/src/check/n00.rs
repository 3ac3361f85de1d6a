//! 00: Rust in Jupyter.

use super::exercises;
use ddpm::prelude::{Array1, Array2, array};

type Twice = fn(f64) -> f64;
type Average = fn(&[u8]) -> f64;
type Countdown = fn(usize) -> Vec<usize>;
type BrightestRow = fn(&Array2<f64>) -> Array1<f64>;

exercises! {
    solutions: "00_rust_in_jupyter.rs";
    /// `twice(x)`: 2x.
    twice: Twice;
    /// `average(levels)`: the mean of grey levels.
    average: Average;
    /// `countdown(steps)`: T, T − 1, …, 1.
    countdown: Countdown;
    /// `brightest_row(image)`: an owned copy of the row with the largest sum.
    brightest_row: BrightestRow;
}

/// Cases, mistakes and hints.
mod define {
    use super::*;
    use crate::check::Exercise;

    pub(super) fn twice(e: Exercise<Twice>) -> Exercise<Twice> {
        e.case("x = 3", |f| f(3.0), 6.0)
            .case("x = -0.5", |f| f(-0.5), -1.0)
            .trivial(|x| x)
            .mistake("squared, not doubled", |x| x * x)
            .mistake("2 is added, not multiplied", |x| x + 2.0)
            .hint("What does `todo!()` stand for? For the value of the function: put one in its place.")
            .hint("Numbers with a decimal point are f64: write 2.0, not 2.")
            .hint("The body is one line: 2.0 * x. No semicolon at its end, so that it is the result.")
    }

    pub(super) fn average(e: Exercise<Average>) -> Exercise<Average> {
        e.case("[10, 20]", |f| f(&[10, 20]), 15.0)
            .case("[1, 2], whose mean is no integer", |f| f(&[1, 2]), 1.5)
            .case("[200, 100, 255], whose sum is larger than a u8", |f| f(&[200, 100, 255]), 185.0)
            .mistake("the sum of u8 wraps around at 256: convert each level first", |levels| {
                f64::from(levels.iter().fold(0_u8, |sum, &level| sum.wrapping_add(level)))
                    / levels.len() as f64
            })
            .mistake("a division of integers drops what is behind the point", |levels| {
                (levels.iter().map(|&level| usize::from(level)).sum::<usize>() / levels.len()) as f64
            })
            .mistake("the sum, not the mean", |levels| levels.iter().map(|&level| f64::from(level)).sum())
            .hint("A mean is a sum divided by a number of things. Which of the two could go wrong with `u8`?")
            .hint("Turn each level into an f64 before you add: `.map(|&level| level as f64)`.")
            .hint("levels.iter().map(|&level| level as f64).sum::<f64>() / levels.len() as f64")
    }

    pub(super) fn countdown(e: Exercise<Countdown>) -> Exercise<Countdown> {
        e.case("T = 3", |f| f(3), vec![3_usize, 2, 1])
            .case("T = 1", |f| f(1), vec![1_usize])
            .case("T = 1000", |f| f(1000), (1..=1000_usize).rev().collect::<Vec<_>>())
            .mistake("empty: a range from large to small holds nothing", |_| Vec::new())
            .mistake("0 is not a step: the last one is t = 1", |steps| (0..=steps).rev().collect())
            .mistake("T is missing: `1..T` ends before T, `1..=T` with it", |steps| {
                (1..steps).rev().collect()
            })
            .mistake("upwards", |steps| (1..=steps).collect())
            .hint("You know the range that counts up. Is there a way to read it from its other end?")
            .hint("A range is an iterator, and iterators can be turned round with `.rev()`.")
            .hint("(1..=steps).rev().collect()")
    }

    pub(super) fn brightest_row(e: Exercise<BrightestRow>) -> Exercise<BrightestRow> {
        let image = array![[1.0, 9.0, 0.0], [4.0, 4.0, 4.0], [8.0, 1.0, 1.0]];
        let (first, tall) = (image.clone(), array![[0.0, -1.0], [-3.0, 1.0], [0.5, 2.0], [1.0, 1.0]]);
        e.case("[[1, 9, 0], [4, 4, 4], [8, 1, 1]]", move |f| f(&first), image.row(1).to_owned())
            .case("[[0, -1], [-3, 1], [0.5, 2], [1, 1]]", move |f| f(&tall), array![0.5, 2.0])
            .trivial(|image| image.row(0).to_owned())
            .trivial(|image| image.row(image.nrows() - 1).to_owned())
            .mistake("a column, not a row", |image| brightest(image.t().to_owned()))
            .mistake("the row with the brightest pixel, not with the largest sum", |image| {
                let max = |row: usize| image.row(row).fold(f64::NEG_INFINITY, |a, &b| a.max(b));
                let best = (0..image.nrows()).max_by(|&a, &b| max(a).total_cmp(&max(b)));
                image.row(best.unwrap_or(0)).to_owned()
            })
            .mistake("the darkest row", |image| brightest(-image).mapv_into(|x| -x))
            .hint("Two things are asked for: find a row, and hand it out. What does it cost to hand out a part of somebody else's array?")
            .hint("`image.row(i)` is a view: it borrows from `image`. `.to_owned()` makes a copy that lives on its own.")
            .hint("Keep the index of the best row in a `let mut best = 0;`, go through `0..image.nrows()`, and compare `image.row(i).sum()`.")
    }
}

/// The row with the largest sum.
fn brightest(image: Array2<f64>) -> Array1<f64> {
    let best = (0..image.nrows()).max_by(|&a, &b| image.row(a).sum().total_cmp(&image.row(b).sum()));
    image.row(best.unwrap_or(0)).to_owned()
}
