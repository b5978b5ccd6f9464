//! The serial service from the desktop's side, and emulators that run it.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::build::Image;
use crate::process;

/// Longest wait for a reply, or for an emulator.
const PATIENCE: Duration = Duration::from_secs(120);

/// Bytes of an image on one line, as MLPerf Tiny's runner sends them.
const IMAGE_BYTES: usize = 31;

/// The end of every reply.
const READY: &str = "m-ready";

/// Speaks the protocol of MLPerf Tiny with a board, over anything that carries bytes.
pub struct Client<S> {
    line: S,
    /// What came behind the last reply.
    rest: Vec<u8>,
}

impl<S: Read + Write> Client<S> {
    /// Over `line`, on which reading must end with an error some time where nothing comes.
    pub fn new(line: S) -> Self {
        Self { line, rest: Vec::new() }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.line.write_all(bytes).and_then(|()| self.line.flush()).context("the serial line takes no bytes")
    }

    /// The lines of the next reply, without their ends and without the last one, `m-ready`. Bytes that are no text become `�`.
    pub fn reply(&mut self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            while let Some(end) = self.rest.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&self.rest[..end]).into_owned();
                self.rest.drain(..end + 2);
                if line == READY {
                    return Ok(lines);
                }
                lines.push(line);
            }
            let so_far = || format!("the reply does not come to its end after {lines:?}");
            match self.line.read(&mut buffer) {
                Ok(0) => bail!("the line was closed: {}", so_far()),
                Ok(count) => self.rest.extend(buffer.iter().take(count)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).with_context(so_far),
            }
        }
    }

    /// Sends a command, without its `%`, and reads the reply.
    pub fn command(&mut self, command: &str) -> Result<Vec<String>> {
        self.send(format!("{command}%").as_bytes())?;
        self.reply()
    }

    /// As [`Client::command`]; an error where the reply is one.
    pub fn obeyed(&mut self, command: &str) -> Result<Vec<String>> {
        let reply = self.command(command)?;
        if let Some(error) = reply.iter().find(|line| line.starts_with("e-[")) {
            bail!("`{command}%` is answered with {error}");
        }
        Ok(reply)
    }

    /// Loads an image, h·w·c bytes.
    pub fn load(&mut self, image: &[u8]) -> Result<()> {
        self.obeyed(&format!("db load {}", image.len()))?;
        let mut last = Vec::new();
        for bytes in image.chunks(IMAGE_BYTES) {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            last = self.obeyed(&format!("db {digits}"))?;
        }
        ensure!(last == ["m-load-done"], "the image's last bytes are answered with {last:?}");
        Ok(())
    }

    /// The scores of the last inference.
    pub fn results(&mut self) -> Result<Vec<f32>> {
        let reply = self.obeyed("results")?;
        scores(&reply).with_context(|| format!("`results%` is answered with {reply:?}"))
    }

    /// Makes `count` inferences after `warm_up`; gives their microseconds and the scores.
    pub fn infer(&mut self, count: u32, warm_up: u32) -> Result<(u64, Vec<f32>)> {
        let reply = self.obeyed(&format!("infer {count} {warm_up}"))?;
        let laps: Vec<u64> =
            reply.iter().filter_map(|line| line.strip_prefix("m-lap-us-")?.parse().ok()).collect();
        match (&laps[..], scores(&reply)) {
            ([start, end], Some(scores)) if end >= start => Ok((end - start, scores)),
            _ => bail!("`infer%` is answered with {reply:?}"),
        }
    }
}

/// The scores of a reply that has them.
fn scores(reply: &[String]) -> Option<Vec<f32>> {
    let list = reply.iter().find_map(|line| line.strip_prefix("m-results-[")?.strip_suffix(']'))?;
    list.split(',').map(|score| score.parse().ok()).collect()
}

/// An emulated board that serves, until this is dropped.
pub struct Served {
    emulator: Child,
    /// Speaks with it.
    pub client: Client<UnixStream>,
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.emulator.kill();
        let _ = self.emulator.wait();
    }
}

