//! Every kind of error that has a cause, as the command line shows it: the cause once, whoever names it.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use anyhow::Context;
use lrpet_data::DataError;
use lrpet_network::checkpoint::CheckpointError;
use lrpet_network::export::ExportError;
use lrpet_network::lrpet::LrpetError;
use lrpet_study::launch::LaunchError;
use lrpet_study::report;
use lrpet_study::schema::sweep::SweepError;
use lrpet_train::TrainError;

const CAUSE: &str = "the disk is on fire";

fn source() -> io::Error {
    io::Error::other(CAUSE)
}

fn path() -> PathBuf {
    PathBuf::from("runs/low/final.safetensors")
}

fn candle() -> candle_core::Error {
    candle_core::Error::Msg(CAUSE.to_owned())
}

fn of<E: Error + Send + Sync + 'static>(name: &str, error: E) -> (String, anyhow::Error) {
    (name.to_owned(), anyhow::Error::new(error))
}

#[test]
fn a_cause_is_told_once_by_every_type() {
    let errors = [
        of("data", DataError::Io { path: path(), source: source() }),
        of("checkpoint", CheckpointError::Io { path: path(), source: source() }),
        of(
            "export, checkpoint",
            ExportError::Checkpoint(CheckpointError::Io { path: path(), source: source() }),
        ),
        of("export, candle", ExportError::Machine(candle().to_string())),
        of("train", TrainError::Io { path: path(), source: source() }),
        of("train, data", TrainError::Data(DataError::Io { path: path(), source: source() })),
        of("train, candle", TrainError::Candle(candle())),
        of("report", report::Error::Read { path: path(), source: source() }),
        of(
            "report, weights",
            report::Error::Weights(Box::new(CheckpointError::Io { path: path(), source: source() })),
        ),
        of("sweep", SweepError::Io { path: path(), source: source() }),
        of("launch", LaunchError::Io { path: path(), source: source() }),
        of("launch, program", LaunchError::NoProgram { program: "sbatch", source: source() }),
    ];
    for (name, error) in errors {
        // Alone, and below contexts that name the file again.
        let alone = lrpet_report::chain(error.as_ref());
        assert_eq!(alone.matches(CAUSE).count(), 1, "{name}: {alone}");
        let path = path().display().to_string();
        let named = Err::<(), _>(error).context(path.clone()).context("cannot go on").unwrap_err();
        let said = lrpet_report::chain(named.as_ref());
        assert!(said.starts_with("cannot go on: "), "{name}: {said}");
        assert_eq!(said.matches(CAUSE).count(), 1, "{name}: {said}");
        assert_eq!(said.matches(&path).count(), 1, "{name}: {said}");
    }
    // Errors that are another one's words alone.
    let inner = LrpetError::Ratio(1.5);
    let words = inner.to_string();
    let outer = anyhow::Error::new(ExportError::Lrpet(inner));
    assert_eq!(lrpet_report::chain(outer.as_ref()), words);
}
