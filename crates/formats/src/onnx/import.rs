//! From the messages of an ONNX file to a [`Graph`].

use std::path::Path;

use super::{Model, ReadLimits, schema};
use crate::{Error, ErrorKind, Result};

pub(super) fn model(bytes: &[u8], _folder: Option<&Path>, _limits: &ReadLimits) -> Result<Model> {
    let _ = schema::model(bytes)?;
    Err(Error::new(ErrorKind::Unsupported, "importing ONNX is not there yet"))
}
