use super::*;
use crate::rng::stream;
use image::{ImageBuffer, Luma, LumaA, Rgb, Rgba};
use ndarray_rand::rand::Rng;

fn gradient(w: u32, h: u32) -> DynamicImage {
    ImageBuffer::from_fn(w, h, |x, y| Rgb([(x * 255 / w) as u8, (y * 255 / h) as u8, 90])).into()
}

fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    folder
}

fn rgb(bytes: &[u8]) -> Result<DynamicImage, Unusable> {
    decode(bytes, &FolderOptions::new(8))
}

fn message(folder: &Path, options: &FolderOptions) -> String {
    load_folder(folder, options).unwrap_err().to_string()
}

#[test]
fn all_three_formats_load_in_the_order_of_their_paths() {
    let picture = gradient(40, 30);
    let folder = folder(&[
        ("b/second.png", &encoded(&picture, ImageFormat::Png)),
        ("a.jpeg", &encoded(&picture, ImageFormat::Jpeg)),
        ("c/d/third.WEBP", &encoded(&picture, ImageFormat::WebP)),
        ("no-extension", &encoded(&picture, ImageFormat::Png)),
        ("b/notes.txt", b"no picture"),
    ]);
    let (data, report) = load_folder(folder.path(), &FolderOptions::new(8)).unwrap();
    assert_eq!(report, LoadReport { loaded: 4, other_files: 1, ..LoadReport::default() });
    assert_eq!((data.len(), data.shape()), (4, [8, 8, 3]));
    assert_eq!(data.draw(&mut stream(0, 1)), data.draw(&mut stream(0, 1)));
}

#[test]
fn unusable_files_are_skipped_with_their_reasons() {
    let (png, jpeg) =
        (encoded(&gradient(40, 30), ImageFormat::Png), encoded(&gradient(40, 30), ImageFormat::Jpeg));
    let mut flipped = png.clone();
    let middle = png.len() / 2;
    flipped[middle] ^= 0x55;
    let folder = folder(&[
        ("0 good.png", &png),
        ("1 empty.png", b""),
        ("2 text.jpg", b"not an image at all"),
        ("3 half.png", &png[..middle]),
        ("4 half.jpg", &jpeg[..jpeg.len() / 2]),
        ("5 one pixel.png", &encoded(&gradient(1, 1), ImageFormat::Png)),
        ("6 narrow.png", &encoded(&gradient(40, 7), ImageFormat::Png)),
        ("7 flipped.png", &flipped),
        ("8 half.webp", &encoded(&gradient(40, 30), ImageFormat::WebP)[..60]),
    ]);
    let (_, report) = load_folder(folder.path(), &FolderOptions::new(8)).unwrap();
    assert_eq!((report.loaded, report.other_files), (1, 0));
    let reasons: Vec<_> = report
        .skipped
        .iter()
        .map(|s| (s.path.file_name().unwrap().to_str().unwrap(), s.reason, s.detail.as_str()))
        .collect();
    assert_eq!(reasons.len(), 8, "{report}");
    assert_eq!(reasons[0], ("1 empty.png", Reason::Empty, ""));
    assert_eq!(reasons[1], ("2 text.jpg", Reason::OtherFormat, ""));
    assert_eq!((reasons[2].0, reasons[2].1), ("3 half.png", Reason::Damaged));
    assert_eq!(reasons[3], ("4 half.jpg", Reason::Truncated, "no end-of-image marker"));
    assert_eq!(reasons[4], ("5 one pixel.png", Reason::TooSmall, "1x1 pixels, crops are 8x8"));
    assert_eq!(reasons[5], ("6 narrow.png", Reason::TooSmall, "40x7 pixels, crops are 8x8"));
}

/// By reason, the first three of each.
#[test]
fn a_report_is_short_however_much_is_left_out() {
    let jpeg = encoded(&gradient(40, 30), ImageFormat::Jpeg);
    let mut files: Vec<(String, &[u8])> = (0..5).map(|i| (format!("{i}.jpg"), &jpeg[..90])).collect();
    files.extend([("good.jpg".to_string(), &jpeg[..]), ("x.png".to_string(), b"")]);
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
    let folder = folder(&files);
    let (_, report) = load_folder(folder.path(), &FolderOptions::new(8)).unwrap();
    let text = report.to_string().replace(&format!("{}/", folder.path().display()), "");
    let end = "(no end-of-image marker)";
    assert_eq!(
        text,
        format!(
            "1 pictures loaded, 6 skipped, 0 other files\n  1 empty: x.png\n  5 truncated: 0.jpg {end}, 1.jpg {end}, \
             2.jpg {end} and 2 more"
        )
    );
}

