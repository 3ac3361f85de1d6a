use super::elbo::{ElboTerms, Term, decomposition, stacked, weights};
use super::*;
use crate::data::{fashion_mnist_test, paintings};
use crate::rng::{normal, stream};
use ndarray::{Array1, Array4, Axis, concatenate};

/// ᾱ_0..=ᾱ_1000 of the paper's schedule.
fn alpha_bar() -> Vec<f64> {
    let beta = |t: usize| 1e-4 + (0.02 - 1e-4) * (t - 1) as f64 / 999.0;
    (0..=1000)
        .scan(1.0, |a, t| {
            if t > 0 {
                *a *= 1.0 - beta(t)
            }
            Some(*a)
        })
        .collect()
}

/// w_t of Eq. 12 for both fixed variances, t = 2..=1000.
fn step_weights() -> [Vec<(usize, f64)>; 2] {
    let a = alpha_bar();
    let both = |t: usize| {
        let alpha = a[t] / a[t - 1];
        let beta = 1.0 - alpha;
        [beta / (2.0 * alpha * (1.0 - a[t])), beta / (2.0 * alpha * (1.0 - a[t - 1]))]
    };
    [0, 1].map(|k| (2..=1000).map(|t| (t, both(t)[k])).collect())
}

/// The terms a decent model might have.
fn terms() -> Vec<ElboTerms> {
    let error = |t: usize| 0.85 / (1.0 + (t as f64 / 9.0).powf(1.15)) + 5e-4;
    let a = alpha_bar();
    let wobble: Array1<f64> = normal(1001, &mut stream(1, 0));
    let names = ["σ_{t}^{2} = β_{t}", "σ_{t}^{2} = β̃_{t}"];
    let model = |k: usize| ElboTerms {
        name: names[k].into(),
        L_0: Term { t: 1, mean: 1.97, std_error: 0.03 },
        L_T: Term { t: 1000, mean: 1.02e-5, std_error: 0.0 },
        L_t_minus_1: step_weights()[k]
            .iter()
            .map(|&(t, w)| {
                let ratio = (1.0 - a[t]) / (1.0 - a[t - 1]);
                let constant = if k == 0 { 0.5 * (ratio.ln() - 1.0 + 1.0 / ratio) } else { 0.0 };
                let mean = (w * error(t) * (1.0 + 0.08 * wobble[t]) + constant) / std::f64::consts::LN_2;
                Term { t, mean, std_error: 0.08 * mean }
            })
            .collect(),
    };
    vec![model(0), model(1)]
}

fn garments(n: usize) -> Array4<u8> {
    fashion_mnist_test().select(&(0..n).collect::<Vec<_>>()).pixels
}

