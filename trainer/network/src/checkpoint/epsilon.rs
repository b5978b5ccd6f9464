//! ε of a network's batch normalisations, as files of weights name it.

use std::collections::BTreeMap;

/// Key of a checkpoint's metadata with ε of the batch normalisations; files without it have [`EPSILON`](crate::network::EPSILON).
pub const BN_EPSILON: &str = "bn_epsilon";

/// ε that the metadata of a checkpoint name; `None` where they are silent.
///
/// # Errors
/// Where it is no positive number; the error says what it is.
pub fn epsilon_of(metadata: &BTreeMap<String, String>) -> Result<Option<f64>, String> {
    let named = metadata.get(BN_EPSILON).map(String::as_str);
    // The checkpoints of a run that goes on have it among its settings.
    let settings: Option<serde_json::Value> =
        metadata.get("settings").and_then(|settings| serde_json::from_str(settings).ok());
    let set = settings.and_then(|settings| settings.get(BN_EPSILON)?.as_f64());
    named.map_or(Ok(set), |text| parse_epsilon(text).map(Some))
}

/// ε as a number.
///
/// # Errors
/// Where it is not above 0 and below 1, or nothing in f32.
pub fn parse_epsilon(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        // Smaller ones are subnormal or 0 in f32, in which it is added to variances.
        Ok(epsilon) if epsilon >= f32::MIN_POSITIVE.into() && epsilon < 1.0 => Ok(epsilon),
        Ok(epsilon) if epsilon > 0.0 && epsilon < 1.0 => Err(format!(
            "{text} is 0 beside a variance in f32; ε of a batch normalisation is a number such as 1e-3"
        )),
        _ => Err(format!(
            "{text:?} is no ε of a batch normalisation, which is above 0 and below 1, such as 1e-3"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epsilon_is_read_from_the_metadata_or_the_settings() {
        let of = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            epsilon_of(&pairs.collect())
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[("bn_epsilon", "0.001")]), Ok(Some(1e-3)));
        assert_eq!(of(&[("settings", "{\"bn_epsilon\":0.001}")]), Ok(Some(1e-3)));
        assert_eq!(of(&[("settings", "{\"seed\":1}")]), Ok(None));
        for bad in ["0", "-1e-3", "NaN", "one", "1", "1e-300"] {
            assert!(of(&[("bn_epsilon", bad)]).unwrap_err().contains("such as 1e-3"), "{bad}");
        }
    }
}