#[test]
fn what_is_hidden_is_passed_over() {
    let png = encoded(&gradient(40, 30), ImageFormat::Png);
    let folder = folder(&[
        ("a.png", &png),
        ("b/c.png", &png),
        (".thumbnails/a.png", &png),
        ("b/._c.png", b"AppleDouble"),
        ("__MACOSX/a.png", &png),
        ("b/@eaDir/c.png/THUMB.png", &png),
    ]);
    let (data, report) = load_folder(folder.path(), &FolderOptions::new(8)).unwrap();
    assert_eq!((data.len(), report.hidden, report.skipped.len()), (2, 4, 0), "{report}");
    assert!(report.to_string().ends_with(", 4 hidden"), "{report}");
    // asked for by name, it is shown
    let (data, _) = load_folder(&folder.path().join(".thumbnails"), &FolderOptions::new(8)).unwrap();
    assert_eq!(data.len(), 1);
}

/// A video, a second picture, padding: what phones put behind a picture does not make it truncated, and is not read.
#[test]
fn a_jpeg_is_whole_whatever_stands_behind_it() {
    let picture = encoded(&gradient(40, 30), ImageFormat::Jpeg);
    let plain = rgb(&picture).unwrap();
    for behind in [&b"\0\0\0\x18ftypmp42 \xff\xda\xff\xd8 moov"[..], &picture[..200], &[0; 4096], b"\xff"] {
        let whole = [&picture, behind].concat();
        assert_eq!(jpeg::end(&whole), Some(picture.len()));
        assert_eq!(rgb(&whole).unwrap(), plain);
    }
    // a preview of its own inside a segment is not the end
    let preview = [&[0xff, 0xe1, 0, 6, 0xff, 0xd9, 0xff, 0xd9], &picture[2..]].concat();
    let with_preview = [&picture[..2], &preview[..]].concat();
    assert_eq!(jpeg::end(&with_preview), Some(with_preview.len()));
    assert_eq!(jpeg::end(&with_preview[..with_preview.len() - 2]), None);
}

/// The reduced picture and the whole one make nearly the same scales, upright, grey and RGB; a small one is not reduced.
#[test]
fn a_large_photograph_is_decoded_at_reduced_size() {
    let large = gradient(2600, 1700);
    let options = FolderOptions::new(40);
    assert_eq!(jpeg::reduction((2600, 1700), twice_the_largest(&options)), Some(4));
    for picture in [large.clone(), large.to_luma8().into()] {
        let bytes = encoded(&picture, ImageFormat::Jpeg);
        let reduced = decode(&bytes, &options).unwrap();
        assert_eq!((reduced.width(), reduced.height()), (650, 425));
        // turned by a quarter, as the camera notes it
        let exif = b"\xff\xe1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        let turned = decode(&[&bytes[..2], exif, &bytes[2..]].concat(), &options).unwrap();
        assert_eq!((turned.width(), turned.height()), (425, 650));
        let whole =
            decode(&bytes, &FolderOptions { framing: Framing::Octaves(9), ..options.clone() }).unwrap();
        assert_eq!(whole.width(), 2600);
        let [from_reduced, from_whole] = [&reduced, &whole].map(|p| scales(p, &options).unwrap());
        for (a, b) in from_reduced.iter().zip(&from_whole) {
            let differences: Vec<u8> = a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).collect();
            let mean = differences.iter().map(|&d| f64::from(d)).sum::<f64>() / differences.len() as f64;
            assert!(mean < 0.05 && differences.iter().all(|&d| d <= 2), "mean {mean}");
        }
    }
    let wide = encoded(&gradient(MAX_SIDE + 16, 660), ImageFormat::Jpeg);
    assert_eq!(decode(&wide, &options).unwrap().width(), MAX_SIDE / 2 + 8, "a panorama");
    let small = gradient(2000, 1900);
    let decoded = decode(&encoded(&small, ImageFormat::Jpeg), &options).unwrap();
    assert_eq!((decoded.width(), decoded.height()), (2000, 1900));
    assert_eq!(jpeg::reduction((2600, 1700), 900), None);
}

