//! Whole runs on small made-up images, followed.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use candle_core::Device;
use lrpet_train::{LAST, Length, Period, TrainConfig, TrainError};
use prost::Message;

use super::event::{Event, What};
use super::*;
use small::{choosing, config, data, network};

#[path = "../../../train/tests/small/mod.rs"]
pub(super) mod small;

/// Dies after the second batch of an epoch, as a killed process does.
struct Killer(usize);

impl Observer for Killer {
    fn step(&mut self, record: &StepRecord) {
        assert!((record.epoch, record.batch) != (self.0, 2), "killed");
    }
}

fn run(config: &TrainConfig, inner: &mut dyn Observer) -> Result<Outcome, TrainError> {
    let (network, data) = (network(), data());
    let about = About {
        command: config.command.clone(),
        network: &network,
        settings: config.settings.clone(),
        images: Images { train: 100, validation: 40, test: 40 },
        without_images: Vec::new(),
        augmentation: "random | crop".to_owned(),
        device: "CPU".to_owned(),
    };
    lrpet_train::run(config, &network, &data, &Device::Cpu, &mut Follow::new(inner, about))
}

/// Steps and values of each curve in the run's only event file.
fn curves(folder: &Path) -> BTreeMap<String, Vec<(i64, f32)>> {
    let mut names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let events = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(PREFIX);
    let file = names.by_ref().find(events).unwrap();
    assert_eq!(names.find(events), None);
    let bytes = std::fs::read(file).unwrap();
    let mut found: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for (index, record) in record::read(&bytes).into_iter().enumerate() {
        let event = Event::decode(record).unwrap();
        match event.what.unwrap() {
            What::FileVersion(version) => assert_eq!((index, version.as_str()), (0, event::VERSION)),
            What::SessionLog(_) => assert_eq!((index, event.step), (1, 0)),
            What::Summary(summary) => {
                for value in summary.value {
                    found.entry(value.tag).or_default().push((event.step, value.simple_value.unwrap()));
                }
            }
        }
    }
    found
}

/// The curves that do not depend on time.
fn timeless(folder: &Path) -> BTreeMap<String, Vec<(i64, f32)>> {
    curves(folder).into_iter().filter(|(name, _)| !name.starts_with("speed/")).collect()
}

#[test]
fn a_resumed_run_has_the_curves_of_one_that_was_never_interrupted() {
    let [whole, killed] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let outcome = run(&config(whole.path(), 4), &mut lrpet_train::Silent).unwrap();
    let expected = timeless(whole.path());
    let steps = |name: &str| expected[name].iter().map(|(step, _)| *step).collect::<Vec<_>>();
    assert_eq!(steps("loss/train"), [1, 2, 3, 4]);
    assert_eq!(steps("energy_kept/layer2.0.conv2"), [1, 2, 3, 4]);
    // Five batches of an epoch, so one value by batch each.
    assert_eq!(steps("batch/loss"), [5, 10, 15, 20]);
    assert_eq!(expected["accuracy/test"], [(4, outcome.test.unwrap().accuracy as f32)]);
    assert_eq!(expected["loss/validation"][1].1, outcome.history[1].validation.unwrap().loss as f32);

    let mut config = config(killed.path(), 4);
    for epoch in [2, 4] {
        assert!(catch_unwind(AssertUnwindSafe(|| run(&config, &mut Killer(epoch)))).is_err());
        config.resume = true;
        // What a kill can leave on top: half a record, and events of an epoch whose checkpoint was not written.
        let file = events_file(killed.path());
        let mut bytes = std::fs::read(&file).unwrap();
        let beyond = Event { wall_time: 1.0, step: epoch as i64, what: Some(of("loss/train")) };
        record::write(&beyond.encode_to_vec(), &mut bytes);
        bytes.extend([24, 0, 0]);
        std::fs::write(&file, bytes).unwrap();
    }
    run(&config, &mut lrpet_train::Silent).unwrap();
    assert_eq!(timeless(killed.path()), expected);
    // A finished run that is resumed only ends once more; without its events they are made again from the records.
    run(&config, &mut lrpet_train::Silent).unwrap();
    assert_eq!(timeless(killed.path()), expected);
    std::fs::remove_file(events_file(killed.path())).unwrap();
    run(&config, &mut lrpet_train::Silent).unwrap();
    let mut by_epoch = expected;
    by_epoch.retain(|name, _| !name.starts_with("batch/"));
    assert_eq!(timeless(killed.path()), by_epoch);
}

