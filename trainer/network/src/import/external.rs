//! Elements that lie in a file beside the model's.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path};

use crate::onnx::proto::TensorProto;

/// The `bytes` bytes of a constant that lie in a file of `folder`, or of a folder in it.
///
/// # Errors
/// Where the file is elsewhere, missing or too short; the error says which it is.
pub(crate) fn read(proto: &TensorProto, bytes: usize, folder: Option<&Path>) -> Result<Vec<u8>, String> {
    let entry = |key: &str| {
        let entry = proto.external_data.iter().find(|entry| entry.key.as_deref() == Some(key))?;
        entry.value.as_deref()
    };
    let number = |key: &str| -> Result<Option<u64>, String> {
        entry(key)
            .map(|text| {
                text.parse().map_err(|_| format!("an external {key} of {text:?}, which is no number"))
            })
            .transpose()
    };
    let location = entry("location").ok_or("elements in another file whose name is missing")?;
    let folder =
        folder.ok_or_else(|| format!("elements in the file {location:?}, and no folder to find it in"))?;
    let inside =
        Path::new(location).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let outside =
        || format!("elements in the file {location:?}, outside the model's folder; they are not read");
    if !inside {
        return Err(outside());
    }
    let fails =
        |error: std::io::Error| format!("elements in the file {location:?} beside the model: {error}");
    let path = folder.join(location).canonicalize().map_err(fails)?;
    // A link may lead out of the folder.
    if !path.starts_with(folder.canonicalize().map_err(fails)?) {
        return Err(outside());
    }
    let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
    if length.is_some_and(|length| length != bytes as u64) {
        return Err(format!(
            "an external length of {} where its shape takes {bytes} bytes",
            length.unwrap_or(0)
        ));
    }
    let mut file = File::open(&path).map_err(fails)?;
    let size = file.metadata().map_err(fails)?.len();
    if offset.checked_add(bytes as u64).is_none_or(|end| end > size) {
        return Err(format!(
            "{bytes} bytes from byte {offset} on in the file {location:?}, which has {size}"
        ));
    }
    file.seek(SeekFrom::Start(offset)).map_err(fails)?;
    let mut data = vec![0; bytes];
    file.read_exact(&mut data).map_err(fails)?;
    Ok(data)
}
