//! A checkpoint named on the command line.

use std::path::Path;

use anyhow::{Context, Result};
use lrpet_network::Checkpoint;
use lrpet_network::checkpoint::Purpose;
use lrpet_network::network::{Known, Network};
use lrpet_runtime::model::Shape;

/// The checkpoint in a file, with the names of its network's tensors, and the network's name: `net`, or else what the file says.
pub fn open(path: &Path, net: Option<&str>) -> Result<(Checkpoint, String)> {
    let checkpoint = Checkpoint::read(path)?;
    if checkpoint.of_unfinished_run() {
        tracing::warn!(
            "{}: the weights of a run after epoch {}, whose statistics are not averaged as those of final weights: a finished run \
             leaves {}",
            path.display(),
            checkpoint.metadata["epoch"],
            lrpet_train::FINAL
        );
    }
    let net = net.or(checkpoint.metadata.get("network").map(String::as_str)).map(str::to_owned);
    let net = net.context("the checkpoint names no network: name it with --net")?;
    // The layers of a network have the same names for all images and classes.
    let (shape, classes) =
        Known::by_name(&net).map_or((Shape::new(3, 32, 32), 1), |known| (known.input, known.classes));
    let known = super::train::network(&net, shape, classes)?;
    let checkpoint = checkpoint.named_for(&known, None).with_context(|| path.display().to_string())?;
    Ok((checkpoint, net))
}

/// The checkpoint with what a model of `network` needs; what was assumed is a warning, and in the checkpoint's notes.
pub fn fit(checkpoint: Checkpoint, path: &Path, network: &Network) -> Result<Checkpoint> {
    let named = || path.display().to_string();
    let checkpoint = checkpoint.fit(network, Purpose::Model).with_context(named)?.checkpoint;
    checkpoint.notes.iter().for_each(|note| tracing::warn!("{}: {note}", named()));
    Ok(checkpoint)
}