/// One of each kind of figure, with what its SVG must say.
fn examples() -> Vec<(&'static str, Figure, &'static [&'static str])> {
    let steps: Vec<f64> = (1..=2000).map(|i| 10.0 * f64::from(i)).collect();
    let noise: Array1<f64> = normal(2000, &mut stream(2, 0));
    let loss = |plateau: f64| {
        steps
            .iter()
            .zip(&noise)
            .map(|(s, z)| (plateau + 3.0 / (s / 4.0).powf(0.9)) * (0.12 * z).exp())
            .collect()
    };
    let curve =
        |name: &str, plateau| LossCurve { name: name.into(), steps: steps.clone(), losses: loss(plateau) };
    let rates: Vec<_> = (1..=1000)
        .map(|n| {
            let s = f64::from(n) / 1000.0;
            RatePoint {
                reverse_steps: n as usize,
                rate: 1.7758 * (-(1.0 - s) * 25.0).exp() + 0.12 * s.powi(6),
                rmse: 74.0 * (1.0 - s.powf(1.25)) + 0.95,
            }
        })
        .collect();
    let cosine: Vec<f64> = (0..=1000)
        .map(|t| ((f64::from(t) / 1000.0 + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2))
        .collect();
    let schedule = |name: &str, alpha_bar| ScheduleCurve { name: name.into(), alpha_bar };
    let [w_beta, w_tilde] = step_weights();
    let bump = |x: f64, m: f64, s: f64| (-0.5 * ((x - m) / s).powi(2)).exp() / s;
    let density = ndarray::Array2::from_shape_fn((80, 50), |(i, j)| {
        let (x, a) = (-2.0 + 4.0 * (i as f64 + 0.5) / 80.0, 1.0 - j as f64 / 50.0);
        bump(x, a, 0.1 + 0.7 * (1.0 - a)) + bump(x, -a, 0.1 + 0.7 * (1.0 - a))
    });
    let path_t: Vec<f64> = (0..=50).map(f64::from).collect();
    let path: Vec<f64> = path_t.iter().map(|t| 0.9 - t / 60.0).collect();
    let points = crate::data::toy::dinosaur(2000, &mut stream(0, 0));
    let (x, y) = (points.column(0).to_vec(), points.column(1).to_vec());
    let lambda = ["Source", "Rec."]
        .into_iter()
        .map(String::from)
        .chain((1..10).map(|l| format!("λ = 0.{l}")))
        .chain(["Rec.".into(), "Source".into()]);
    let samples = paintings(32).fixed(60).pixels;
    let rows = [1000, 875, 750, 625, 500, 375, 250, 125, 0].map(|t| format!("t = {t}"));
    let few = |terms: &ElboTerms| ElboTerms {
        L_t_minus_1: terms.L_t_minus_1[..49].to_vec(),
        L_T: Term { t: 50, mean: 0.34, std_error: 0.01 },
        ..terms.clone()
    };
    let model_images = concatenate![Axis(0), garments(1), garments(3)];
    vec![
        ("elbo", decomposition(&terms()), &["bits/dim", "Every term", "Equal areas", " = ", "Added up"]),
        ("elbo_few_steps", decomposition(&terms().iter().map(few).collect::<Vec<_>>()), &["bits/dim"]),
        ("elbo_one", decomposition(&terms()[..1]), &["bits/dim"]),
        (
            "elbo_stacked",
            stacked(&terms().iter().map(|terms| (few(terms), 3.5)).collect::<Vec<_>>(), 3.2),
            &["bits/dim", "exact", "entropy of the data"],
        ),
        (
            "weights",
            weights(&[("σ^{2} = β", &w_beta), ("σ^{2} = β̃", &w_tilde)]),
            &["share of the total weight", "simple"],
        ),
        (
            "rate_distortion",
            rate_distortion(&[("garments", &rates)]),
            &["rate, bits/dim", "distortion, RMSE on [0, 255]", "reverse process steps"],
        ),
        (
            "schedules",
            schedules(&[schedule("linear", alpha_bar()), schedule("cosine", cosine)]),
            &["nats", "cosine"],
        ),
        (
            "loss",
            loss_curves(&[curve("garments", 0.03), curve("paintings", 0.055)], 50),
            &["training step", "paintings"],
        ),
        ("points", Chart::new("x_{1}", "x_{2}").square().points("", &x, &y).figure(), &["x"]),
        (
            "density",
            Chart::new("t", "x_{t}")
                .heat((0.0, 50.0), (-2.0, 2.0), &density)
                .line("a path", &path_t, &path)
                .figure(),
            &["a path", "<image"],
        ),
        ("samples", Grid::new(&samples, 10).figure(), &["<image"]),
        (
            "interpolation",
            Grid::new(&garments(117), 13).scale(2).column_labels(lambda).row_labels(rows).figure(),
            &["λ = 0.5", "t = 875"],
        ),
        (
            "diagram",
            Diagram::new()
                .node("x\n1e−4", (0.0, 0.0), 0.0)
                .node("conv 3×3\n2e−7", (1.0, 0.0), 1.0)
                .node("x_{t}", (0.5, 1.5), 0.3)
                .arrow(0, 1)
                .dashed(0, 2)
                .arrow(2, 1)
                .figure(),
            &["conv 3×3", "<polygon"],
        ),
        ("graphical_model", graphical_model(None), &["stroke-width"]),
        ("graphical_model_images", graphical_model(Some(&model_images)), &["<image"]),
    ]
}

/// Draws every example; with `DDPM_FIGURES=folder` it also saves them there, to be looked at.
#[test]
fn every_figure_is_a_png_of_its_size_and_an_svg_with_its_labels() {
    let folder = std::env::var_os("DDPM_FIGURES").map(std::path::PathBuf::from);
    for (name, figure, labels) in examples() {
        let png = figure.to_png().unwrap();
        let decoded = image::load_from_memory(&png).unwrap().into_rgb8();
        assert_eq!(decoded.dimensions(), figure.size(), "{name}");
        assert!(decoded.pixels().any(|p| p.0 != [255; 3]), "{name} is blank");
        let svg = figure.to_svg().unwrap();
        well_formed(&svg);
        labels.iter().for_each(|label| assert!(svg.contains(label), "{name}: no '{label}'"));
        if let Some(folder) = &folder {
            std::fs::create_dir_all(folder).unwrap();
            figure.save(folder.join(name).with_extension("png")).unwrap();
            figure.save(folder.join(name).with_extension("svg")).unwrap();
        }
    }
}

/// Every tag of the document is closed in its order, and nothing else holds `<` or a bare `&`.
#[track_caller]
fn well_formed(svg: &str) {
    let mut open = Vec::new();
    for piece in svg.split('<').skip(1) {
        let (tag, text) = piece.split_once('>').expect("an unclosed tag");
        assert!(!text.contains('>'), "a bare > in {piece}");
        assert_eq!(tag.matches('"').count() % 2, 0, "an unclosed quote in {tag}");
        let name = tag.split_whitespace().next().unwrap();
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name)),
            None if tag.ends_with('/') => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?} left open");
    assert!(
        svg.split('&')
            .skip(1)
            .all(|s| ["amp;", "lt;", "gt;", "quot;", "apos;"].iter().any(|e| s.starts_with(e)))
    );
}