#[test]
fn what_took_long_is_kept_until_it_changes() {
    let noise = |seed| {
        let mut rng = stream(seed, 0);
        ImageBuffer::from_fn(700, 500, |_, _| Rgb([0; 3].map(|_: u8| rng.random::<u8>()))).into()
    };
    let (first, second) = (encoded(&noise(1), ImageFormat::Png), encoded(&noise(2), ImageFormat::Png));
    assert!(first.len() as u64 > SLOW);
    let folder = folder(&[("a.png", &first), ("small.png", &encoded(&gradient(9, 9), ImageFormat::Png))]);
    let cache = tempfile::tempdir().unwrap();
    let options = FolderOptions { cache: Some(cache.path().join("new")), ..FolderOptions::new(8) };
    let prints = |options: &FolderOptions| load_folder(folder.path(), options).unwrap().0.fingerprint();
    let entries = || {
        std::fs::read_dir(cache.path().join("new")).unwrap().flatten().map(|e| e.path()).collect::<Vec<_>>()
    };
    let plain = prints(&FolderOptions::new(8));
    assert_eq!((prints(&options), entries().len()), (plain.clone(), 1));

    // it is read: what stands there is believed, but not if it is damaged
    let [entry] = &entries()[..] else { panic!("one entry") };
    let whole = std::fs::read(entry).unwrap();
    assert_eq!(prints(&options), plain);
    for place in [whole.len() - 1, whole.len() / 2, 3, 40] {
        let mut damaged = whole.clone();
        damaged[place] ^= 1;
        std::fs::write(entry, damaged).unwrap();
        assert_eq!(prints(&options), plain);
    }
    // other crops, or another picture of the same name, are something else
    let wider = FolderOptions { size: [8, 9], ..options.clone() };
    assert_eq!(prints(&wider), prints(&FolderOptions { cache: None, ..wider.clone() }));
    assert_eq!(entries().len(), 2);
    std::fs::write(folder.path().join("a.png"), second).unwrap();
    assert_ne!(prints(&options), plain);
    // what nobody asks for goes
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(100 * 24 * 3600);
    entries().iter().for_each(|entry| {
        std::fs::File::options().write(true).open(entry).unwrap().set_modified(old).unwrap();
    });
    prints(&options);
    assert_eq!(entries().len(), 1);
}

#[test]
fn someone_watches() {
    let png = encoded(&gradient(9, 9), ImageFormat::Png);
    let folder = folder(&[("a.png", &png), ("b.png", &png), ("c.txt", b"")]);
    let seen = Mutex::new(Vec::new());
    let watch = |done, total| seen.lock().unwrap().push((done, total));
    load_folder_watched(folder.path(), &FolderOptions::new(8), &watch).unwrap();
    let mut seen = seen.into_inner().unwrap();
    seen.sort();
    assert_eq!(seen, [(1, 3), (2, 3), (3, 3)]);
}

#[test]
fn a_picture_cut_anywhere_is_an_error_and_never_a_panic() {
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
        let whole = encoded(&gradient(16, 16), format);
        assert!(rgb(&whole).is_ok());
        for end in 0..whole.len() {
            // a PNG is complete before its last chunk, which holds no pixels
            let complete = format == ImageFormat::Png && end + 12 >= whole.len();
            assert!(complete || rgb(&whole[..end]).is_err(), "{format:?} cut at {end} of {}", whole.len());
        }
    }
}

#[test]
fn nothing_usable_is_an_error_that_lists_the_reasons() {
    let folder = folder(&[("x.png", b"")]);
    let text = message(folder.path(), &FolderOptions::new(8));
    assert!(text.contains(
        "expected at least one usable JPEG, PNG or WebP picture, found 0 pictures loaded, 1 skipped"
    ));
    assert!(text.contains("\n  1 empty: ") && text.ends_with("x.png"), "{text}");
}

#[test]
fn bad_arguments_and_folders_are_errors() {
    let folder = folder(&[("x.png", b"")]);
    let with = |size, channels, octaves| {
        let framing = Framing::Octaves(octaves);
        message(folder.path(), &FolderOptions { size, channels, framing, labels: false, cache: None })
    };
    assert_eq!(with([0, 8], 3, 3), "size: expected 1..=16384, found 0");
    assert_eq!(with([8, 8], 4, 3), "channels: expected 1 or 3, found 4");
    assert_eq!(with([8, 8], 3, 0), "octaves: expected at least 1, found 0");
    for percent in [0, 101] {
        let framing = Framing::Whole(percent);
        let text = message(folder.path(), &FolderOptions { framing, ..FolderOptions::new(8) });
        assert_eq!(text, format!("whole: expected 1 to 100 percent, found {percent}"));
    }
    assert!(message(Path::new("/nowhere"), &FolderOptions::new(8)).starts_with("/nowhere: "));
    assert!(message(&folder.path().join("x.png"), &FolderOptions::new(8)).contains("x.png: "));
}

