//! Image files: one, a folder of them, or a folder per class.

use std::io::Write;
use std::path::{Path, PathBuf};

use bantam_core::schema::{InputSchema, TargetKind, normalise_pixel};
use bantam_data::images::{entries, has_extension, read_image};
use bantam_data::{Error, ErrorKind, Result, Target};

use super::{PredictOptions, Predictor, Session, Summary, class_index};

/// An image file and the folder that names its class.
pub(super) struct ImageFile {
    path: PathBuf,
    class: Option<String>,
}

/// The images at `path`, in the order of their names, or `None` when there are none: of a folder
/// those in it, else those in its subfolders, which then are classes.
pub(super) fn find(path: &Path) -> Result<Option<Vec<ImageFile>>> {
    if is_image(path) {
        let path = path.to_owned();
        return Ok(Some(vec![ImageFile { path, class: None }]));
    }
    if !path.is_dir() {
        return Ok(None);
    }
    let mut files = Vec::new();
    let entries = entries(path)?;
    for path in entries.iter().filter(|p| is_image(p)) {
        let path = path.clone();
        files.push(ImageFile { path, class: None });
    }
    if files.is_empty() {
        for folder in entries.iter().filter(|p| p.is_dir()) {
            let class = folder.file_name().map(|n| n.to_string_lossy().into_owned());
            for path in self::entries(folder)?.into_iter().filter(|p| is_image(p)) {
                let class = class.clone();
                files.push(ImageFile { path, class });
            }
        }
    }
    Ok((!files.is_empty()).then_some(files))
}

/// Answers images one batch after the other.
pub(super) fn predict(
    predictor: &mut Predictor,
    files: &[ImageFile],
    options: &PredictOptions,
    out: &mut dyn Write,
) -> crate::Result<Summary> {
    let schema = predictor.schema.clone();
    let mut session = Session::new(predictor, options.format, out, true)?;
    for file in files {
        let target = match (&file.class, &schema.target.kind) {
            (Some(name), TargetKind::Classes(_)) => {
                let class = class_index(&schema, name).map_err(|e| e.in_file(&file.path))?;
                Some(Target::Class(class))
            }
            _ => None,
        };
        append(&file.path, &schema.input, &mut session.batch.x)
            .map_err(|e| e.in_file(&file.path))?;
        session.push(target, Some(file.path.display().to_string()))?;
    }
    session.finish()
}

/// Appends the normalised pixels of an image, channel by channel. A grey image is repeated where the
/// network expects colour.
fn append(path: &Path, schema: &InputSchema, x: &mut Vec<f32>) -> Result<()> {
    let InputSchema::Image {
        channels,
        height,
        width,
        offset,
        scale,
    } = schema
    else {
        let message = "expected an array of numbers, found an image";
        return Err(Error::new(ErrorKind::Format, message));
    };
    let image = read_image(path)?;
    let found = [image.width, image.height];
    if found != [*width, *height] {
        let message = format!(
            "expected {width} x {height} pixels, found {} x {}",
            found[0], found[1]
        );
        let hint = "resize or crop the images to the size that the network was trained on";
        return Err(Error::new(ErrorKind::Format, message).with_hint(hint));
    }
    let stored = image.channels;
    if stored > *channels {
        let message = format!("expected a grey image, found one with {stored} channels");
        let hint = "the network was trained on grey images: save this one as grey";
        return Err(Error::new(ErrorKind::Format, message).with_hint(hint));
    }
    for channel in 0..*channels {
        let (offset, scale) = (offset[channel], scale[channel]);
        let plane = image
            .pixels
            .iter()
            .skip(channel.min(stored - 1))
            .step_by(stored);
        x.extend(plane.map(|&p| normalise_pixel(p, offset, scale)));
    }
    Ok(())
}

fn is_image(path: &Path) -> bool {
    has_extension(path) && !path.is_dir()
}
