//! Reading reports and putting several of them together.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use lrpet_data::folder::names::shown;
use lrpet_report::{Kind, Run};
use serde::Deserialize;

use super::error::{Error, FILE_NAME};
use super::measured;
use super::names::{Names, label};
use super::run_folder::{is_run, run_folder};
use super::summary::title_of;
use crate::schema::{Model, Origin, Report, is_document};

/// Reads the report `path`: a file, a folder that holds `report.json` or is that of a training ([`run_folder`]), or a folder whose
/// subfolders are such (they are merged in the order of their names). A file may also be the document of one machine (docs/report-format.md).
///
/// # Errors
/// [`Error`], which names the file and the field.
pub fn load(path: &Path) -> Result<Report, Error> {
    if !path.is_dir() {
        return load_all(&[path.to_owned()]);
    }
    let file = path.join(FILE_NAME);
    if file.exists() {
        return read(&file);
    }
    if is_run(path) {
        return run_folder(path);
    }
    let unreadable = |source| Error::Read { path: path.to_owned(), source };
    let mut folders = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let folder = entry.map_err(unreadable)?.path();
        if folder.join(FILE_NAME).exists() || is_run(&folder) {
            folders.push(folder);
        }
    }
    folders.sort();
    if folders.is_empty() { Err(Error::Missing { path: path.to_owned() }) } else { load_all(&folders) }
}

/// Reads and [merges](merge) several reports; each is labelled with the name of its folder. What the documents of machines say is
/// added to the models of the same bytes, or to models of their own.
///
/// # Errors
/// As [`load`], for the first report that cannot be read.
pub fn load_all(paths: &[PathBuf]) -> Result<Report, Error> {
    load_with(Vec::new(), paths)
}

/// As [`load_all`], behind reports that are there already, each with its label.
///
/// # Errors
/// As [`load_all`].
pub fn load_with(mut reports: Vec<(String, Report)>, paths: &[PathBuf]) -> Result<Report, Error> {
    let mut runs = Vec::new();
    for path in paths {
        match if path.is_dir() { Document::Report(Box::new(load(path)?)) } else { read_any(path)? } {
            Document::Report(report) => reports.push((label(path), *report)),
            Document::Runs(found) => runs.extend(found),
        }
    }
    let mut report = merge(reports);
    let known = report.models.len();
    let alone = (known == 0).then(|| titled(&runs));
    measured::attach(&mut report, runs);
    // The title of some models is not that of others beside them.
    if report.models.len() > known {
        report.title = alone.or_else(|| Some(title_of(&report)));
    }
    Ok(report)
}

/// Puts labelled reports into one, in the order given; a single report is returned as it is. Names of models that
/// occur in several reports get the label as prefix (`label/name`), and every model keeps the label as its origin.
pub fn merge(mut reports: Vec<(String, Report)>) -> Report {
    if reports.len() <= 1 {
        return reports.pop().map(|(_, report)| report).unwrap_or_default();
    }
    let titles: HashSet<_> = reports.iter().map(|(_, report)| report.title.clone()).collect();
    let title = match reports.first() {
        Some((_, first)) if titles.len() == 1 => first.title.clone(),
        _ => Some(format!("{} runs side by side", reports.len())),
    };
    let shared = shared_names(&reports);
    let mut merged = Report { title, ..Report::default() };
    let mut labels = Names::default();
    let mut names = Names::default();
    for (label, report) in reports {
        let label = labels.unique(label);
        let nested = !report.origins.is_empty();
        let origin = report.origin(label.clone());
        for mut model in report.models {
            if shared.contains(&model.name) {
                model.name = format!("{label}/{}", model.name);
            }
            model.name = names.unique(model.name);
            model.origin = Some(match model.origin {
                Some(origin) if nested => format!("{label}/{origin}"),
                _ => label.clone(),
            });
            merged.models.push(model);
        }
        if nested {
            let inner = report.origins.into_iter();
            merged.origins.extend(inner.map(|o| Origin { label: format!("{label}/{}", o.label), ..o }));
        } else {
            merged.origins.push(origin);
        }
    }
    merged
}