fn events_file(folder: &Path) -> PathBuf {
    let mut files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.to_str().unwrap().contains(PREFIX)).unwrap()
}

fn of(tag: &str) -> What {
    let value = event::Value { tag: tag.to_owned(), simple_value: Some(7.0) };
    What::Summary(event::Summary { value: vec![value] })
}

#[test]
fn the_picture_has_a_point_for_each_value() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = run(&config(folder.path(), 3), &mut lrpet_train::Silent).unwrap();
    let picture = std::fs::read_to_string(folder.path().join(CURVES)).unwrap();
    let document = roxmltree::Document::parse(&picture).unwrap();
    let lines: Vec<_> = document.descendants().filter(|node| node.has_tag_name("polyline")).collect();
    // Loss, accuracy and energy have two lines, so have the shares of time; rate and speed have one.
    assert_eq!(lines.len(), 10);
    for line in lines {
        assert_eq!(line.attribute("points").unwrap().split(' ').count(), 3);
    }
    let texts: Vec<_> =
        document.descendants().filter(|node| node.is_text()).filter_map(|node| node.text()).collect();
    for text in [
        "resnet8 on quadrants, low-rank",
        "Loss (cross-entropy, nats)",
        "validation",
        "least of the layers",
        "epoch",
    ] {
        assert!(texts.contains(&text), "{text}");
    }
    // Dense and without validation: neither lines nor a panel without values.
    let mut dense = outcome.history;
    for record in &mut dense {
        (record.projection, record.validation) = (None, None);
    }
    let picture = svg("a < b & c", &dense);
    let document = roxmltree::Document::parse(&picture).unwrap();
    assert_eq!(document.descendants().filter(|node| node.has_tag_name("polyline")).count(), 5);
    assert!(!picture.contains("Energy"));
    assert!(roxmltree::Document::parse(&svg("nothing yet", &[])).is_ok());
}

#[test]
fn the_summary_says_what_came_out_and_of_what() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), 3);
    let outcome = run(&config, &mut lrpet_train::Silent).unwrap();
    let page = std::fs::read_to_string(folder.path().join(SUMMARY)).unwrap();
    let network = network();
    let low: u64 = network
        .matrices()
        .iter()
        .map(|(_, name, matrix)| {
            let ranks = &config.settings.projection.as_ref().unwrap().ranks;
            matrix.cost(ranks.get(*name).copied().unwrap_or(0)).macs
        })
        .sum();
    let grouped = |count: u64| lrpet_report::units::grouped(count as f64);
    let last = outcome.history.last().unwrap().projection.as_ref().unwrap();
    let kept = lrpet_report::units::percent(last.layers["layer2.0.conv2"]);
    for text in [
        "# resnet8 on quadrants, low-rank".to_owned(),
        format!("| Test accuracy | {:.2} % of 40 images", 100.0 * outcome.test.unwrap().accuracy),
        "```sh\nlrpet train\n```".to_owned(),
        grouped(network.cost().macs),
        grouped(low),
        "| Images | 100 training, 40 validation, 40 test |".to_owned(),
        "| Augmentation | random \\| crop |".to_owned(),
        "| seed | 11 |".to_owned(),
        "| projection: energy transfer | true |".to_owned(),
        format!("| lrpet | {}, revision ", env!("CARGO_PKG_VERSION")),
        "| Compiler | rustc ".to_owned(),
        format!("| Threads | {} |", rayon::current_num_threads()),
        format!("| layer2.0.conv2 | 32 × 288 | 9 | 32 | {kept} |"),
        "| conv1 | 16 × 18 | dense |".to_owned(),
        format!("[{LAST}]({LAST})"),
    ] {
        assert!(page.contains(&text), "{text}\n{page}");
    }
    for line in page.lines().filter(|line| line.starts_with("- [")) {
        let name = &line[3..line.find(']').unwrap()];
        assert!(folder.path().join(name).is_file(), "{name}");
    }
    let html = std::fs::read_to_string(folder.path().join(SUMMARY_PAGE)).unwrap();
    assert!(html.contains("<h1>resnet8 on quadrants, low-rank</h1>") && html.contains(CURVES), "{html}");
}

