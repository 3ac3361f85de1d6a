use super::*;
use crate::rng::stream;
use image::{ImageBuffer, Luma, LumaA, Rgb, Rgba};

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
    assert_eq!(report, LoadReport { loaded: 4, skipped: vec![], other_files: 1 });
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
        .map(|(path, reason)| (path.file_name().unwrap().to_str().unwrap(), reason.as_str()))
        .collect();
    assert_eq!(reasons.len(), 8, "{report}");
    assert_eq!(reasons[0], ("1 empty.png", "empty file"));
    assert_eq!(reasons[1], ("2 text.jpg", "not a JPEG, PNG or WebP file"));
    assert_eq!(reasons[2].0, "3 half.png");
    assert_eq!(reasons[3], ("4 half.jpg", "truncated JPEG: no end-of-image marker"));
    assert_eq!(reasons[4], ("5 one pixel.png", "too small: 1x1 pixels, crops are 8x8"));
    assert_eq!(reasons[5], ("6 narrow.png", "too small: 40x7 pixels, crops are 8x8"));
    assert!(report.to_string().starts_with("1 pictures loaded, 8 skipped, 0 other files\n  "), "{report}");
}

#[test]
fn a_picture_cut_anywhere_is_an_error_and_never_a_panic() {
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
        let whole = encoded(&gradient(16, 16), format);
        assert!(decode(&whole, 3).is_ok());
        for end in 0..whole.len() {
            // a PNG is complete before its last chunk, which holds no pixels
            let complete = format == ImageFormat::Png && end + 12 >= whole.len();
            assert!(
                complete || decode(&whole[..end], 3).is_err(),
                "{format:?} cut at {end} of {}",
                whole.len()
            );
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
    assert!(text.ends_with("x.png: empty file"), "{text}");
}

#[test]
fn bad_arguments_and_folders_are_errors() {
    let folder = folder(&[("x.png", b"")]);
    let with = |size, channels, octaves| message(folder.path(), &FolderOptions { size, channels, octaves });
    assert_eq!(with([0, 8], 3, 3), "size: expected 1..=16384, found 0");
    assert_eq!(with([8, 8], 4, 3), "channels: expected 1 or 3, found 4");
    assert_eq!(with([8, 8], 3, 0), "octaves: expected at least 1, found 0");
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
        let rgb = scales(&decode(&bytes, 3).unwrap(), &options).unwrap();
        assert_eq!(rgb.iter().map(|scale| scale.dim()).collect::<Vec<_>>(), [(3, 3, 3), (6, 6, 3)]);
        assert_eq!(rgb[0].iter().take(3).copied().collect::<Vec<_>>(), expected);
        let grey = scales(&decode(&bytes, 1).unwrap(), &options).unwrap();
        assert_eq!((grey[0].dim(), grey[0][[1, 1, 0]]), ((3, 3, 1), expected[0]));
    }
}

#[test]
fn a_scale_keeps_the_proportions_and_is_never_enlarged() {
    let options = FolderOptions { size: [10, 10], channels: 3, octaves: 9 };
    let scales = scales(&gradient(90, 45), &options).unwrap();
    assert_eq!(
        scales.iter().map(|scale| scale.dim()).collect::<Vec<_>>(),
        [(10, 20, 3), (20, 40, 3), (40, 80, 3)]
    );
    // a shrunk gradient still rises from left to right and from top to bottom
    assert!(scales[0][[0, 0, 0]] < scales[0][[0, 19, 0]] && scales[0][[0, 0, 1]] < scales[0][[9, 0, 1]]);
}

#[test]
fn a_header_that_promises_a_huge_picture_is_refused() {
    let mut bytes = encoded(&gradient(8, 8), ImageFormat::Png);
    bytes[16..20].copy_from_slice(&(MAX_SIDE + 1).to_be_bytes()); // IHDR's width; its check sum is wrong now as well
    assert!(decode(&bytes, 3).is_err());
    let wide = encoded(&ImageBuffer::from_pixel(MAX_SIDE + 1, 1, Luma([0_u8])).into(), ImageFormat::Png);
    assert!(decode(&wide, 3).unwrap_err().contains("limit"), "{:?}", decode(&wide, 3));
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
