use super::*;
use crate::nn::gradient_check::{check, check_all, inner, shaken};
use crate::params::Params;
use crate::rng::{normal, stream};

/// Every shape of network that a configuration can ask for: levels, attention, heads, time, padding, channels.
fn variants() -> Vec<(&'static str, UnetConfig, (usize, usize))> {
    let all = |config: &UnetConfig, kind| {
        let levels = config.block_out_channels.len();
        UnetConfig {
            down_block_types: vec![kind; levels],
            up_block_types: vec![kind; levels],
            ..config.clone()
        }
    };
    let paper = UnetConfig::paper(8, 1, &[4, 8], 1, 2);
    let up_only = UnetConfig {
        up_block_types: vec![BlockType::Plain, BlockType::Attention],
        ..all(&paper, BlockType::Plain)
    };
    vec![
        ("one level", UnetConfig::paper(3, 1, &[4], 2, 2), (3, 5)),
        ("two levels", paper.clone(), (4, 6)),
        ("three levels", UnetConfig::paper(8, 2, &[4, 6, 8], 2, 2), (4, 8)),
        ("four levels", UnetConfig::paper(8, 1, &[4, 4, 8, 8], 1, 4), (8, 16)),
        ("attention everywhere", all(&paper, BlockType::Attention), (4, 2)),
        ("attention nowhere but in the middle", all(&paper, BlockType::Plain), (4, 4)),
        ("attention on the way up only", up_only, (4, 4)),
        ("heads", UnetConfig { attention_head_dim: Some(2), ..all(&paper, BlockType::Attention) }, (4, 4)),
        ("cosines first", UnetConfig { flip_sin_to_cos: true, freq_shift: 0.0, ..paper.clone() }, (4, 4)),
        ("padding all around", UnetConfig { downsample_padding: 1, ..paper.clone() }, (6, 4)),
        ("classes", UnetConfig { num_class_embeds: Some(5), ..paper.clone() }, (4, 4)),
        ("learned variance", UnetConfig { in_channels: 3, out_channels: 6, ..paper }, (4, 4)),
    ]
}

fn random(shape: (usize, usize, usize, usize), seed: u64) -> Tensor4 {
    normal(shape, &mut stream(seed, 0))
}

/// A network all of whose layers do something.
fn awake(config: &UnetConfig) -> Unet {
    shaken(Unet::new(config, &mut stream(1, 0)), 0.1)
}

fn small() -> Unet {
    awake(&UnetConfig::paper(8, 1, &[4, 8], 1, 2))
}

#[test]
fn forward_and_inference_agree() {
    for (name, config, (h, w)) in variants() {
        let unet = awake(&config);
        let x = random((3, h, w, config.in_channels), 2);
        let y = unet.infer(&x, &[1, 500, 1000]);
        assert_eq!(y.dim(), (3, h, w, config.out_channels), "{name}");
        let size = y.iter().fold(0.0f32, |m, y| m.max(y.abs()));
        let (forward, _) = unet.forward(x.clone(), &[1, 500, 1000], &mut []);
        assert!((forward - &y).iter().all(|d| d.abs() < 1e-5 * size), "{name}");
        let other_time = unet.infer(&x, &[2, 500, 1000]);
        assert!(
            other_time.index_axis(Axis(0), 0) != y.index_axis(Axis(0), 0),
            "{name}: the time does nothing"
        );
        assert!(other_time.index_axis(Axis(0), 1) == y.index_axis(Axis(0), 1), "{name}: images mix");
    }
}

/// Through the whole network along random directions: by the image, and by all parameters at once.
#[test]
fn gradients_of_every_variant() {
    for (name, config, (h, w)) in variants() {
        let unet = awake(&config);
        let (x, t) = (random((2, h, w, config.in_channels), 2), [3, 700]);
        let g = random((2, h, w, config.out_channels), 3);
        let mut grad = unet.zeros_like();
        let dx = unet.backward(unet.forward(x.clone(), &t, &mut []).1, &g, &mut grad);
        check(&format!("{name}: x"), &x, &dx, |x| inner(&unet.infer(x, &t), &g));

        check_all(&format!("{name}: parameters"), &unet, &grad, |unet| inner(&unet.infer(&x, &t), &g));
    }
}

#[test]
fn a_fresh_network_says_nothing() {
    for (name, config, (h, w)) in variants() {
        let y = Unet::new(&config, &mut stream(1, 0)).infer(&random((1, h, w, config.in_channels), 2), &[10]);
        assert!(y.iter().all(|y| y.abs() < 1e-4), "{name}");
    }
}

