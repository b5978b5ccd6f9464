//! Reading files whose size their kind bounds.

use std::fs::File;
use std::io::{Error, Read, Result};
use std::path::Path;

/// The bytes of a file of at most `most` bytes; what has more, a device without an end among them, is refused before it fills memory.
///
/// # Errors
/// Where it cannot be read, or has more.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > most {
        true => Err(Error::other(format!("it has more than the {most} bytes that such a file may have"))),
        false => Ok(bytes),
    }
}

/// The bytes of a file on a disk, of any size: folders, pipes and devices are refused.
///
/// # Errors
/// Where it cannot be read, or is no file.
pub fn read_whole(path: &Path) -> Result<Vec<u8>> {
    if std::fs::metadata(path)?.is_file() {
        std::fs::read(path)
    } else {
        Err(Error::other("it is not a file (a folder, a pipe or a device)"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("four");
        std::fs::write(&file, [1; 4]).unwrap();
        assert_eq!(read(&file, 4).unwrap(), [1; 4]);
        assert_eq!(read_whole(&file).unwrap(), [1; 4]);
        assert!(read(&file, 3).unwrap_err().to_string().contains("more than the 3 bytes"));
        assert!(read_whole(folder.path()).unwrap_err().to_string().contains("a folder"));
        if cfg!(unix) {
            let endless = Path::new("/dev/zero");
            assert!(read(endless, 1000).is_err() && read_whole(endless).is_err());
        }
    }
}