impl Image<'_> {
    /// The emulator that runs the service, with its first UART at `device` (see QEMU's option `-serial`) and `more` options.
    pub fn serve_command(&self, device: &str, more: &[String]) -> Result<Command> {
        let service = ["-semihosting-config", "arg=serve", "-serial", device].map(str::to_owned);
        let whole = self.emulator(&[&service[..], more].concat())?;
        let mut command = Command::new(whole.get_program());
        let mut words = whole.get_args().peekable();
        while let Some(word) = words.next() {
            // For a report the runner turns the UART off.
            if word == "-serial" && words.next_if(|next| *next == "none").is_some() {
                continue;
            }
            command.arg(word);
        }
        Ok(command)
    }

    /// Starts the service in the emulator with `more` options; ready for the first command.
    pub fn serve(&self, more: &[String]) -> Result<Served> {
        let socket = socket_file();
        let listener = UnixListener::bind(&socket)
            .with_context(|| format!("cannot make the socket {}", socket.display()))?;
        let started = self.start(&listener, &format!("unix:{}", socket.display()), more);
        let _ = std::fs::remove_file(&socket);
        let mut served = started?;
        let greeting = served.client.reply()?;
        ensure!(greeting == ["m-init-done"], "the service begins with {greeting:?}");
        Ok(served)
    }

    fn start(&self, listener: &UnixListener, device: &str, more: &[String]) -> Result<Served> {
        let mut command = self.serve_command(device, more)?;
        let mut emulator = command
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start `{}`", process::spell(&command)))?;
        match accept(listener, &mut emulator) {
            Ok(line) => Ok(Served { emulator, client: Client::new(line) }),
            Err(error) => {
                let _ = emulator.kill();
                let _ = emulator.wait();
                Err(error.context(format!("`{}`", process::spell(&command))))
            }
        }
    }
}

/// Waits for the emulator's connection.
fn accept(listener: &UnixListener, emulator: &mut Child) -> Result<UnixStream> {
    listener.set_nonblocking(true)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match listener.accept() {
            Ok((line, _)) => {
                line.set_nonblocking(false)?;
                line.set_read_timeout(Some(PATIENCE))?;
                return Ok(line);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("the emulator cannot be reached"),
        }
        if let Some(status) = emulator.try_wait()? {
            bail!("the emulator ended ({status})");
        }
        ensure!(Instant::now() < deadline, "the emulator does not connect");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A file name that nobody else uses, short enough for a socket.
fn socket_file() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("lrpet-{}-{next}.uart", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives bytes in small pieces and forgets what is written.
    struct Wire(Vec<u8>);

    impl Read for Wire {
        fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
            let count = 3.min(self.0.len());
            to[..count].copy_from_slice(&self.0[..count]);
            self.0.drain(..count);
            Ok(count)
        }
    }

    impl Write for Wire {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn replies_end_with_ready_however_they_come() {
        let sent =
            b"m-name-dut-[b]\r\nm-ready\r\nm-results-[0.100,0.900]\r\nm-ready\r\ne-[no]\r\nm-ready\r\nm-";
        let mut client = Client::new(Wire(sent.to_vec()));
        assert_eq!(client.command("name").unwrap(), ["m-name-dut-[b]"]);
        assert_eq!(client.results().unwrap(), [0.1, 0.9]);
        assert!(client.obeyed("db 0").unwrap_err().to_string().contains("e-[no]"));
        assert!(client.reply().unwrap_err().to_string().contains("closed"));
    }

    #[test]
    fn an_inference_is_the_time_between_its_laps() {
        let sent = b"m-warmup-done\r\nm-lap-us-10\r\nm-lap-us-35\r\nm-results-[1.000]\r\nm-ready\r\n";
        assert_eq!(Client::new(Wire(sent.to_vec())).infer(1, 0).unwrap(), (25, vec![1.0]));
    }
}
