//! How a user states ranks.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Budget, LrpetError, RankList, RankPlan, Scope, Spectrum};
use crate::network::Network;

/// How ranks are chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// One pruning ratio g for all layers ([`RankPlan::uniform`]); 0 is dense.
    Prune(f64),
    /// A rank for each listed layer, the others dense.
    Listed(RankList),
    /// The smallest ranks that keep this share of each layer's energy.
    Energy(f64),
    /// The ranks that keep most energy under a budget ([`Budget::plan`]).
    Budget(Budget),
}

/// A rule with the layers that it may factor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankRule {
    /// How ranks are chosen.
    pub rule: Rule,
    /// The layers that may be factored. A list names its layers itself.
    pub scope: Scope,
}

impl RankRule {
    /// True where the ranks depend on trained weights.
    pub fn needs_spectra(&self) -> bool {
        matches!(self.rule, Rule::Energy(_) | Rule::Budget(_))
    }

    /// The ranks for `network`; `spectra` are those of its trained weights, where the rule needs them.
    ///
    /// # Errors
    /// Those of the [`RankPlan`]'s rules; [`LrpetError::NoSpectra`].
    pub fn plan(
        &self,
        network: &Network,
        spectra: Option<&BTreeMap<String, Spectrum>>,
    ) -> Result<RankPlan, LrpetError> {
        let spectra = || spectra.ok_or_else(|| LrpetError::NoSpectra { rule: self.to_string() });
        match &self.rule {
            Rule::Prune(g) => RankPlan::uniform_in(network, *g, self.scope),
            Rule::Listed(list) => RankPlan::listed(network, list),
            Rule::Energy(share) => RankPlan::energy(network, *share, self.scope, spectra()?),
            Rule::Budget(budget) => Ok(budget.plan(network, self.scope, spectra()?, None)?.plan),
        }
    }
}

/// As the model card says it.
impl fmt::Display for RankRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rule {
            Rule::Prune(g) => write!(f, "{g}")?,
            Rule::Listed(_) => return f.write_str("listed"),
            Rule::Energy(share) => write!(f, "energy {share}")?,
            Rule::Budget(budget) => write!(f, "{budget}")?,
        }
        match self.scope {
            Scope::Convolutions => Ok(()),
            Scope::All => f.write_str(" (linear layers too)"),
        }
    }
}
