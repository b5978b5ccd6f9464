//! A checkpoint named on the command line.

use std::path::Path;

use anyhow::{Context, Result};
use lrpet_network::checkpoint::Purpose;
use lrpet_network::network::Network;
use lrpet_network::{Checkpoint, Source, read_weights};

/// The checkpoint in a file, with the names of its network's tensors, and the network: `net`, or else what the file says.
pub fn open(path: &Path, net: Option<&str>) -> Result<(Checkpoint, Source)> {
    let checkpoint = read_weights(path)?;
    if checkpoint.of_unfinished_run() {
        tracing::warn!(
            "{}: the weights of a run after epoch {}, whose statistics are not averaged as those of final weights: a finished run \
             leaves {}",
            path.display(),
            checkpoint.metadata["epoch"],
            lrpet_train::FINAL
        );
    }
    let given = net.map(Source::named).transpose()?;
    let source = Source::of_weights(given, &checkpoint.metadata, path)?;
    let checkpoint =
        checkpoint.named_for(&source.usual(), None).with_context(|| path.display().to_string())?;
    Ok((checkpoint, source))
}

/// The checkpoint with what a model of `network` needs; what was assumed is a warning, and in the checkpoint's notes.
pub fn fit(checkpoint: Checkpoint, path: &Path, network: &Network) -> Result<Checkpoint> {
    let named = || path.display().to_string();
    let checkpoint = checkpoint.fit(network, Purpose::Model).with_context(named)?.checkpoint;
    checkpoint.notes.iter().for_each(|note| tracing::warn!("{}: {note}", named()));
    Ok(checkpoint)
}
