//! Files that are there whole or not at all.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// A whole file under a temporary name, on the disk, not yet in its place.
#[derive(Debug)]
pub struct Staged {
    file: NamedTempFile,
    path: PathBuf,
    folder: PathBuf,
}

impl Staged {
    /// Writes a file through `write` into a temporary one in the folder of `path`. The file at `path` is untouched.
    /// Dropped or after an error, the temporary file is removed; after a kill a hidden `.lrpet-*.partial` is left.
    ///
    /// # Errors
    /// What `write` or the operating system returns.
    pub fn new(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<Staged> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        builder.prefix(".lrpet-").suffix(".partial");
        #[cfg(unix)]
        {
            // As any new file (the umask applies): a temporary file would be its owner's alone.
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        // The name of the temporary file says nothing to anyone.
        let file = builder.tempfile_in(folder).map_err(|error| match error.kind() {
            kind @ io::ErrorKind::NotFound => io::Error::new(kind, "its folder does not exist"),
            kind => io::Error::new(kind, format!("its folder: {kind}")),
        })?;
        let mut writer = BufWriter::new(file.as_file());
        write(&mut writer)?;
        writer.flush()?;
        drop(writer);
        file.as_file().sync_all()?;
        Ok(Staged { file, path: path.to_owned(), folder: folder.to_owned() })
    }

    /// Renames the file to its place; an old one there is replaced at once.
    ///
    /// # Errors
    /// What the operating system returns.
    pub fn commit(self) -> io::Result<()> {
        self.file.persist(&self.path).map_err(|error| error.error)?;
        // The rename itself is on the disk only with the folder.
        #[cfg(unix)]
        std::fs::File::open(&self.folder)?.sync_all()?;
        Ok(())
    }
}

/// Writes `bytes` to a temporary file and renames it over `path` once it is on the disk. Whatever goes wrong before
/// (an error, a full disk, a kill), the old file is untouched.
///
/// # Errors
/// What the operating system returns.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    Staged::new(path, |writer| writer.write_all(bytes))?.commit()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::process::{Command, ExitStatus};

    const TARGET: &str = "LRPET_TEST_ATOMIC_TARGET";

    fn entries(folder: &Path) -> Vec<String> {
        let names = std::fs::read_dir(folder).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn replaces_the_file_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        write(&path, b"old").unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(entries(dir.path()), ["model.safetensors"]);
        let plain = dir.path().join("plain");
        std::fs::write(&plain, b"").unwrap();
        let permissions = |path: &Path| std::fs::metadata(path).unwrap().permissions();
        assert_eq!(permissions(&path), permissions(&plain));
    }

    #[test]
    fn an_error_in_the_middle_keeps_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        write(&path, b"old").unwrap();
        let failed = Staged::new(&path, |writer| {
            writer.write_all(&[1; 1 << 20])?;
            Err(io::Error::other("halfway"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "halfway");
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(entries(dir.path()), ["model.safetensors"]);
        let error = write(&dir.path().join("no/such/folder"), b"x").unwrap_err();
        assert_eq!(
            (error.kind(), &*error.to_string()),
            (io::ErrorKind::NotFound, "its folder does not exist")
        );
    }

    /// Not a test by itself: writes a megabyte where the tests below tell it to, under a limit on the size of
    /// files.
    #[test]
    fn child() {
        if let Some(path) = std::env::var_os(TARGET) {
            write(Path::new(&path), &[1; 1 << 20]).unwrap();
        }
    }

    /// Runs [`child`] under a limit of a few kilobytes a file; `prelude` says what the signal at the limit
    /// does.
    fn limited(path: &Path, prelude: &str) -> ExitStatus {
        let script = format!(r#"{prelude} ulimit -f 8; exec "$0" --exact atomic::tests::child"#);
        let test = std::env::current_exe().unwrap();
        let output = Command::new("sh").args(["-c", &script]).arg(test).env(TARGET, path).output().unwrap();
        output.status
    }

    #[test]
    fn a_full_disk_keeps_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        write(&path, b"old").unwrap();
        // With the signal ignored, the write fails as on a full disk.
        assert_eq!(limited(&path, "trap '' XFSZ;").code(), Some(101));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(entries(dir.path()), ["model.safetensors"]);
    }

    #[test]
    fn a_kill_keeps_the_old_file() {
        use std::os::unix::process::ExitStatusExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        write(&path, b"old").unwrap();
        assert!(limited(&path, "").signal().is_some());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
    }
}
