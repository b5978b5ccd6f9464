//! The models that benches run: files, or known networks with random weights.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::tally::FEATURES;
use crate::{process, toolchain};

/// A model.
#[derive(Clone, Debug)]
pub struct Model {
    /// The file's name without its end, or `NETWORK:PRUNING-RATIO`, with `:CxHxW` behind it for other images.
    pub name: String,
    /// Its file.
    pub file: PathBuf,
}

/// The model `name`: a file, or `NETWORK:PRUNING-RATIO` or `NETWORK:dense` for one with random weights, which is written
/// where it is not there. `:CxHxW` behind that is for images of another shape than the network is known for (and 10 classes).
pub fn find(name: &str) -> Result<Model> {
    let file = Path::new(name);
    let (network, ratio) = match name.split_once(':') {
        Some(parts) if !file.exists() => parts,
        _ => {
            ensure!(
                file.is_file(),
                "no model file {name}; networks are named as resnet20b:0.6 or resnet20b:dense"
            );
            let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            return Ok(Model { name: stem, file: std::path::absolute(file)? });
        }
    };
    let (ratio, shape) = ratio.split_once(':').map_or((ratio, None), |(ratio, shape)| (ratio, Some(shape)));
    if let Some(shape) = shape {
        let sizes: Vec<_> = shape.split('x').map(str::parse::<u32>).collect();
        let whole = sizes.len() == 3 && sizes.iter().all(|size| matches!(size, Ok(1..)));
        ensure!(whole, "{name}: `{shape}` is no shape; images are named as in resnet18:0.6:3x160x160");
    }
    let ratio: f64 = match ratio {
        "dense" => 0.0,
        number => number.parse().ok().with_context(|| format!("{name}: `{number}` is no pruning ratio"))?,
    };
    ensure!((0.0..1.0).contains(&ratio), "{name}: the pruning ratio is from 0 to below 1");
    let folder = crate::root().join("target/bench-models");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let images = shape.map(|shape| format!("-{shape}")).unwrap_or_default();
    let file = folder.join(format!("{network}-{ratio}{images}.safetensors"));
    if !file.is_file() {
        write(network, shape.unwrap_or("default"), ratio, &file)?;
    }
    Ok(Model { name: name.to_owned(), file })
}

/// Writes a model with random weights by an example of the tests. (It takes minutes to build: it needs the trainer.)
fn write(network: &str, shape: &str, ratio: f64, file: &Path) -> Result<()> {
    let mut command = Command::new(toolchain::cargo());
    command
        .current_dir(crate::root())
        .args(["run", "--release", "--quiet", "--package", "lrpet-tests", "--features", FEATURES])
        .args(["--example", "random-model", "--", network, shape, &ratio.to_string()])
        .arg(file);
    let log = crate::root().join("target/bench.log");
    let label = format!("writing {} (the first time, this builds the trainer)", file.display());
    process::run_logged(&mut command, &label, &log, "`lrpet info` lists the networks")
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn wrong_names_say_what_is_right() {
        let error = |name: &str| format!("{:#}", find(name).unwrap_err());
        assert!(error("nowhere.safetensors").contains("resnet20b:0.6"));
        assert!(error("resnet8:much").contains("`much` is no pruning ratio"));
        assert!(error("resnet8:1.5").contains("below 1"));
        for shape in ["32x32", "3x0x32", "axbxc", ""] {
            assert!(error(&format!("resnet8:dense:{shape}")).contains("resnet18:0.6:3x160x160"), "{shape}");
        }
    }
}
