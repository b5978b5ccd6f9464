//! Paths below a folder: which are no data by their name, and which are the same folder.

use std::path::Path;

/// Folders of systems, file managers, storage boxes and notebooks, in lower case: copies and thumbnails, no data.
const LEFT_OUT: [&str; 13] = [
    "__macosx",
    "@eadir",
    "@recycle",
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "lost+found",
    "system volume information",
    "recycler",
    "__pycache__",
    "_vti_cnf",
    "picasaoriginals",
    "found.000",
];

/// Whether a file or folder is none of the data by its name: hidden, or of a system or program.
pub(super) fn is_left_out(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    name.starts_with('.') || LEFT_OUT.contains(&&*name)
}

/// Whether `folder` is `other`, by whatever way.
pub(super) fn is_same(folder: &Path, other: Option<&Path>) -> bool {
    let whole = |path: &Path| path.canonicalize().ok();
    other.is_some_and(|other| whole(folder).is_some_and(|folder| whole(other) == Some(folder)))
}