#[test]
fn the_summary_knows_ranks_that_were_chosen_on_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = run(&choosing(folder.path(), 3, 1), &mut lrpet_train::Silent).unwrap();
    let page = std::fs::read_to_string(folder.path().join(SUMMARY)).unwrap();
    let ranks = outcome.ranks.unwrap();
    assert!(!ranks.is_empty());
    for (name, rank) in ranks {
        let row = page.lines().find(|line| line.starts_with(&format!("| {name} |"))).unwrap();
        assert_eq!(row.split('|').nth(3).unwrap().trim(), rank.to_string(), "{row}");
    }
}

/// Keeps warnings.
#[derive(Default)]
struct Listener(Vec<String>);

impl Observer for Listener {
    fn warning(&mut self, message: &str) {
        self.0.push(message.to_owned());
    }
}

#[test]
fn what_cannot_be_written_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join(CURVES)).unwrap();
    std::fs::create_dir(folder.path().join(format!("{PREFIX}9.folder"))).unwrap();
    let mut listener = Listener::default();
    run(&config(folder.path(), 1), &mut listener).unwrap();
    assert!(listener.0.iter().any(|warning| warning.contains(CURVES)), "{:?}", listener.0);
    assert!(listener.0.iter().any(|warning| warning.contains(PREFIX)), "{:?}", listener.0);
    assert!(folder.path().join(SUMMARY).is_file());
}

/// The block of the first line of a run, and its hints.
#[derive(Default)]
struct Block(Vec<String>);

impl Observer for Block {
    fn stage(&mut self, what: &str) {
        self.0.push(what.to_owned());
    }
}

fn block(change: impl Fn(&mut TrainConfig)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), 1);
    change(&mut config);
    let mut block = Block::default();
    run(&config, &mut block).unwrap();
    block.0.swap_remove(0)
}

#[test]
fn the_block_before_the_training_says_what_it_will_do() {
    let dense = block(|config| config.settings.projection = None);
    for line in [
        "network        resnet8, input 2×8×8, 4 classes",
        "images         quadrants: 100 training, 40 validation, 40 test; random | crop",
        "steps          1 epoch of 5 batches of 20 images",
        "ranks          dense",
        "weights        fresh, seed 11",
        // Of 100 images ten steps would need a batch of 10; powers of two are usual.
        "hint: an epoch of 100 images has 5 steps only: --batch 8 gives 13",
    ] {
        assert!(dense.lines().any(|found| found == line), "{line}\n{dense}");
    }
    let low = block(|_| ());
    assert!(low.contains("ranks          listed, in 3 layers; projected every 3 batches"), "{low}");
    assert!(low.contains(" dense → ") && !low.contains("projected at the end alone"), "{low}");
    let late = block(|config| config.settings.projection.as_mut().unwrap().period = Period::Epochs(1));
    assert!(late.contains("projected at the end alone") && late.contains("--project-iterations"), "{late}");
    let late = block(|config| config.settings.projection.as_mut().unwrap().period = Period::Iterations(5));
    assert!(late.contains("give a smaller --project-iterations"), "{late}");
    let folder = tempfile::tempdir().unwrap();
    let mut longer = config(folder.path(), 1);
    run(&longer, &mut lrpet_train::Silent).unwrap();
    longer.resume = true;
    longer.extend = Some(Length { epochs: 2, schedule: longer.settings.schedule.clone() });
    let mut stages = Block::default();
    run(&longer, &mut stages).unwrap();
    let stages = stages.0.join("\n");
    for line in [
        "steps          2 epochs of 5 batches of 20 images; 1 epoch done",
        "weights        from the checkpoint after epoch 1",
    ] {
        assert!(stages.lines().any(|found| found == line), "{line}\n{stages}");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut chosen = Block::default();
    run(&choosing(folder.path(), 2, 1), &mut chosen).unwrap();
    let words =
        "ranks          by macs=0.5x, chosen from the weights after epoch 1; projected every 3 batches";
    assert!(chosen.0[0].contains(words), "{}", chosen.0[0]);
    assert!(!chosen.0[0].contains(" dense → "), "{}", chosen.0[0]);
}
