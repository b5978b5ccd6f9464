//! Files that are there whole or not at all.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// A whole file under a temporary name, on the disk, not yet in its place. What stands at the place and is no file (a device, a
/// pipe) has been written to instead.
#[derive(Debug)]
pub struct Staged {
    /// The file, the path that it goes to, and the folder of both.
    file: Option<(NamedTempFile, PathBuf, PathBuf)>,
}

impl Staged {
    /// Writes a file through `write` into a temporary one in the folder of `path`, or of what a symbolic link there names. The file
    /// at `path` is untouched. Dropped or after an error, the temporary file is removed; after a kill a hidden `.lrpet-*.partial` is
    /// left. A device or a pipe at `path` is written to at once: a file in its place would not be what whoever made it wanted.
    ///
    /// # Errors
    /// What `write` or the operating system returns; a folder at `path`, and a folder that is missing or takes no file.
    pub fn new(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<Staged> {
        let (path, folder) = match place(path)? {
            Place::File { path, folder } => (path, folder),
            Place::Stream(stream) => {
                let mut writer = BufWriter::new(stream.open()?);
                write(&mut writer)?;
                writer.flush()?;
                return Ok(Staged { file: None });
            }
        };
        let file = temporary(&folder)?;
        let mut writer = BufWriter::new(file.as_file());
        write(&mut writer)?;
        writer.flush()?;
        drop(writer);
        file.as_file().sync_all()?;
        Ok(Staged { file: Some((file, path, folder)) })
    }

    /// Renames the file to its place; an old one there is replaced at once.
    ///
    /// # Errors
    /// What the operating system returns.
    pub fn commit(self) -> io::Result<()> {
        let Some((file, path, _folder)) = self.file else { return Ok(()) };
        file.persist(path).map_err(|error| error.error)?;
        // The rename itself is on the disk only with the folder.
        #[cfg(unix)]
        std::fs::File::open(_folder)?.sync_all()?;
        Ok(())
    }
}

/// What an output goes to.
enum Place {
    /// A file, there or not, behind all symbolic links, and its folder.
    File { path: PathBuf, folder: PathBuf },
    /// Something that is there and is no file.
    Stream(Stream),
}

/// What is written to as it is.
enum Stream {
    /// Standard output, by a name such as `/dev/stdout`: opened anew, a file behind it would be written from its start.
    Out,
    /// Standard error.
    Error,
    /// A device or a pipe.
    At(PathBuf),
}

impl Stream {
    fn open(&self) -> io::Result<Box<dyn Write>> {
        Ok(match self {
            Stream::Out => Box::new(io::stdout()),
            Stream::Error => Box::new(io::stderr()),
            Stream::At(path) => Box::new(std::fs::OpenOptions::new().write(true).open(path)?),
        })
    }
}

/// Symbolic links that are followed one after another, as Linux does.
const LINKS: usize = 40;

fn place(path: &Path) -> io::Result<Place> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        match path.to_str() {
            Some("/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1") => return Ok(Place::Stream(Stream::Out)),
            Some("/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2") => return Ok(Place::Stream(Stream::Error)),
            _ => {}
        }
        let there = std::fs::metadata(&path);
        if there.as_ref().is_ok_and(std::fs::Metadata::is_dir) {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a folder; a file is wanted"));
        }
        if there.is_ok_and(|there| !there.is_file()) {
            return Ok(Place::Stream(Stream::At(path)));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).to_owned();
        match std::fs::read_link(&path) {
            Ok(target) => path = folder.join(target),
            Err(_) => return Ok(Place::File { path, folder }),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

/// A temporary file in `folder`; the error speaks of the folder, not of a name that nobody gave.
fn temporary(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".lrpet-").suffix(".partial");
    #[cfg(unix)]
    {
        // As any new file (the umask applies): a temporary file would be its owner's alone.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder).map_err(|error| {
        let kind = error.kind();
        let folder = folder.display();
        io::Error::new(
            kind,
            match kind {
                io::ErrorKind::NotFound => format!("folder {folder} does not exist"),
                io::ErrorKind::NotADirectory => format!("{folder} is not a folder"),
                io::ErrorKind::PermissionDenied => format!("no permission to write to folder {folder}"),
                _ => {
                    let cause = error
                        .get_ref()
                        .and_then(|inner| std::error::Error::source(inner))
                        .map(ToString::to_string);
                    format!("folder {folder} takes no file: {}", cause.unwrap_or_else(|| kind.to_string()))
                }
            },
        )
    })
}

