//! Folders of images, one folder per class.

use std::path::{Path, PathBuf};

use bantam_core::Tensor;
use bantam_core::order::sort_by;
use image::{DynamicImage, ImageReader, Limits};

use crate::error::{Error, ErrorKind, Result};
use crate::guard::guarded;
use crate::load::Samples;

/// File names that are taken for images; another file in a class folder is an error.
const EXTENSIONS: [&str; 4] = ["png", "jpg", "jpeg", "bmp"];
/// Longest side of an image.
const MOST_PIXELS: u32 = 16_384;
/// Files that file managers leave behind.
const IGNORED: [&str; 2] = ["thumbs.db", "desktop.ini"];

/// Reads a folder whose subfolders are the classes, by name, and hold the images.
///
/// The result is `[n, c, h, w]` bytes: one channel when all images are grey, else three. The order
/// is that of the file names, class by class.
///
/// Errs when there are no classes or no images, when a file is not an image, and when an image is
/// not of the size of the first.
pub fn read_image_folder(folder: &Path) -> Result<Samples> {
    let mut images = Vec::new();
    let mut classes = Vec::new();
    let mut labels = Vec::new();
    for class in entries(folder)?.into_iter().filter(|p| p.is_dir()) {
        let Some(name) = class.file_name().and_then(|n| n.to_str()) else {
            let error = Error::new(ErrorKind::Format, "expected a folder name in UTF-8");
            return Err(error.in_file(&class));
        };
        for path in entries(&class)? {
            let image = read_image(&path).map_err(|e| e.in_file(&path))?;
            images.push((path, image));
            labels.push(classes.len() as i64);
        }
        classes.push(name.to_owned());
    }
    if images.is_empty() {
        let error = Error::new(ErrorKind::Rows, "there are no images in its subfolders");
        let hint = "a folder of images has one subfolder per class";
        return Err(error.with_hint(hint).in_file(folder));
    }
    Ok(Samples {
        inputs: stack(images)?,
        labels,
        classes,
    })
}

/// Whether `folder` has a subfolder with an image in it.
pub(crate) fn is_image_folder(folder: &Path) -> bool {
    let holds_images = |class: &PathBuf| {
        class.is_dir() && entries(class).is_ok_and(|files| files.iter().any(|f| has_extension(f)))
    };
    entries(folder).is_ok_and(|classes| classes.iter().any(holds_images))
}

/// What is in a folder, in the order of the names, without hidden files.
pub fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let at = |e: std::io::Error| Error::io(e).in_file(folder);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(at)? {
        let entry = entry.map_err(at)?;
        let name = entry.file_name().to_string_lossy().to_lowercase();
        if !name.starts_with('.') && !IGNORED.contains(&name.as_str()) {
            paths.push(entry.path());
        }
    }
    sort_by(&mut paths, |a, b| a.cmp(b));
    Ok(paths)
}

/// Whether a file is an image by its name.
pub fn has_extension(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str());
    extension.is_some_and(|e| EXTENSIONS.contains(&e.to_lowercase().as_str()))
}

/// A decoded image.
pub struct Image {
    /// Pixels from top to bottom.
    pub height: usize,
    /// Pixels from left to right.
    pub width: usize,
    /// One if it is grey, else three: red, green and blue.
    pub channels: usize,
    /// `[height, width, channels]`.
    pub pixels: Vec<u8>,
}

/// Reads a PNG, JPEG or BMP; its first bytes tell which. An alpha channel is left out.
///
/// Errs when the file is not an image by its name, when it cannot be read or decoded, and when the image is
/// longer than 16,384 pixels on a side.
pub fn read_image(path: &Path) -> Result<Image> {
    if path.is_dir() {
        let error = Error::new(ErrorKind::Format, "expected an image, found a folder");
        return Err(error);
    }
    if !has_extension(path) {
        let message = format!("expected an image ({})", EXTENSIONS.join(", "));
        let error = Error::new(ErrorKind::Format, message);
        return Err(error.with_hint("move files that are not images out of the class folders"));
    }
    let bytes = std::fs::read(path).map_err(Error::io)?;
    let message = "expected an image, found bytes that its decoder cannot handle";
    guarded(path, message, || decode(bytes))
}

fn decode(bytes: Vec<u8>) -> Result<Image> {
    let cursor = std::io::Cursor::new(bytes);
    let mut reader = ImageReader::new(cursor)
        .with_guessed_format()
        .map_err(Error::io)?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MOST_PIXELS);
    limits.max_image_height = Some(MOST_PIXELS);
    reader.limits(limits);
    let image = reader.decode().map_err(|e| match e {
        image::ImageError::Limits(e) => {
            Error::new(ErrorKind::Limit, format!("the image is too large: {e}"))
        }
        other => Error::new(ErrorKind::Format, format!("expected an image: {other}")),
    })?;
    let (width, height) = (image.width() as usize, image.height() as usize);
    let grey = matches!(
        image,
        DynamicImage::ImageLuma8(_)
            | DynamicImage::ImageLumaA8(_)
            | DynamicImage::ImageLuma16(_)
            | DynamicImage::ImageLumaA16(_)
    );
    let (channels, pixels) = match grey {
        true => (1, image.into_luma8().into_raw()),
        false => (3, image.into_rgb8().into_raw()),
    };
    Ok(Image {
        height,
        width,
        channels,
        pixels,
    })
}

