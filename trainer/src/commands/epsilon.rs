//! ε of the batch normalisations, from the command line or from a file of weights.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, anyhow, bail};
use lrpet_network::checkpoint::epsilon::{epsilon_of, parse_epsilon};
use lrpet_network::network::{NETWORK_FILE, Network};

#[derive(clap::Args)]
pub struct EpsilonArgs {
    /// ε under the root of every batch normalisation; Keras' is 1e-3 [default: what the file of weights says, or 1e-5]
    #[arg(long, value_name = "EPS", value_parser = parse_epsilon)]
    bn_epsilon: Option<f64>,
}

impl EpsilonArgs {
    /// Whether ε is given.
    pub fn given(&self) -> bool {
        self.bn_epsilon.is_some()
    }

    /// `network` with what is given in all its batch normalisations, or else with what `metadata` of the file of weights say, or
    /// else as it is. Two that differ are refused.
    pub fn of(&self, network: Network, metadata: &BTreeMap<String, String>, file: &Path) -> Result<Network> {
        // A network that the metadata describe has its own.
        let found = self.found(metadata, file)?;
        Ok(match found.filter(|_| self.bn_epsilon.is_some() || !metadata.contains_key(NETWORK_FILE)) {
            Some(epsilon) => network.with_epsilon(epsilon),
            None => network,
        })
    }

    /// What is given, or else what `metadata` of the file of weights say.
    pub fn found(&self, metadata: &BTreeMap<String, String>, file: &Path) -> Result<Option<f64>> {
        let said = epsilon_of(metadata).map_err(|reason| anyhow!("{}: {reason}", file.display()))?;
        match (self.bn_epsilon, said) {
            (Some(given), Some(said)) if given != said => bail!(
                "{} was trained with ε = {said:?} in its batch normalisations, and --bn-epsilon is {given:?}: leave the option away",
                file.display()
            ),
            (given, said) => Ok(given.or(said)),
        }
    }

    /// As [`EpsilonArgs::of`], where no weights are read.
    pub fn alone(&self) -> Option<f64> {
        self.bn_epsilon
    }

    /// The words of the option, where it is given.
    pub fn words(&self) -> Vec<std::ffi::OsString> {
        let words = self.bn_epsilon.map(|epsilon| ["--bn-epsilon".into(), format!("{epsilon:?}").into()]);
        words.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn option_and_file_must_agree() {
        let file = |text: &str| BTreeMap::from([("bn_epsilon".to_owned(), text.to_owned())]);
        let of = |given, metadata: &BTreeMap<String, String>| {
            EpsilonArgs { bn_epsilon: given }.found(metadata, Path::new("weights.safetensors"))
        };
        assert_eq!(of(None, &BTreeMap::new()).unwrap(), None);
        assert_eq!(of(Some(1e-3), &BTreeMap::new()).unwrap(), Some(1e-3));
        assert_eq!(of(None, &file("0.001")).unwrap(), Some(1e-3));
        assert_eq!(of(Some(1e-3), &file("0.001")).unwrap(), Some(1e-3));
        let error = of(Some(1e-5), &file("0.001")).unwrap_err().to_string();
        assert!(error.contains("weights.safetensors") && error.contains("--bn-epsilon"), "{error}");
        assert!(of(None, &file("x")).unwrap_err().to_string().contains("weights.safetensors"));
    }
}