/// Whether an output can be written to `path`, as far as that can be known before: what is not there is tried in its folder.
///
/// # Errors
/// What [`Staged::new`] would say.
pub fn check(path: &Path) -> io::Result<()> {
    match place(path)? {
        Place::File { folder, .. } => temporary(&folder).map(drop),
        Place::Stream(_) => Ok(()),
    }
}

/// The file that an output at `path` replaces or makes, the same for all names of one file; none where it goes to a device or a
/// pipe.
///
/// # Errors
/// As [`check`].
pub fn target(path: &Path) -> io::Result<Option<PathBuf>> {
    let Place::File { path, folder } = place(path)? else { return Ok(None) };
    let folder = folder.canonicalize().map_err(|error| {
        io::Error::new(error.kind(), format!("folder {} does not exist", folder.display()))
    })?;
    Ok(Some(path.file_name().map_or_else(|| folder.clone(), |name| folder.join(name))))
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
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn links_and_pipes_stay_what_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("other")).unwrap();
        std::fs::write(at("other/page.html"), "old").unwrap();
        for (link, to) in [("link", "other/page.html"), ("second", "link"), ("ahead", "other/new.html")] {
            std::os::unix::fs::symlink(to, at(link)).unwrap();
        }
        write(&at("second"), b"new").unwrap();
        write(&at("ahead"), b"ahead").unwrap();
        for link in ["link", "second", "ahead"] {
            assert!(std::fs::symlink_metadata(at(link)).unwrap().is_symlink(), "{link}");
        }
        assert_eq!(std::fs::read(at("other/page.html")).unwrap(), b"new");
        assert_eq!(std::fs::read(at("other/new.html")).unwrap(), b"ahead");
        assert_eq!(target(&at("second")).unwrap(), target(&at("other/page.html")).unwrap());

        let pipe = at("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        std::os::unix::fs::symlink("pipe", at("to pipe")).unwrap();
        for name in ["pipe", "to pipe"] {
            let reader = std::thread::spawn({
                let pipe = pipe.clone();
                move || std::fs::read(pipe).unwrap()
            });
            write(&at(name), b"through").unwrap();
            use std::os::unix::fs::FileTypeExt;
            assert!(std::fs::metadata(&pipe).unwrap().file_type().is_fifo(), "the pipe was replaced");
            assert_eq!(reader.join().unwrap(), b"through");
        }
        assert_eq!(target(&pipe).unwrap(), None);
        std::os::unix::fs::symlink("round", at("round")).unwrap();
        assert!(check(&at("round")).unwrap_err().to_string().contains("symbolic links"));
    }

    #[test]
    fn what_cannot_be_written_is_known_before_and_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        for (path, expected) in [
            (
                dir.path().join("no/page.html"),
                format!("folder {} does not exist", dir.path().join("no").display()),
            ),
            (
                dir.path().join("file/page.html"),
                format!("{} is not a folder", dir.path().join("file").display()),
            ),
            (dir.path().to_owned(), "is a folder; a file is wanted".to_owned()),
        ] {
            assert_eq!(check(&path).unwrap_err().to_string(), expected);
            assert_eq!(write(&path, b"").unwrap_err().to_string(), expected);
        }
        check(&dir.path().join("page.html")).unwrap();
        assert_eq!(entries(dir.path()), ["file"]);
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
