//! Situations that people met with other programs of this kind, tried on this one: at least three of each kind of fault. Where
//! each was told stands beside it.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used)] // a test fails by panicking

use ddpm::checkpoint::{self, CONFIG, Precision, SCHEDULER, WEIGHTS, load_pretrained, save_pretrained};
use ddpm::params::Params;
use image::{DynamicImage, ImageBuffer, Luma, LumaA, Rgb, Rgba};
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A folder with six pictures in `pictures`.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        fs::create_dir(place.at("pictures")).unwrap();
        (0..6).for_each(|n| picture(n).save(place.at(&format!("pictures/{n}.png"))).unwrap());
        place
    }

    /// And a finished run of four steps in `run`.
    fn with_run() -> Place {
        let place = Place::new();
        place.works(&format!("{TRAIN} --steps 4 --out run"));
        place
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ddpm"));
        command.current_dir(self.0.path()).args(line.split_whitespace());
        command
    }

    /// Both outputs of a command that works.
    fn works(&self, line: &str) -> String {
        let (code, said) = told(self.command(line).output().unwrap());
        assert_eq!(code, Some(0), "{line}: {said}");
        said
    }

    /// What a command says that does not work: one sentence, and no panic.
    fn fails(&self, line: &str, sentence: &str) {
        let (code, said) = told(self.command(line).output().unwrap());
        assert!(matches!(code, Some(1 | 2)), "{line}: exit {code:?}, {said}");
        assert!(said.contains(sentence) && !said.contains("panicked"), "{line}: {said}");
    }

    /// Replaces a text in a file.
    fn edit(&self, path: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.at(path)).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(self.at(path), text.replace(from, to)).unwrap();
    }

    /// The steps in the log of the run.
    fn logged(&self) -> Vec<String> {
        let log = fs::read_to_string(self.at("run/loss.csv")).unwrap();
        log.lines().skip(1).map(|line| line.split(',').next().unwrap().to_string()).collect()
    }
}

const TRAIN: &str =
    "train --data pictures --size 8 --widths 4,4 --groups 2 --batch 2 --T 40 --warmup 0 --log-every 1";
const MODEL: &str = "run/model/diffusion_pytorch_model.safetensors";

