//! The order of the runs, the document and the table.

use super::*;
use crate::report::sweep::tests::invented;
use crate::schema::sweep::{FILE_NAME, Sweep};
use crate::schema::sweep_files::csv;

#[test]
fn jobs_start_from_what_the_warm_start_says() {
    let plan = |ratios: &[f64], warm| {
        let jobs = jobs(ratios, warm).unwrap();
        jobs.iter().map(|job| (job.name(), job.init)).collect::<Vec<_>>()
    };
    let named = |list: &[(&str, Option<usize>)]| -> Vec<(String, Option<usize>)> {
        list.iter().map(|(name, init)| ((*name).to_owned(), *init)).collect()
    };
    assert_eq!(
        plan(&[0.5, 0.0, 0.25], WarmStart::None),
        named(&[("dense", None), ("g0.25", None), ("g0.5", None)])
    );
    assert_eq!(
        plan(&[0.5, 0.25], WarmStart::Dense),
        named(&[("dense", None), ("g0.25", Some(0)), ("g0.5", Some(0))]),
        "the dense run is added where others start from it"
    );
    assert_eq!(
        plan(&[0.0, 0.5, 0.25], WarmStart::Neighbour),
        named(&[("dense", None), ("g0.25", Some(0)), ("g0.5", Some(1))])
    );
    for (ratios, word) in
        [(&[0.5, 0.5][..], "twice"), (&[1.0], "below 1"), (&[-0.1], "at least 0"), (&[], "no")]
    {
        let error = jobs(ratios, WarmStart::None).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    assert!(jobs(&[f64::NAN], WarmStart::None).is_err());
}

#[test]
fn the_document_is_written_and_read_back_with_its_table() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Sweep::read(folder.path()).unwrap().is_none());
    let sweep = invented();
    sweep.write(folder.path()).unwrap();
    assert_eq!(Sweep::read(folder.path()).unwrap().unwrap(), sweep);
    let table = std::fs::read_to_string(folder.path().join("sweep.csv")).unwrap();
    let lines: Vec<Vec<&str>> = table.split("\r\n").map(|line| line.split(',').collect()).collect();
    let [head, rows @ .., last] = &lines[..] else { panic!("{table}") };
    assert_eq!((rows.len(), last), (sweep.rows.len(), &vec![""]));
    let column = |name: &str| head.iter().position(|field| *field == name).expect(name);
    for (line, row) in rows.iter().zip(&sweep.rows) {
        assert_eq!(line.len(), head.len());
        assert_eq!(line[column("prune")], row.prune.to_string());
        assert_eq!(line[column("macs")], row.model.inspect.as_ref().unwrap().macs.to_string());
        let schedule = row.schedule.as_ref().unwrap();
        assert_eq!(line[column("arena_bytes_layers")], schedule.layers_bytes.to_string());
        assert_eq!([line[column("schedule")], line[column("schedule_cost")]], ["least", "1.250"]);
        assert_eq!(line[column("schedule_arena_bytes")], schedule.arena_bytes.to_string());
        let board = row.board("qemu-mps2-an386");
        let count = board.map_or(String::new(), |board| board.total.to_string());
        assert_eq!(line[column("qemu-mps2-an386_instructions")], count);
        let accuracy = row.accuracy().map_or(String::new(), |accuracy| accuracy.to_string());
        assert_eq!(line[column("accuracy_f16")], accuracy);
    }
}

#[test]
fn names_with_commas_and_quotes_stay_one_field() {
    let mut sweep = invented();
    sweep.dataset.name = "a \"set\", of mine".into();
    let table = csv(&sweep);
    assert!(table.contains(",\"a \"\"set\"\", of mine\","), "{table}");
}

#[test]
fn a_sweep_goes_on_with_the_same_settings_alone() {
    let folder = tempfile::tempdir().unwrap();
    let sweep = invented();
    sweep.write(folder.path()).unwrap();
    let fresh = Sweep { rows: Vec::new(), created: "now".into(), ..sweep.clone() };
    assert_eq!(fresh.clone().go_on(folder.path()).unwrap(), sweep);
    type Change = fn(&mut Sweep);
    let changes: [(&str, Change); 4] = [
        ("network", |sweep| sweep.network = "resnet20".into()),
        ("data set", |sweep| sweep.dataset.name = "mnist".into()),
        ("warm start", |sweep| sweep.warm_start = "dense".into()),
        ("training", |sweep| sweep.arguments = vec!["--epochs".into(), "7".into()]),
    ];
    for (word, change) in changes {
        let mut other = fresh.clone();
        change(&mut other);
        let error = other.go_on(folder.path()).unwrap_err().to_string();
        assert!(error.contains(word) && error.contains("sweep.json"), "{error}");
    }
    let good = std::fs::read_to_string(folder.path().join(FILE_NAME)).unwrap();
    for text in ["", "{}", "[1]", &good[..good.len() / 2], &good.replace("\"prune\"", "\"pruned\"")] {
        std::fs::write(folder.path().join(FILE_NAME), text).unwrap();
        let error = fresh.clone().go_on(folder.path()).unwrap_err().to_string();
        assert!(error.contains("sweep.json") && error.contains("field"), "{error}");
    }
}

#[test]
fn a_row_takes_the_place_of_an_older_one() {
    let mut sweep = invented();
    let (rows, mut row) = (sweep.rows.len(), sweep.rows[1].clone());
    row.file_bytes += 1;
    sweep.insert(row.clone());
    assert_eq!((sweep.rows.len(), &sweep.rows[1]), (rows, &row));
    assert!(sweep.rows.windows(2).all(|pair| pair[0].prune < pair[1].prune));
}