/// What a file may hold.
enum Document {
    Report(Box<Report>),
    /// What one machine said of one model, or of several.
    Runs(Vec<Run>),
}

fn titled(runs: &[Run]) -> String {
    match runs {
        [run] => {
            let place = if run.counter.kind == Kind::Nanoseconds { &run.core } else { &run.board };
            format!("{} on {place}", run.model.network.as_deref().unwrap_or("A model"))
        }
        _ => format!("{} measurements", runs.len()),
    }
}

fn text(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

fn read(path: &Path) -> Result<Report, Error> {
    parse(&text(path)?, path)
}

fn read_any(path: &Path) -> Result<Document, Error> {
    let text = text(path)?;
    let head = serde_json::Deserializer::from_str(&text);
    let document = serde_json::Value::deserialize(&mut { head }).unwrap_or_default();
    if is_document(&document) {
        return Ok(Document::Runs(vec![run(&text, path, "")?]));
    }
    // `lrpet bench` of several models.
    if let Some(several) = document["runs"].as_array().filter(|runs| runs.iter().all(is_document)) {
        if several.is_empty() {
            return Err(Error::Empty { path: path.to_owned() });
        }
        let run =
            |(at, one): (usize, &serde_json::Value)| run(&one.to_string(), path, &format!("runs[{at}]."));
        return Ok(Document::Runs(several.iter().enumerate().map(run).collect::<Result<_, _>>()?));
    }
    if let Some(found) = other_kind(&document) {
        return Err(Error::Kind { path: path.to_owned(), found });
    }
    parse(&text, path).map(|report| Document::Report(Box::new(report)))
}

/// What JSON is that is no report, in words; none of a report, and of what is no JSON.
fn other_kind(document: &serde_json::Value) -> Option<String> {
    use serde_json::Value;
    Some(match document {
        Value::Null => return None,
        Value::Object(fields) if fields.contains_key("models") => return None,
        Value::Object(fields) if fields.is_empty() => "an empty JSON object".to_owned(),
        Value::Object(fields) => {
            let names: Vec<String> = fields.keys().take(4).map(|name| shown(name)).collect();
            let more = if fields.len() > names.len() { ", …" } else { "" };
            format!("a JSON object with the fields {}{more}", names.join(", "))
        }
        Value::Array(_) => "a JSON array".to_owned(),
        _ => "a JSON value".to_owned(),
    })
}

/// The document `text` of one machine, which stands at `place` in the file `path`.
fn run(text: &str, path: &Path, place: &str) -> Result<Run, Error> {
    Run::from_json(text).map_err(|error| {
        let path = path.to_owned();
        match error {
            lrpet_report::Error::Syntax(message) => Error::Syntax { path, message },
            lrpet_report::Error::Field { field, message } => {
                Error::Field { path, field: format!("{place}{field}"), message }
            }
            lrpet_report::Error::Value(message) => Error::Value { path, message },
        }
    })
}

fn parse(text: &str, path: &Path) -> Result<Report, Error> {
    let syntax =
        |error: serde_json::Error| Error::Syntax { path: path.to_owned(), message: error.to_string() };
    let mut json = serde_json::Deserializer::from_str(text);
    let report = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let field = error.path().to_string();
        let error = error.into_inner();
        if error.is_data() {
            let field = if field == "." { "(the whole document)".to_owned() } else { field };
            Error::Field { path: path.to_owned(), field, message: error.to_string() }
        } else {
            syntax(error)
        }
    })?;
    json.end().map_err(syntax)?;
    Ok(report)
}

/// Names of models that occur in more than one of the reports.
fn shared_names(reports: &[(String, Report)]) -> HashSet<String> {
    let mut seen = HashSet::new();
    let mut shared = HashSet::new();
    for (_, report) in reports {
        let names: HashSet<_> = report.models.iter().map(|model| &model.name).collect();
        shared.extend(names.into_iter().filter(|name| !seen.insert(*name)).cloned());
    }
    shared
}