fn told(output: Output) -> (Option<i32>, String) {
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

fn picture(n: u8) -> DynamicImage {
    ImageBuffer::from_fn(12, 10, |x, y| Rgb([20 * x as u8, 25 * y as u8, 25 * n])).into()
}

// ---- work is lost

/// Days of computing, and the folder of the results was misspelt: vdemichev/DiaNN#720.
#[test]
fn a_result_that_cannot_be_written_is_found_out_before_the_work() {
    let place = Place::new();
    fs::write(place.at("notes"), "").unwrap();
    place.fails("figures --out notes/figures", "notes");
    place.fails("elbo --images 10000 --out notes/bound", "notes/bound");
    place.fails("sample --n 10000 --out notes/x.png", "notes/x.png");
    place.fails(&format!("{TRAIN} --steps 100000000 --out notes/run"), "notes");
}

/// The other end of a pipe goes away in the middle of a training: Unity-Technologies/ml-agents#2199.
#[test]
fn a_training_that_nobody_reads_any_more_is_finished() {
    let place = Place::new();
    let mut command = place.command(&format!("{TRAIN} --steps 40 --out run"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    child.wait().unwrap();
    assert_eq!(place.logged().len(), 40);
    place.works("sample --model run --n 1 --ddim 2 --out x.png");
}

/// A full disk leaves a last checkpoint of no bytes: facebookresearch/metaseq#53.
#[test]
fn a_checkpoint_of_no_bytes_is_named_and_the_network_beside_it_still_works() {
    let place = Place::with_run();
    File::create(place.at("run/checkpoint.safetensors")).unwrap();
    place.fails("train --resume --out run", "run/checkpoint.safetensors: expected a whole safetensors file");
    place.works("sample --model run --n 1 --ddim 2 --out x.png");
}

/// It says that it has exported, and nothing is there: MrNeRF/LichtFeld-Studio#717.
#[cfg(target_os = "linux")]
#[test]
fn a_full_device_is_not_called_success() {
    let place = Place::new();
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let mut info = place.command("info");
    let (code, said) = told(info.stdout(full()).stderr(Stdio::piped()).output().unwrap());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("standard output: "), "{said}");
}

// ---- silently another process or other data

/// Resumed with another batch, the count of what was seen is wrong: huggingface/transformers#21271; a learning rate given
/// with it is ignored: mapbox/robosat#169.
#[test]
fn what_is_given_again_is_taken_or_refused_and_never_ignored() {
    let place = Place::with_run();
    place.fails("train --resume --out run --batch 8", "--batch: expected 2, as the run began, found 8");
    place.fails("train --resume --out run --lr 0.5", "--lr: expected 0.001, as the run began, found 0.5");
    place.works("train --resume --out run --batch 2 --steps 5");
}

/// A letter is wrong in a key, and what it should have set is silently something else: cppalliance/mrdocs#992.
#[test]
fn a_misspelt_key_is_named_with_the_right_one() {
    let place = Place::with_run();
    place.edit(&format!("run/model/{CONFIG}"), "norm_eps", "norm_epsilon");
    place.fails("info --model run", "unknown key 'norm_epsilon'; is it 'norm_eps'?");
}

/// The configuration of another sampler is read as if it were that of the training: TheLastBen/fast-stable-diffusion#815; and a
/// chain that ends in noise alone is asked for its noise: yisol/IDM-VTON#168.
#[test]
fn another_process_is_refused() {
    let place = Place::with_run();
    let path = format!("run/model/{SCHEDULER}");
    let whole = fs::read_to_string(place.at(&path)).unwrap();
    place.edit(&path, "DDPMScheduler", "EulerAncestralDiscreteScheduler");
    place.fails("info --model run", "'_class_name': expected DDPMScheduler or");
    fs::write(place.at(&path), whole).unwrap();
    place.edit(&path, "\"clip_sample\": true", "\"clip_sample\": true, \"rescale_betas_zero_snr\": true");
    place.fails("info --model run", "expected v, x0 or mu_tilde, since alpha_bar_T = 0, found eps");
}

/// What a system keeps beside each picture is learned from as well: OpenNeuroOrg/openneuro#2520, pytorch/vision#109.
#[test]
fn hidden_copies_are_no_pictures() {
    let place = Place::new();
    fs::create_dir(place.at("pictures/.thumbnails")).unwrap();
    fs::write(place.at("pictures/.DS_Store"), "\0\0\0\x01Bud1").unwrap();
    fs::write(place.at("pictures/._3.png"), "\0\x05\x16\x07").unwrap();
    picture(9).save(place.at("pictures/.thumbnails/9.png")).unwrap();
    let said = place.works(&format!("{TRAIN} --steps 1 --out run"));
    assert!(said.contains("6 pictures loaded, 0 skipped, 0 other files, 3 hidden"), "{said}");
}

// ---- numbers that are not numbers

/// One NaN, and every picture is black: vladmandic/sdnext#374.
#[test]
fn a_weight_that_is_no_number_is_named() {
    let place = Place::with_run();
    let mut file = checkpoint::read(&place.at(MODEL)).unwrap();
    file.tensors.get_mut("conv_out.weight").unwrap().fill(0.5);
    checkpoint::write(&place.at(MODEL), &file, Precision::F32).unwrap();
    // another program, which checks nothing, has written it; so it has no checksum either
    let bytes = fs::read(place.at(MODEL)).unwrap();
    let bytes = String::from_utf8_lossy(&bytes).contains("ddpm_checksum").then(|| {
        let at = |text: &[u8]| bytes.windows(text.len()).position(|window| window == text).unwrap();
        let (key, value) = (at(b"ddpm_checksum"), at(b"crc32:"));
        let mut bytes = bytes.clone();
        bytes[key] = b'x';
        bytes[value] = b'x';
        let half = at(&0.5f32.to_le_bytes());
        bytes[half..half + 4].copy_from_slice(&f32::NAN.to_le_bytes());
        bytes
    });
    fs::write(place.at(MODEL), bytes.unwrap()).unwrap();
    let sentence = "'conv_out.weight' at [0, 0, 0, 0]: expected a finite number, found NaN";
    place.fails("sample --model run --n 1 --ddim 2 --out x.png", sentence);
    place.fails("train --data pictures --size 8 --init run --steps 1 --out other", sentence);
}

/// A disk went bad, and the weights "can always be loaded normally": huggingface/diffusers#11989.
#[test]
fn weights_that_a_disk_has_changed_are_refused() {
    let place = Place::with_run();
    for path in [MODEL, "run/checkpoint.safetensors"] {
        let mut bytes = fs::read(place.at(path)).unwrap();
        let last = bytes.len() - 6;
        bytes[last] ^= 4;
        fs::write(place.at(path), bytes).unwrap();
    }
    place.fails("sample --model run --n 1 --ddim 2 --out x.png", "damaged: it says ddpm_checksum crc32:");
    place.fails("train --resume --out run", "damaged: it says ddpm_checksum crc32:");
}

/// Stored in half precision, large weights are infinite, and the pictures black: Carve-Photos/lama#5.
#[test]
fn what_half_precision_cannot_hold_is_not_stored_and_the_run_is_kept() {
    let place = Place::with_run();
    let mut model = load_pretrained(place.at("run")).unwrap();
    model.unet.slices_mut()[0][0] = 1e5;
    save_pretrained(&model.unet, &model.reverse, place.at("large"), Precision::F32).unwrap();
    let line = "train --data pictures --size 8 --init large --batch 2 --steps 2 --out other --precision f16";
    place.fails(line, "expected a number that f16 can hold, found ");
    assert_eq!(place.works("train --resume --out other --precision f32").matches("2 steps").count(), 1);
}

// ---- panics and aborts on plausible input

/// No picture, or none of them usable: carpedm20/DCGAN-tensorflow#203; fewer pictures than a batch has:
/// drscotthawley/panotti#41.
#[test]
fn folders_with_few_pictures_or_none() {
    let place = Place::new();
    fs::create_dir(place.at("empty")).unwrap();
    place.fails(
        "train --data empty --size 8",
        "empty: expected at least one usable JPEG, PNG or WebP picture",
    );
    fs::create_dir(place.at("one")).unwrap();
    picture(1).save(place.at("one/1.png")).unwrap();
    place.works(&format!(
        "{} --steps 1 --batch 64 --out run",
        TRAIN.replace("pictures", "one").replace("--batch 2 ", "")
    ));
}

/// A download that stopped early: Comfy-Org/ComfyUI#6744; one with more behind its end: Comfy-Org/ComfyUI#15602.
#[test]
fn a_file_cut_short_or_too_long_says_so() {
    let place = Place::with_run();
    let whole = fs::read(place.at(MODEL)).unwrap();
    for bytes in [&whole[..whole.len() / 2], &whole[..5], &[&whole[..], &[0; 64]].concat()] {
        fs::write(place.at(MODEL), bytes).unwrap();
        place.fails("info --model run", &format!("{WEIGHTS}: expected a whole safetensors file, found "));
    }
}

/// Pictures of every kind in one folder: NVlabs/stylegan2-ada-pytorch#33, cvdfoundation/fashionpedia#4.
#[test]
fn grey_transparent_and_deep_pictures_side_by_side() {
    let place = Place::new();
    let all: [(&str, DynamicImage); 4] = [
        ("grey", ImageBuffer::from_pixel(9, 9, Luma([200u8])).into()),
        ("veiled", ImageBuffer::from_pixel(9, 9, LumaA([9u8, 99])).into()),
        ("clear", ImageBuffer::from_pixel(9, 9, Rgba([9u8, 9, 9, 0])).into()),
        ("deep", ImageBuffer::from_pixel(9, 9, Rgb([9000u16, 9, 9])).into()),
    ];
    all.iter().for_each(|(name, picture)| picture.save(place.at(&format!("pictures/{name}.png"))).unwrap());
    let said = place.works(&format!("{TRAIN} --steps 1 --out run"));
    assert!(said.contains("10 pictures loaded, 0 skipped"), "{said}");
}

// ---- what only shows later

/// After an interruption it counts from 1 again: RVC-Project/Retrieval-based-Voice-Conversion-WebUI#1954; asked for more
/// steps than at first, it ends at once: hiyouga/LlamaFactory#3975.
#[test]
fn a_resumed_run_counts_on_to_its_new_end() {
    let place = Place::with_run();
    place.works("train --resume --out run --steps 7");
    assert_eq!(place.logged(), ["1", "2", "3", "4", "5", "6", "7"]);
}

/// A run died before it had saved anything: nyu-mll/jiant#169.
#[test]
fn nothing_to_resume_is_said_and_a_new_run_may_begin_there() {
    let place = Place::new();
    fs::create_dir(place.at("run")).unwrap();
    File::create(place.at("run/.tmpAbC123")).unwrap();
    place.fails("train --resume --out run", "run/checkpoint.safetensors");
    place.works(&format!("{TRAIN} --steps 1 --out run"));
    assert!(!place.at("run/.tmpAbC123").exists(), "a leftover");
}

/// The camera was held upright, and the pictures are learned lying: kohya-ss/sd-scripts#1316.
#[test]
fn pictures_stand_upright_whatever_way_the_camera_was_held() {
    let place = Place::new();
    fs::create_dir_all(place.at("turned")).unwrap();
    // 12 wide and 8 high, and a note that it was turned: 8 wide, which a crop of 10 columns does not fit into
    let mut jpeg = std::io::Cursor::new(Vec::new());
    picture(3).crop_imm(0, 0, 12, 8).write_to(&mut jpeg, image::ImageFormat::Jpeg).unwrap();
    let exif = b"\xff\xe1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let jpeg = jpeg.into_inner();
    fs::write(place.at("turned/1.jpg"), [&jpeg[..2], exif, &jpeg[2..]].concat()).unwrap();
    let line = TRAIN.replace("pictures", "turned");
    place.works(&format!("{} --steps 1 --out run", line.replace("--size 8", "--size 12x8")));
    place.fails(
        &format!("{} --steps 1 --out no", line.replace("--size 8", "--size 8x12")),
        "8x12 pixels, crops are 12x8",
    );
}

// ---- annoyances

/// The folder of a result is not there yet: VlachosGroup/AIMSim#85, ajwdewit/pcse_notebooks#41. One that is asked for by its
/// name is made; one that a file should be in may be a slip of the pen, and is said to be missing before the work.
#[test]
fn folders_of_results_are_made_and_missing_ones_are_said() {
    let place = Place::with_run();
    place.fails("sample --out new/x.png", "error: new/x.png: No such file or directory (os error 2)\n");
    place.works(&format!("{TRAIN} --steps 1 --out new/and/deep"));
    assert!(place.at("new/and/deep/model").exists());
}

/// What is saved can be read by nobody else, since it began as a temporary file: cockpit-project/cockpit#21381.
#[cfg(unix)]
#[test]
fn files_are_as_readable_as_any_other() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::with_run();
    let mode = |path: &str| fs::metadata(place.at(path)).unwrap().permissions().mode();
    File::create(place.at("any")).unwrap();
    for path in ["run/checkpoint.safetensors", "run/loss.csv", MODEL] {
        assert_eq!(mode(path), mode("any"), "{path}");
    }
}

/// One bad picture among thousands, and it is not said which: facebookresearch/mmf#870.
#[test]
fn a_damaged_picture_is_named_and_left_out() {
    let place = Place::new();
    let bytes = fs::read(place.at("pictures/2.png")).unwrap();
    fs::write(place.at("pictures/2.png"), &bytes[..bytes.len() / 2]).unwrap();
    fs::write(place.at("pictures/4.png"), "").unwrap();
    let said = place.works(&format!("{TRAIN} --steps 1 --out run"));
    assert!(said.contains("4 pictures loaded, 2 skipped"), "{said}");
    assert!(said.contains("1 empty: pictures/4.png") && said.contains("1 damaged: pictures/2.png"), "{said}");
}