#[test]
fn the_same_data_give_the_same_bytes_in_every_thread() {
    let draw = || {
        let figure = Chart::new("t", "L_{t−1}, bits/dim")
            .line("a & b < c", &[1.0, 2.0, 3.0], &[1.0, 3.0, 2.0])
            .figure();
        (figure.to_png().unwrap(), figure.to_svg().unwrap())
    };
    let first = draw();
    let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(draw)).collect();
    threads.into_iter().for_each(|thread| assert!(thread.join().unwrap() == first));
    assert!(first.1.contains("a &amp; b &lt; c"));
}

#[test]
fn a_chart_survives_whatever_numbers_it_gets() {
    for scale in [Scale::Linear, Scale::Log] {
        for values in [
            &[][..],
            &[1.0],
            &[f64::NAN; 3],
            &[0.0, 0.0, 0.0],
            &[-1.0, f64::INFINITY, 1e300],
            &[1e-300, 1.0, 1e300],
            &[5.0, 5.0, 5.0 + 1e-15],
        ] {
            let x: Vec<_> = (0..values.len()).map(|i| i as f64).collect();
            let chart =
                Chart::new("x", "y").scales(scale, scale).line("l", &x, values).points("p", values, &x);
            let figure = chart.band(&x, values, values).bars(&x, values, values).note("n", 0.0, 0.0).figure();
            well_formed(&figure.to_svg().unwrap());
            figure.to_png().unwrap();
        }
    }
}

/// ᾱ_T = 0: a log SNR of −∞, an infinite weight of the last step, and no L_T.
#[test]
fn a_chain_that_ends_in_pure_noise_is_drawn() {
    let mut alpha_bar = alpha_bar();
    *alpha_bar.last_mut().unwrap() = 0.0;
    let [mut infinite, _] = step_weights();
    let finite = infinite[..infinite.len() - 1].to_vec();
    infinite.last_mut().unwrap().1 = f64::INFINITY;
    let mut terms = terms();
    terms.iter_mut().for_each(|terms| (terms.L_T.mean, terms.L_T.std_error) = (0.0, 0.0));
    let shares = |w: &[(usize, f64)]| weights(&[("σ^{2} = β", w)]).to_svg().unwrap();
    let schedules = schedules(&[ScheduleCurve { name: "rescaled".into(), alpha_bar }]).to_svg().unwrap();
    for svg in [&schedules, &shares(&infinite), &decomposition(&terms).to_svg().unwrap()] {
        well_formed(svg);
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }
    // the other steps keep their shares: the curve is there
    let blue = |w: &[(usize, f64)]| shares(w).matches("#0072B2").count();
    assert_eq!(blue(&infinite), blue(&finite));
}

#[test]
fn a_line_is_cut_at_the_edge_of_a_given_range() {
    let chart = |y: [f64; 2]| {
        Chart::new("x", "y").y_range(0.0, 1.0).x_range(0.0, 1.0).line("", &[0.0, 1.0], &y).figure()
    };
    let blue = |figure: Figure| figure.to_svg().unwrap().matches("#0072B2").count();
    assert_eq!((blue(chart([0.5, 0.5])), blue(chart([-5.0, 5.0])), blue(chart([5.0, 7.0]))), (1, 1, 0));
    let figure = chart([-50.0, 50.0]).to_png().unwrap();
    let pixels = image::load_from_memory(&figure).unwrap().into_rgb8();
    assert_eq!(pixels.rows().next().unwrap().filter(|p| p.0 != [255; 3]).count(), 0);
}