#[test]
fn dropout_needs_its_streams_and_is_off_at_inference() {
    let config = UnetConfig { dropout: 0.5, ..UnetConfig::paper(8, 1, &[4, 8], 1, 2) };
    let unet = awake(&config);
    let x = random((2, 4, 4, 1), 2);
    let run = |seed| unet.forward(x.clone(), &[5, 6], &mut [stream(seed, 0), stream(seed, 1)]).0;
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
    let dry = Unet { config: UnetConfig { dropout: 0.0, ..config.clone() }, ..unet.clone() };
    assert_eq!(unet.infer(&x, &[5, 6]), dry.infer(&x, &[5, 6]));
}

#[test]
fn a_prediction_does_not_depend_on_the_split() {
    let unet = small();
    let x: Batch = normal((11, 4, 4, 1), &mut stream(2, 0));
    let t: Vec<usize> = (1..=11).map(|i| 90 * i).collect();
    let whole = unet.predict(&x, &t);
    for size in [1, 2, 3, 4, 5, 11] {
        let parts = x.axis_chunks_iter(Axis(0), size).zip(t.chunks(size));
        let parts: Vec<Batch> = parts.map(|(x, t)| unet.predict(&x.to_owned(), t)).collect();
        let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
        assert_eq!(concatenate(Axis(0), &views).unwrap(), whole, "in parts of {size}");
    }
}

/// The same numbers in another order in memory are the same images, on the way in and on the way back.
#[test]
fn the_layout_in_memory_does_not_matter() {
    let unet = small();
    let (x, g) = (random((2, 4, 6, 1), 2), random((2, 4, 6, 1), 3));
    let relaid = |x: &Tensor4| x.t().as_standard_layout().into_owned().reversed_axes();
    assert!(!relaid(&x).is_standard_layout() && relaid(&x) == x);
    let run = |x: Tensor4, g: &Tensor4| {
        let mut grad = unet.zeros_like();
        let (y, cache) = unet.forward(x, &[3, 4], &mut []);
        (y, unet.backward(cache, g, &mut grad), grad.slices().concat())
    };
    assert_eq!(run(relaid(&x), &relaid(&g)), run(x.clone(), &g));
    assert_eq!(unet.infer(&relaid(&x), &[3, 4]), unet.infer(&x, &[3, 4]));
    let x64 = x.mapv(f64::from);
    let relaid64 = x64.t().as_standard_layout().into_owned().reversed_axes();
    assert_eq!(unet.predict(&relaid64, &[3, 4]), unet.predict(&x64, &[3, 4]));
}

#[test]
#[should_panic(expected = "U-Net: 1 times for [2, 4, 4, 1]")]
fn one_time_per_image() {
    small().infer(&random((2, 4, 4, 1), 1), &[1]);
}

#[test]
#[should_panic(expected = "U-Net: 4 times for [5, 4, 4, 1]")]
fn one_time_per_image_of_all_groups() {
    small().predict(&Batch::zeros((5, 4, 4, 1)), &[1; 4]);
}

#[test]
#[should_panic(expected = "U-Net of 1 channels on [1, 4, 4, 3]")]
fn channels_of_the_image() {
    small().infer(&random((1, 4, 4, 3), 1), &[1]);
}

#[test]
#[should_panic(expected = "U-Net of 2 levels on [1, 4, 5, 1]: height and width must be multiples of 2")]
fn sides_must_halve() {
    small().forward(random((1, 4, 5, 1), 1), &[1], &mut []);
}

