//! The share of a folder's images that is held back for testing.

use super::{Part, names};
use crate::listed::Listed;
use crate::{DataError, folder};

/// Takes `share` of each class out of `part`, at least one file and not all: those whose paths below the folder have
/// the smallest hashes, so that the same files are taken every time, and a file more changes little.
///
/// # Errors
/// [`DataError::Format`] where the share is none, or a class has one image only.
pub(super) fn hold_back(part: &mut Part, share: f64) -> Result<Part, DataError> {
    let refuse = |reason: String| Err(folder::refuse(&part.folder, &reason));
    if !(share > 0.0 && share < 1.0) {
        return refuse(format!("a share of {share} for testing; it is above 0 and below 1"));
    }
    let hash = |listed: &Listed| {
        let path = listed.path.strip_prefix(&part.folder).unwrap_or(&listed.path);
        let path = names::nfc(&path.to_string_lossy()).replace(std::path::MAIN_SEPARATOR, "/");
        crc::Crc::<u64>::new(&crc::CRC_64_XZ).checksum(path.as_bytes())
    };
    let mut held = vec![false; part.files.len()];
    for label in 0..part.classes.len() as u32 {
        let mut class: Vec<usize> =
            (0..part.files.len()).filter(|&index| part.files[index].label == label).collect();
        match class.len() {
            0 => continue,
            1 => {
                return refuse(format!(
                    "class {} has one image only, so none can be held back for testing; name other test images with --test-data",
                    names::shown(&part.classes[label as usize])
                ));
            }
            _ => {}
        }
        class.sort_by_cached_key(|&index| hash(&part.files[index]));
        let count = ((share * class.len() as f64).round() as usize).clamp(1, class.len() - 1);
        class[..count].iter().for_each(|&index| held[index] = true);
    }
    let take = |wanted: bool| {
        let pairs = part.files.iter().zip(&held).filter(|(_, held)| **held == wanted);
        pairs.map(|(listed, _)| listed.clone()).collect::<Vec<_>>()
    };
    let (train, test) = (take(false), take(true));
    part.files = train;
    Ok(Part {
        folder: part.folder.clone(),
        source: format!(
            "{share} of each class of {}, held back: the same images every time",
            lrpet_report::visible_path(&part.folder)
        ),
        classes: part.classes.clone(),
        files: test,
        bad: Vec::new(),
        ignored: Vec::new(),
        left_out: Vec::new(),
        doubts: Vec::new(),
    })
}
