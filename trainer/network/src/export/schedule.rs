//! A model file with another schedule: in which stretches a device runs the program.

use lrpet_runtime::host::AlignedBytes;
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::Model;
use lrpet_runtime::model::program::SCHEDULE_TENSOR;
use lrpet_runtime::plan::{Choice, Plan, Ram, curve};
use serde_json::Value;

use super::{ExportError, checked};

/// The schedule that suits a memory.
#[derive(Clone, Debug)]
pub struct Chosen {
    isa: Isa,
    /// The schedule and its plan.
    pub choice: Choice,
    /// Its estimated instructions, as a share of layer by layer.
    pub cost: f64,
}

impl Chosen {
    /// The schedule of `model` on `isa` that suits `ram`; errors name it `what`.
    ///
    /// # Errors
    /// [`ExportError::Model`] where it cannot be planned, and where no schedule fits.
    pub fn of(model: &Model<'_>, isa: Isa, ram: Ram, what: &str) -> Result<Chosen, ExportError> {
        let choices = choices(model, isa, what)?;
        let choice = &choices[ram.choose(&choices).map_err(|error| refused(what, error))?];
        Ok(Chosen { isa, choice: choice.clone(), cost: share(&choices, choice) })
    }

    /// The model file `file` with this schedule.
    ///
    /// # Errors
    /// As [`in_file`].
    pub fn in_file(&self, file: &[u8]) -> Result<Vec<u8>, ExportError> {
        in_file(file, self.isa, &self.choice)
    }
}

fn refused(what: &str, reason: impl std::fmt::Display) -> ExportError {
    ExportError::Model { what: what.to_owned(), reason: reason.to_string() }
}

/// The schedules of `model` on `isa`, from layer by layer to the least memory; errors name it `what`.
///
/// # Errors
/// [`ExportError::Model`] where it cannot be planned.
pub fn choices(model: &Model<'_>, isa: Isa, what: &str) -> Result<Vec<Choice>, ExportError> {
    curve(model.program(), isa).map_err(|error| refused(what, error))
}

/// Estimated instructions of a choice, as a share of layer by layer, the first of `choices`.
pub fn share(choices: &[Choice], choice: &Choice) -> f64 {
    choice.cost as f64 / choices.first().map_or(1, |layers| layers.cost).max(1) as f64
}

/// The model file `file` with the schedule `choice`, held against what was planned for it on `isa`.
///
/// # Errors
/// As [`with_schedule`]; [`ExportError::Model`] where the file is no model, or needs another arena with it.
pub fn in_file(file: &[u8], isa: Isa, choice: &Choice) -> Result<Vec<u8>, ExportError> {
    const WHAT: &str = "the model with its schedule";
    let file = with_schedule(file, &choice.bytes())?;
    let bytes = AlignedBytes::copy_of(&file);
    let model = checked(bytes.as_slice(), WHAT)?;
    let plan = Plan::new(model.program(), isa).map_err(|error| refused(WHAT, error))?;
    if plan != choice.plan {
        let [needed, planned] = [plan, choice.plan].map(|plan| plan.arena_bytes);
        return Err(refused(WHAT, format!("it needs {needed} bytes and not {planned}")));
    }
    Ok(file)
}

