//! Files for readers that take a path.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

thread_local! {
    static FOLDER: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

/// Where files take no disk, if the system has such a folder.
fn root() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

/// A folder of this thread, in which `files` lie by their names and no others.
pub fn in_folder<R>(files: &[(&str, &[u8])], read: impl FnOnce(&Path) -> R) -> R {
    FOLDER.with_borrow_mut(|folder| {
        let folder = folder.get_or_insert_with(|| {
            tempfile::Builder::new().prefix("lrpet-fuzz-").tempdir_in(root()).expect("a folder for files")
        });
        for (name, bytes) in files {
            std::fs::write(folder.path().join(name), bytes).expect("room for a file");
        }
        read(folder.path())
    })
}

/// A file called `name`.
pub fn in_file<R>(name: &str, bytes: &[u8], read: impl FnOnce(&Path) -> R) -> R {
    in_folder(&[(name, bytes)], |folder| read(&folder.join(name)))
}
