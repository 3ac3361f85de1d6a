//! What JavaScript calls: numbers go in and come out as arguments; images and lists stand in places whose addresses it asks for.
#![allow(unsafe_code)] // for names that are not mangled; nothing here reads or writes through a pointer

use crate::{Levels, Model, PIXELS};
use std::cell::RefCell;

/// Images: two that the reader has chosen, then x_t and x̂_0.
const PLACES: usize = 4;

struct Page {
    model: Option<Model>,
    images: [Levels; PLACES],
    known: Levels,
    /// what the last question was answered with
    answer: Vec<f64>,
    /// and drawn
    chart: String,
}

thread_local! {
    static PAGE: RefCell<Page> =
        const { RefCell::new(Page { model: None, images: [[0; PIXELS]; PLACES], known: [0; PIXELS], answer: Vec::new(), chart: String::new() }) };
}

/// Asks the page's model, and keeps the answer; returns how many numbers it has.
fn ask(question: impl FnOnce(&mut Model, &mut [Levels; PLACES], &Levels) -> Vec<f64>) -> usize {
    PAGE.with_borrow_mut(|page| {
        let Some(model) = &mut page.model else { return 0 };
        page.answer = question(model, &mut page.images, &page.known);
        page.answer.len()
    })
}

/// Unpacks the network; returns T, or 0 if that fails.
#[unsafe(no_mangle)]
pub extern "C" fn load() -> usize {
    PAGE.with_borrow_mut(|page| {
        page.model = Model::new().ok();
        page.model.as_ref().map_or(0, Model::T)
    })
}

/// Where the image of a place stands: 784 bytes.
#[unsafe(no_mangle)]
pub extern "C" fn image(place: usize) -> *const u8 {
    PAGE.with_borrow(|page| page.images[place.min(PLACES - 1)].as_ptr())
}

/// Where it stands which pixels are known: 784 bytes, 0 or not.
#[unsafe(no_mangle)]
pub extern "C" fn known() -> *const u8 {
    PAGE.with_borrow(|page| page.known.as_ptr())
}

/// Where the last answer stands: as many `f64` as the question returned.
#[unsafe(no_mangle)]
pub extern "C" fn answer() -> *const f64 {
    PAGE.with_borrow(|page| page.answer.as_ptr())
}

/// Begins a sample; a class below 0 is none.
#[unsafe(no_mangle)]
pub extern "C" fn sample(seed: u32, steps: usize, class: i32, w: f64) {
    ask(|model, _, _| {
        model.sample(seed.into(), steps, usize::try_from(class).ok().filter(|&class| class < 10), w);
        vec![]
    });
}

/// Begins to fill in what is not known of image 0.
#[unsafe(no_mangle)]
pub extern "C" fn fill(seed: u32, steps: usize) {
    ask(|model, images, known| {
        model.fill(seed.into(), steps, &images[0], &known.map(|pixel| pixel != 0));
        vec![]
    });
}

/// Begins between images 0 and 1 at depth t.
#[unsafe(no_mangle)]
pub extern "C" fn between(seed: u32, steps: usize, t: usize, lambda: f64) {
    ask(|model, images, _| {
        model.between(seed.into(), steps, [&images[0], &images[1]], t, lambda);
        vec![]
    });
}

/// Takes the next step; x_t and x̂_0 are then in places 2 and 3. The answer: from which t, and to which; nothing at the end.
#[unsafe(no_mangle)]
pub extern "C" fn step() -> usize {
    ask(|model, images, _| match model.step() {
        Some((from, to, x_t, x0_hat)) => {
            (images[2], images[3]) = (x_t, x0_hat);
            vec![from as f64, to as f64]
        }
        None => vec![],
    })
}

/// Image 0 with the noise of t, and x̂_0, in places 2 and 3. The answer: L_{t−1} (L_0 for t = 1) and L_T, bits/dim.
#[unsafe(no_mangle)]
pub extern "C" fn look(seed: u32, t: usize) -> usize {
    ask(|model, images, _| {
        let t = t.clamp(1, model.T());
        (images[2], images[3]) = model.look(seed.into(), &images[0], t);
        vec![model.term(seed.into(), &images[0], t), model.prior(&images[0])]
    })
}

/// The bound of image 0 from t = 1 and `count` others, with a chart. The answer: L_T, Σ L_{t−1}, L_0, their sum, and then t and
/// term in turn.
#[unsafe(no_mangle)]
pub extern "C" fn bound(seed: u32, count: usize) -> usize {
    let mut chart = String::new();
    let numbers = ask(|model, images, _| {
        let bound = model.bound(seed.into(), &images[0], count.clamp(1, 200));
        chart = Model::chart(&bound).unwrap_or_default();
        let terms = bound.terms.into_iter().flat_map(|(t, bits)| [t as f64, bits]);
        bound.parts.into_iter().chain(terms).collect()
    });
    PAGE.with_borrow_mut(|page| page.chart = chart);
    numbers
}

/// Where the chart of the last bound stands: SVG in UTF-8.
#[unsafe(no_mangle)]
pub extern "C" fn chart() -> *const u8 {
    PAGE.with_borrow(|page| page.chart.as_ptr())
}

/// How many bytes it has.
#[unsafe(no_mangle)]
pub extern "C" fn chart_length() -> usize {
    PAGE.with_borrow(|page| page.chart.len())
}

/// Nothing here asks the system for randomness: streams have seeds.
#[cfg(target_arch = "wasm32")]
#[unsafe(no_mangle)]
unsafe extern "Rust" fn __getrandom_v03_custom(_: *mut u8, _: usize) -> Result<(), getrandom::Error> {
    Err(getrandom::Error::UNSUPPORTED)
}