/// The images as one tensor, channels first; grey ones are repeated where others have colour.
fn stack(images: Vec<(PathBuf, Image)>) -> Result<Tensor> {
    let (height, width) = (images[0].1.height, images[0].1.width);
    let channels = images.iter().map(|(_, i)| i.channels).max().unwrap_or(1);
    let shape = [images.len(), channels, height, width];
    if let Some((path, image)) = images
        .iter()
        .find(|(_, i)| (i.height, i.width) != (height, width))
    {
        let first = &images[0].0;
        let message = format!(
            "expected {width} x {height} pixels as in {}, found {} x {}",
            first.display(),
            image.width,
            image.height
        );
        let error = Error::new(ErrorKind::Shape, message).in_file(path);
        return Err(error.with_hint("all images must have one size: resize or crop them first"));
    }
    let count = bantam_core::tensor::element_count(&shape);
    let count = count.map_err(|e| Error::new(ErrorKind::Limit, e.to_string()))?;
    let mut pixels: Vec<u8> = Vec::with_capacity(count);
    for (_, image) in images {
        for channel in 0..channels {
            let channel = channel.min(image.channels - 1);
            let plane = image.pixels.iter().skip(channel).step_by(image.channels);
            pixels.extend(plane);
        }
    }
    Tensor::new(&shape, pixels).map_err(|e| Error::new(ErrorKind::Shape, e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(color: image::ColorType, width: u32, pixels: &[u8]) -> Vec<u8> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let height = pixels.len() as u32 / width / u32::from(color.bytes_per_pixel());
        let format = image::ImageFormat::Png;
        image::write_buffer_with_format(&mut bytes, pixels, width, height, color, format).unwrap();
        bytes.into_inner()
    }

    fn folder(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        dir
    }

    fn grey(pixels: &[u8]) -> Vec<u8> {
        png(image::ColorType::L8, 2, pixels)
    }

    #[test]
    fn reads_grey() {
        let dir = folder(&[
            ("b/1.png", grey(&[5, 6, 7, 8, 9, 10])),
            ("a/2.PNG", grey(&[3, 3, 3, 3, 3, 3])),
            ("a/1.png", grey(&[1, 2, 3, 4, 5, 6])),
            ("a/.hidden", vec![0]),
            ("notes.txt", vec![0]),
        ]);
        assert!(is_image_folder(dir.path()));
        let samples = read_image_folder(dir.path()).unwrap();
        assert_eq!(samples.classes, ["a", "b"]);
        assert_eq!(samples.labels, [0, 0, 1]);
        assert_eq!(samples.inputs.shape(), [3, 1, 3, 2]);
        assert_eq!(
            samples.inputs.values::<u8>().unwrap()[..6],
            [1, 2, 3, 4, 5, 6]
        );
    }

    #[test]
    fn colour_is_channels_first_and_grey_joins_it() {
        let rgb = png(image::ColorType::Rgb8, 2, &[1, 2, 3, 4, 5, 6]);
        let dir = folder(&[("a/1.png", rgb), ("a/2.png", grey(&[7, 8]))]);
        let samples = read_image_folder(dir.path()).unwrap();
        assert_eq!(samples.inputs.shape(), [2, 3, 1, 2]);
        let pixels = samples.inputs.values::<u8>().unwrap();
        assert_eq!(pixels, [1, 4, 2, 5, 3, 6, 7, 8, 7, 8, 7, 8]);
    }

    #[test]
    fn refuses() {
        let ok = grey(&[1, 2, 3, 4]);
        let one = |name: &'static str, bytes: Vec<u8>| vec![("a/1.png", ok.clone()), (name, bytes)];
        let cases = [
            ("empty", vec![], "there are no images in its subfolders"),
            (
                "size",
                one("b/2.png", grey(&[1, 2])),
                "expected 2 x 2 pixels as in",
            ),
            (
                "text",
                one("b/2.txt", vec![1]),
                "2.txt: expected an image (png, jpg, jpeg, bmp)",
            ),
            (
                "renamed text",
                one("b/2.png", b"hello".to_vec()),
                "2.png: expected an image",
            ),
            (
                "cut",
                one("b/2.png", ok[..40].to_vec()),
                "2.png: expected an image",
            ),
            (
                "folder",
                one("b/c/2.png", ok.clone()),
                "c: expected an image, found a folder",
            ),
        ];
        for (name, files, text) in cases {
            let dir = folder(&files);
            let error = read_image_folder(dir.path()).map(|_| ()).unwrap_err();
            assert!(error.to_string().contains(text), "{name}: {error}");
        }
    }

    #[test]
    fn damaged_images_are_errors() {
        let ok = grey(&(0..200).collect::<Vec<u8>>());
        let mut rng = crate::rng::Rng::new(1, 1);
        for _ in 0..3000 {
            let mut bytes = ok.clone();
            for _ in 0..1 + rng.below(4) {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] = rng.bits() as u8;
            }
            bytes.truncate(rng.below(bytes.len() as u64 + 1) as usize);
            let _ = guarded(Path::new("damaged.png"), "damaged", || decode(bytes));
        }
    }
}