/// Gives models of the same name names of their own: `name (2)`, ….
pub fn name_apart(models: &mut [Model]) {
    let mut names = Names::default();
    models.iter_mut().for_each(|model| model.name = names.unique(std::mem::take(&mut model.name)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        parse(text, Path::new("demo/report.json")).unwrap_err().to_string()
    }

    #[test]
    fn errors_name_file_and_field() {
        let wrong = message(r#"{"models":[{"name":"a"},{"name":"b","prune":"much"}]}"#);
        assert!(
            wrong.starts_with("demo/report.json: field models[1].prune: invalid type: string"),
            "{wrong}"
        );
        let missing = message(r#"{"models":[{"name":"a","bench":{"min_ms":1}}]}"#);
        assert!(missing.contains("field models[0].bench: missing field `median_ms`"), "{missing}");
        let other = message("[]");
        assert!(other.contains("(the whole document)"), "{other}");
        for text in ["", "{\"models\":[", "{\"models\":[]} trailing", "not json"] {
            assert!(message(text).contains("not a JSON document"), "{text}");
        }
    }

    #[test]
    fn unknown_fields_and_absent_parts_are_tolerated() {
        let text = r#"{"models":[{"name":"a","colour":"red","eval":{"runtime":null}}],"later":{"x":1},"title":null}"#;
        let report = parse(text, Path::new("r.json")).unwrap();
        assert_eq!(report.models[0].name, "a");
        assert_eq!(report.title, None);
    }

    #[test]
    fn what_is_written_reads_back() {
        let report = crate::report::fixture();
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(parse(&text, Path::new("r.json")).unwrap(), report);
    }

    #[test]
    fn folders_are_searched_one_level_down_and_merged() {
        let dir = tempfile::tempdir().unwrap();
        let missing = load(dir.path()).unwrap_err().to_string();
        assert!(missing.contains("neither a report.json"), "{missing}");
        assert!(matches!(load(&dir.path().join("nothing")), Err(Error::Read { .. })));
        for (folder, title) in [("g60", "net"), ("g30", "net")] {
            let folder = dir.path().join(folder);
            fs::create_dir(&folder).unwrap();
            let text = format!(r#"{{"title":"{title}","models":[{{"name":"dense"}}],"command":"{title}"}}"#);
            fs::write(folder.join(FILE_NAME), text).unwrap();
        }
        let merged = load(dir.path()).unwrap();
        let names: Vec<_> = merged.models.iter().map(|model| model.name.as_str()).collect();
        assert_eq!(names, ["g30/dense", "g60/dense"]);
        assert_eq!(merged.title.as_deref(), Some("net"));
        let one = load(&dir.path().join("g30")).unwrap();
        assert_eq!((one.models[0].name.as_str(), one.origins.len()), ("dense", 0));
    }

    #[test]
    fn merged_names_are_unique_at_every_level() {
        let report = |names: &[&str]| Report {
            models: names.iter().map(|name| Model { name: (*name).into(), ..Model::default() }).collect(),
            ..Report::default()
        };
        let inner = merge(vec![("a".into(), report(&["x", "y"])), ("a".into(), report(&["x", "x"]))]);
        let names = |report: &Report| report.models.iter().map(|m| m.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&inner), ["a/x", "y", "a (2)/x", "a (2)/x (2)"]);
        let outer = merge(vec![("b".into(), inner), ("c".into(), report(&["y"]))]);
        assert_eq!(names(&outer), ["a/x", "b/y", "a (2)/x", "a (2)/x (2)", "c/y"]);
        let origins: Vec<_> = outer.origins.iter().map(|origin| origin.label.as_str()).collect();
        assert_eq!(origins, ["b/a", "b/a (2)", "c"]);
        for model in &outer.models {
            assert!(origins.contains(&model.origin.as_deref().unwrap()), "{model:?}");
        }
    }
}