#[test]
fn sixteen_bit_grey_and_transparent_pictures_become_what_is_asked() {
    let pictures: [(DynamicImage, [u8; 3]); 4] = [
        (ImageBuffer::from_pixel(9, 9, Luma([200_u8 as u16 * 257])).into(), [200; 3]),
        (ImageBuffer::from_pixel(9, 9, Luma([200_u8])).into(), [200; 3]),
        (ImageBuffer::from_pixel(9, 9, LumaA([0_u8, 55])).into(), [200; 3]),
        (ImageBuffer::from_pixel(9, 9, Rgba([255_u8, 0, 0, 0])).into(), [255; 3]),
    ];
    for (picture, expected) in pictures {
        let bytes = encoded(&picture, ImageFormat::Png);
        let options = FolderOptions::new(3);
        let rgb = scales(&decode(&bytes, &options).unwrap(), &options).unwrap();
        assert_eq!(rgb.iter().map(|scale| scale.dim()).collect::<Vec<_>>(), [(3, 3, 3), (6, 6, 3)]);
        assert_eq!(rgb[0].iter().take(3).copied().collect::<Vec<_>>(), expected);
        let one = FolderOptions { channels: 1, ..options.clone() };
        let grey = scales(&decode(&bytes, &one).unwrap(), &options).unwrap();
        assert_eq!((grey[0].dim(), grey[0][[1, 1, 0]]), ((3, 3, 1), expected[0]));
    }
}

#[test]
fn a_scale_keeps_the_proportions_and_is_never_enlarged() {
    let options = FolderOptions { framing: Framing::Octaves(9), ..FolderOptions::new(10) };
    let scales = scales(&gradient(90, 45), &options).unwrap();
    assert_eq!(
        scales.iter().map(|scale| scale.dim()).collect::<Vec<_>>(),
        [(10, 20, 3), (20, 40, 3), (40, 80, 3)]
    );
    // a shrunk gradient still rises from left to right and from top to bottom
    assert!(scales[0][[0, 0, 0]] < scales[0][[0, 19, 0]] && scales[0][[0, 0, 1]] < scales[0][[9, 0, 1]]);
}

/// Every example of a whole picture holds at least so much of its shorter side, and the smallest scale all of it.
#[test]
fn whole_pictures_are_kept_a_little_larger_than_an_example() {
    let options =
        |size, percent| FolderOptions { size, framing: Framing::Whole(percent), ..FolderOptions::new(8) };
    let dims = |picture: &DynamicImage, options: &FolderOptions| {
        scales(picture, options)
            .unwrap()
            .iter()
            .map(|scale| (scale.dim().0, scale.dim().1))
            .collect::<Vec<_>>()
    };
    assert_eq!(dims(&gradient(90, 45), &options([10, 10], 85)), [(10, 20), (11, 22)]);
    assert_eq!(dims(&gradient(45, 90), &options([10, 10], 80)), [(20, 10), (22, 11), (24, 12)]);
    assert_eq!(dims(&gradient(60, 60), &options([10, 20], 80)), [(20, 20), (22, 22), (24, 24)]);
    assert_eq!(dims(&gradient(11, 11), &options([10, 10], 50)), [(10, 10), (11, 11)], "never enlarged");
    assert_eq!(dims(&gradient(60, 60), &options([32, 32], 100)), [(32, 32)]);
}

#[test]
fn a_header_that_promises_a_huge_picture_is_refused() {
    let mut bytes = encoded(&gradient(8, 8), ImageFormat::Png);
    bytes[16..20].copy_from_slice(&(MAX_SIDE + 1).to_be_bytes()); // IHDR's width; its check sum is wrong now as well
    assert!(rgb(&bytes).is_err());
    let wide = encoded(&ImageBuffer::from_pixel(MAX_SIDE + 1, 1, Luma([0_u8])).into(), ImageFormat::Png);
    assert_eq!(rgb(&wide).unwrap_err().0, Reason::TooLarge);
}

#[cfg(unix)]
#[test]
fn links_in_a_circle_end_and_dead_links_are_reported() {
    let folder = folder(&[("a.png", &encoded(&gradient(9, 9), ImageFormat::Png))]);
    std::os::unix::fs::symlink(folder.path(), folder.path().join("again")).unwrap();
    std::os::unix::fs::symlink("/nowhere.png", folder.path().join("dead.png")).unwrap();
    let (data, report) = load_folder(folder.path(), &FolderOptions::new(8)).unwrap();
    assert_eq!((data.len(), report.skipped.len()), (1, 1), "{report}");
}