/// The model file `file` with `schedule` (the bytes of `lrpet.schedule`), without one where that is empty. Everything else keeps its
/// bytes and its place: the schedule is the last tensor.
///
/// # Errors
/// [`ExportError::Format`] where the file is no safetensors file, or has a schedule that is not its last tensor.
pub fn with_schedule(file: &[u8], schedule: &[u8]) -> Result<Vec<u8>, ExportError> {
    let format = |reason: &str| ExportError::Format(reason.to_owned());
    let (length, rest) = file.split_first_chunk::<8>().ok_or_else(|| format("no header"))?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok();
    let (header, data) = length
        .and_then(|length| rest.split_at_checked(length))
        .ok_or_else(|| format("the header is cut off"))?;
    let header = std::str::from_utf8(header).map_err(|_| format("the header is no text"))?.trim_end();
    let known: Value =
        serde_json::from_str(header).map_err(|error| ExportError::Format(error.to_string()))?;
    let (mut header, mut data) = (header.to_owned(), data);
    if let Some(old) = known.get(SCHEDULE_TENSOR) {
        let begin = old["data_offsets"][0].as_u64().and_then(|begin| usize::try_from(begin).ok());
        let end = old["data_offsets"][1].as_u64().and_then(|end| usize::try_from(end).ok());
        let at = header.rfind(&format!(",\"{SCHEDULE_TENSOR}\""));
        let last = end == Some(data.len()) && at.is_some_and(|at| !header[at + 1..].contains("},\""));
        let (Some(begin), Some(at), true) = (begin, at, last) else {
            return Err(format("its schedule is not its last tensor; make the model again"));
        };
        header.truncate(at);
        header.push('}');
        data = data.get(..begin).ok_or_else(|| format("its schedule lies outside of it"))?;
    }
    if !schedule.is_empty() {
        let (begin, end) = (data.len(), data.len() + schedule.len());
        header.pop();
        let entry = format!(
            ",\"{SCHEDULE_TENSOR}\":{{\"dtype\":\"U8\",\"shape\":[{}],\"data_offsets\":[{begin},{end}]}}}}",
            schedule.len()
        );
        header.push_str(&entry);
    }
    let mut header = header.into_bytes();
    // The data begins at a multiple of 8.
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok([&(header.len() as u64).to_le_bytes()[..], &header, data, schedule].concat())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lrpet_runtime::model::Stretch;

    use super::*;
    use crate::Normalization;
    use crate::export::{Folded, file::serialize};
    use crate::lrpet::RankPlan;
    use crate::network::Known;

    fn model() -> Vec<u8> {
        named("resnet8")
    }

    fn named(name: &str) -> Vec<u8> {
        let known = Known::named(name).unwrap();
        let network = known.build(known.input, known.classes).unwrap();
        let plan = RankPlan::uniform(&network, 0.6).unwrap();
        let normalization = Normalization { mean: vec![0.0; 3], std: vec![1.0; 3] };
        let card = BTreeMap::from([("network".to_owned(), name.to_owned())]);
        serialize(&Folded::zeros(&network, &plan, normalization), &card, None).unwrap()
    }

    fn arena(file: &[u8]) -> usize {
        let bytes = AlignedBytes::copy_of(file);
        let model = checked(bytes.as_slice(), "model").unwrap();
        Plan::new(model.program(), Isa::CortexM).unwrap().arena_bytes
    }

    #[test]
    fn a_schedule_is_written_replaced_and_removed() {
        let file = model();
        let schedule = |strip| Stretch::bytes(&[Stretch::new(9, strip)]);
        let one = with_schedule(&file, &schedule(1)).unwrap();
        assert!(arena(&one) < arena(&file) * 6 / 10, "{} of {}", arena(&one), arena(&file));
        let two = with_schedule(&one, &schedule(2)).unwrap();
        assert!(arena(&two) > arena(&one));
        assert_eq!(two, with_schedule(&file, &schedule(2)).unwrap());
        assert_eq!(with_schedule(&two, &[]).unwrap(), file);
        assert_eq!(with_schedule(&file, &[]).unwrap(), file);
        for cut in [0, 7, 20, 200] {
            assert!(with_schedule(&file[..cut], &schedule(1)).is_err(), "{cut}");
        }
    }

    #[test]
    fn the_curve_falls_and_each_point_is_what_it_says() {
        let file = model();
        let bytes = AlignedBytes::copy_of(&file);
        let model = checked(bytes.as_slice(), "model").unwrap();
        let choices = curve(model.program(), Isa::CortexM).unwrap();
        assert!(choices[0].stretches.is_empty() && choices.len() > 3);
        for pair in choices.windows(2) {
            assert!(pair[1].plan.arena_bytes < pair[0].plan.arena_bytes);
        }
        for choice in &choices {
            assert_eq!(arena(&with_schedule(&file, &choice.bytes()).unwrap()), choice.plan.arena_bytes);
        }
        let least = choices.last().unwrap();
        assert!(least.plan.arena_bytes * 10 < choices[0].plan.arena_bytes * 6, "{least:?}");
    }

    /// What the documentation says of large networks. The plan has what the search counts: values leave no gaps between them.
    #[test]
    fn large_networks_run_in_the_memory_of_a_microcontroller() {
        for (name, least, price) in [("mobilenet_v2", 290 << 10, 1.20), ("resnet18", 400 << 10, 1.15)] {
            let bytes = AlignedBytes::copy_of(&named(name));
            let model = checked(bytes.as_slice(), name).unwrap();
            let choices = curve(model.program(), Isa::CortexM).unwrap();
            let fits = choices.iter().filter(|choice| choice.plan.arena_bytes <= least);
            let cheapest = fits.map(|choice| choice.cost).min().expect(name);
            assert!((cheapest as f64) < choices[0].cost as f64 * price, "{name}: {cheapest}");
        }
    }
}