/// A fresh table of classes changes nothing without a class; with one each image gets what its class is told.
#[test]
fn an_image_is_told_its_class() {
    let plain = UnetConfig::paper(8, 1, &[4, 8], 1, 2);
    let config = UnetConfig { num_class_embeds: Some(4), ..plain.clone() };
    let [fresh, without] = [&config, &plain].map(|config| Unet::new(config, &mut stream(1, 0)));
    let x = random((3, 4, 4, 1), 2);
    let given = Given { class: Some(vec![Some(2), None, Some(0)]), known: None };
    let classes = |unet: &Unet| unet.infer_given(&x, &[5, 6, 7], &given);
    assert_eq!(fresh.infer(&x, &[5, 6, 7]), without.infer(&x, &[5, 6, 7]));
    assert_ne!(classes(&fresh), without.infer(&x, &[5, 6, 7]));
    let unet = awake(&config);
    let y = classes(&unet);
    let none = unet.infer(&x, &[5, 6, 7]);
    let last = unet.infer_given(&x, &[5, 6, 7], &Given::classes(&[3; 3]));
    assert_eq!(none, last, "no class is the last row");
    let same = |n: usize| y.index_axis(Axis(0), n) == none.index_axis(Axis(0), n);
    assert_eq!([same(0), same(1), same(2)], [false, true, false]);
    // as a denoiser: in groups, by numbers of images
    let x64 = x.mapv(f64::from);
    let query = Query { images: Some(&[2, 0, 1]), given: &given, ..Query::new(&x64, &[5, 6, 7]) };
    let turned = Given { class: Some(vec![Some(0), Some(2), None]), known: None };
    assert_eq!(unet.answer(&query), unet.infer_given(&x, &[5, 6, 7], &turned).mapv(f64::from));
}

/// `[m x_0, (1 − m) x_t, m]`: what is noisy where a pixel is known, and what is known where it is not, changes nothing.
#[test]
fn an_image_is_told_pixels() {
    let config = UnetConfig { in_channels: 5, out_channels: 2, ..UnetConfig::paper(8, 2, &[4, 8], 1, 2) };
    let unet = awake(&config);
    let (x, values) = (random((2, 4, 4, 2), 2), random((2, 4, 4, 2), 3).mapv(f64::from));
    let mask = Batch::from_shape_fn((2, 4, 4, 1), |(n, y, _, _)| f64::from((y + n) % 2 == 0));
    let see = |x: &Tensor4, values: &Batch| {
        let given = Given { class: None, known: Some(Known { values: values.clone(), mask: mask.clone() }) };
        unet.forward_given(x.clone(), &[5, 9], &given, &mut []).0
    };
    let y = see(&x, &values);
    assert_eq!(y.dim(), (2, 4, 4, 2));
    let keep = mask.mapv(|m| m as f32);
    let (noise, other) = (random((2, 4, 4, 2), 4), values.mapv(|v| v + 1.0));
    assert_eq!(see(&(&x + &(&noise * &keep)), &values), y);
    assert_eq!(see(&x, &(&values + &(&other * &mask.mapv(|m| 1.0 - m)))), y);
    assert_ne!(see(&x, &(&values + &mask)), y);
    assert_ne!(see(&(&x + &noise), &values), y);
}

#[test]
#[should_panic(expected = "U-Net without a table of classes, told [Some(1)]")]
fn nobody_to_be_told() {
    small().infer_given(&random((1, 4, 4, 1), 2), &[5], &Given::classes(&[1]));
}

/// A network that is to learn classes and known pixels is without a class the same function of x_t, outside what is known.
#[test]
fn a_new_variance_leaves_the_mean_as_it_was() {
    let config = UnetConfig::paper(8, 2, &[4, 8], 1, 2);
    let unet = awake(&config);
    let wider = unet.with_learned_variance();
    wider.config.check().unwrap();
    let x = random((3, 8, 8, 2), 2);
    let (y, mean_and_v) = (unet.infer(&x, &[5, 6, 7]), wider.infer(&x, &[5, 6, 7]));
    assert_eq!(mean_and_v.slice(s![.., .., .., ..2]), y);
    assert_eq!(mean_and_v.slice(s![.., .., .., 2..]), Tensor4::zeros((3, 8, 8, 2)));
}

#[test]
fn new_inputs_change_nothing_at_first() {
    let config = UnetConfig::paper(8, 2, &[4, 8], 1, 2);
    let unet = awake(&config);
    let told = unet.with_conditions(Some(4), true, &mut stream(3, 0));
    told.config.check().unwrap();
    let x = random((3, 8, 8, 2), 2);
    let y = unet.infer(&x, &[5, 6, 7]);
    assert_eq!(told.infer(&x, &[5, 6, 7]), y);
    assert_ne!(told.infer_given(&x, &[5, 6, 7], &Given::classes(&[0, 1, 2])), y);
    let known = Known { values: Batch::ones((3, 8, 8, 2)), mask: Batch::ones((3, 8, 8, 1)) };
    let seen = told.infer_given(&x, &[5, 6, 7], &Given { class: None, known: Some(known) });
    assert_eq!(seen, unet.infer(&Tensor4::zeros((3, 8, 8, 2)), &[5, 6, 7]));
}