#[test]
fn a_grid_shows_its_pixels_unchanged() {
    let images = Array4::from_shape_fn((3, 2, 2, 3), |(n, y, x, c)| (90 * n + 31 * y + 17 * x + 5 * c) as u8);
    let figure = Grid::new(&images, 2).scale(5).gap(3).figure();
    assert_eq!(figure.size(), (3 + 10 + 3 + 10 + 3, 3 + 10 + 3 + 10 + 3));
    let pixels = image::load_from_memory(&figure.to_png().unwrap()).unwrap().into_rgb8();
    for ((n, y, x, c), &level) in images.indexed_iter() {
        let place = |index: usize, i: usize| (3 + index * 13 + i * 5 + 2) as u32;
        assert_eq!(pixels.get_pixel(place(n % 2, x), place(n / 2, y)).0[c], level);
    }
    assert_eq!(pixels.get_pixel(20, 20).0, [255; 3]); // the fourth place is empty
    let tiled = tile(&images, 2, 1);
    assert_eq!((tiled.dim(), tiled[[3, 1, 2]], tiled[[2, 0, 0]]), ((5, 5, 3), images[[2, 0, 1, 2]], 255));
}

#[test]
fn a_heat_map_is_darkest_where_its_values_are_largest() {
    let values = ndarray::array![[0.0, 0.0], [0.0, 1.0]];
    let figure = Chart::new("x", "y").heat((0.0, 1.0), (0.0, 1.0), &values).figure();
    let pixels = image::load_from_memory(&figure.to_png().unwrap()).unwrap().into_rgb8();
    let blue: Vec<_> = pixels.enumerate_pixels().filter(|(.., p)| p.0 == [0x00, 0x72, 0xb2]).collect();
    // the second row is the upper half, the second column the right one
    assert!(blue.len() > 50_000 && blue.iter().all(|(x, y, _)| *x > 400 && *y < 300), "{}", blue.len());
}

#[test]
fn a_notebook_gets_a_block_of_base64() {
    assert_eq!(notebook_block("image/png", b"abc"), "EVCXR_BEGIN_CONTENT image/png\nYWJj\nEVCXR_END_CONTENT");
}

#[test]
fn halving_averages_two_by_two() {
    let rgb = [0, 10, 20, 4, 10, 20, 8, 10, 20, 12, 10, 22]; // two rows of two pixels
    assert_eq!(halved(&rgb, 6), [6, 10, 21]);
}

#[test]
fn a_gif_keeps_its_frames() {
    use image::AnimationDecoder;
    let gif = Gif::new(&garments(3), 80).scale(2);
    let decoder = image::codecs::gif::GifDecoder::new(std::io::Cursor::new(gif.to_gif().unwrap())).unwrap();
    let frames = decoder.into_frames().collect_frames().unwrap();
    assert_eq!(frames.len(), 3);
    assert_eq!(frames[0].buffer().dimensions(), (56, 56));
    let images = garments(3);
    for (n, frame) in frames.iter().enumerate() {
        let grey = |x: u32, y: u32| images[[n, y as usize / 2, x as usize / 2, 0]];
        assert!(
            frame
                .buffer()
                .enumerate_pixels()
                .all(|(x, y, p)| p.0 == [grey(x, y), grey(x, y), grey(x, y), 255])
        );
    }
    let folder = tempfile::tempdir().unwrap();
    gif.save(folder.path().join("a.gif")).unwrap();
    let text = gif.save("a.png").unwrap_err().to_string();
    assert_eq!(text, "a.png: expected a file name that ends in .gif, found '.png'");
}

#[test]
fn files_are_written_by_extension_and_errors_name_them() {
    let figure = graphical_model(None);
    let folder = tempfile::tempdir().unwrap();
    for (name, start) in [("a.png", &b"\x89PNG"[..]), ("a.SVG", b"<svg")] {
        figure.save(folder.path().join(name)).unwrap();
        assert!(std::fs::read(folder.path().join(name)).unwrap().starts_with(start));
    }
    let text = figure.save("a.jpg").unwrap_err().to_string();
    assert_eq!(text, "a.jpg: expected a file name that ends in .png or .svg, found '.jpg'");
    assert!(figure.save("/nowhere/a.png").unwrap_err().to_string().starts_with("/nowhere/a.png: "));
}

#[test]
#[should_panic(expected = "Grid: 1 row labels, 2 rows")]
fn a_row_without_a_label_panics() {
    Grid::new(&garments(4), 2).row_labels(["a"]);
}

#[test]
#[should_panic(expected = "Chart: 2 x values, 1 y values")]
fn unequal_slices_panic() {
    Chart::new("x", "y").line("", &[0.0, 1.0], &[0.0]);
}

#[test]
#[should_panic(expected = "graphical_model: 3 images")]
fn a_model_with_three_images_panics() {
    graphical_model(Some(&garments(3)));
}
