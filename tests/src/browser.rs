//! A page as a headless browser sees it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// The document of the page `file` after its scripts ran; `profile` is a folder for the browser's own files.
///
/// # Errors
/// Where no browser is installed.
pub fn dump(file: &Path, profile: &Path) -> Result<String> {
    run(file, profile, &["--dump-dom"])
}

/// A picture of the page `file`, `size` pixels wide and high, as PNG in `picture`.
///
/// # Errors
/// Where no browser is installed.
pub fn screenshot(file: &Path, profile: &Path, picture: &Path, size: [u32; 2]) -> Result<()> {
    let [width, height] = size;
    let picture = format!("--screenshot={}", picture.display());
    run(file, profile, &[&picture, &format!("--window-size={width},{height}")]).map(|_| ())
}

fn run(file: &Path, profile: &Path, options: &[&str]) -> Result<String> {
    let output = BROWSERS.iter().find_map(|name| {
        Command::new(name)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .args(options)
            .arg(file)
            .output()
            .ok()
    });
    let output = output.context("no browser is installed: run `cargo xtask setup`")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
