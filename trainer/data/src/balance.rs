//! How unequal the classes of a training set are.

use super::folder::names;

/// Times as many images that the largest class has before a training warns.
const EXTREME: usize = 10;

/// How many times as many images the largest class has as the smallest; 0 where one has none.
pub fn ratio(counts: &[usize]) -> f64 {
    match (counts.iter().min(), counts.iter().max()) {
        (Some(&least), Some(&most)) if least > 0 => most as f64 / least as f64,
        _ => 0.0,
    }
}

/// What a training says of classes with these `counts` of images, where they are very unequal.
pub fn warning(classes: &[String], counts: &[usize]) -> Option<String> {
    let (least, few) = counts.iter().enumerate().min_by_key(|(_, count)| **count)?;
    let (most, many) = counts.iter().enumerate().max_by_key(|(_, count)| **count)?;
    let total: usize = counts.iter().sum();
    (*few > 0 && *many >= EXTREME * few).then(|| {
        format!(
            "the classes are very unequal: {} of {} and {few} of {}; an answer that is always the first is right {:.0} % of the time on such images",
            lrpet_report::units::things(*many as u64, "training image"),
            names::shown(&classes[most]),
            names::shown(&classes[least]),
            100.0 * *many as f64 / total as f64
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_very_unequal_classes_are_warned_of() {
        let classes = ["a".to_owned(), "b".to_owned()];
        assert_eq!(warning(&classes, &[99, 10]), None);
        let text = warning(&classes, &[10, 190]).unwrap();
        assert!(text.contains("190 training images of b and 10 of a") && text.contains("95 %"), "{text}");
        assert_eq!((ratio(&[10, 190]), ratio(&[0, 3])), (19.0, 0.0));
    }
}
