//! Losses and gradients beside candle's and beside sums in f64.

use super::*;
use candle_core::{Device, Var};

#[test]
fn loss_and_gradient_are_candles() {
    let logits = [[1.5f32, -0.25, 3.0, 80.0], [0.0, 0.0, -2.0, 1.0], [4.0, 2.0, -9.0, 3.5]];
    let logits = Var::new(&logits, &Device::Cpu).unwrap();
    let labels = [2, 3, 0];
    let ours = cross_entropy(&logits, &labels).unwrap();
    let targets = Tensor::new(&labels, &Device::Cpu).unwrap();
    let theirs = candle_nn::loss::cross_entropy(&logits, &targets).unwrap();
    assert!((ours.sum / 3.0 - f64::from(theirs.to_scalar::<f32>().unwrap())).abs() < 1e-5);
    let gradients = theirs.backward().unwrap();
    let difference = (ours.gradient - gradients.get(&logits).unwrap()).unwrap().abs().unwrap();
    assert!(difference.max_all().unwrap().to_scalar::<f32>().unwrap() < 1e-6);
    assert_eq!(ours.correct, 2);
}

#[test]
fn a_device_adds_up_what_the_cpu_does() {
    let (mut ours, mut theirs) = (Meter::default(), Meter::default());
    for batch in 0..READ_EVERY + 2 {
        let values: Vec<f32> = (0..300 * 7).map(|i| ((i * i + batch) as f32).sin() * 9.0).collect();
        let logits = Tensor::from_vec(values, (300, 7), &Device::Cpu).unwrap();
        let labels: Vec<u32> = (0..300).map(|image| (image * 5 + batch as u32) % 7).collect();
        let ours = ours.add_on_device(&logits, &labels).unwrap();
        let theirs = theirs.add(&logits, &Targets::of(&labels)).unwrap();
        let difference = (ours - theirs).unwrap().abs().unwrap().max_all().unwrap();
        assert!(difference.to_scalar::<f32>().unwrap() < 1e-8);
    }
    assert_eq!(ours.images, 300 * (READ_EVERY + 1));
    ours.read().unwrap();
    assert_eq!((ours.images, ours.correct), (theirs.images, theirs.correct));
    assert!((ours.sum / theirs.sum - 1.0).abs() < 1e-6);
}

#[test]
fn wrong_labels_are_refused() {
    let logits = Tensor::zeros((2, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
    assert!(cross_entropy(&logits, &[0, 3]).is_err());
    assert!(cross_entropy(&logits, &[0]).is_err());
}

/// Values without a pattern, about −4 to 4.
fn noise(count: usize, seed: u64) -> Vec<f32> {
    (0..count as u64)
        .map(|at| (((at + 1) * (seed + 7) * 2_654_435_761 % 1009) as f32 / 126.0) - 4.0)
        .collect()
}

/// softmax(z / t) in f64.
fn softmax(z: &[f64], t: f64) -> Vec<f64> {
    let total: f64 = z.iter().map(|z| (z / t).exp()).sum();
    z.iter().map(|z| (z / t).exp() / total).collect()
}

/// The mean loss as the papers define it, in f64 and by the definition alone.
fn defined(z: &[f64], targets: &Targets, teacher: &[f32], classes: usize) -> f64 {
    let mut sum = 0.0;
    for (image, z) in z.chunks_exact(classes).enumerate() {
        let p = softmax(z, 1.0);
        let cross = |label: u32| {
            let smooth: f64 = p.iter().map(|p| -p.ln()).sum::<f64>() / classes as f64;
            (1.0 - targets.smoothing) * -p[label as usize].ln() + targets.smoothing * smooth
        };
        let mut loss = cross(targets.labels[image]);
        if let Some(mixed) = &targets.mixed {
            loss = mixed.share * loss + (1.0 - mixed.share) * cross(mixed.labels[image]);
        }
        if let Some(taught) = &targets.teacher {
            let t: Vec<f64> = teacher[image * classes..][..classes].iter().map(|&t| t.into()).collect();
            let (ours, theirs) = (softmax(z, taught.temperature), softmax(&t, taught.temperature));
            let divergence: f64 = theirs.iter().zip(&ours).map(|(p, q)| p * (p / q).ln()).sum();
            loss = (1.0 - taught.weight) * loss + taught.weight * taught.temperature.powi(2) * divergence;
        }
        sum += loss;
    }
    sum / targets.labels.len() as f64
}

/// Loss by its definition, gradient by differences of it: smoothing, mixing and a teacher, each alone and all together.
#[test]
fn smoothing_mixing_and_a_teacher_are_as_defined() {
    let (batch, classes) = (5, 6);
    let values = noise(batch * classes, 1);
    let logits = Tensor::from_vec(values.clone(), (batch, classes), &Device::Cpu).unwrap();
    let teacher = noise(batch * classes, 2);
    let taught = |weight, temperature| {
        let logits = Tensor::from_vec(teacher.clone(), (batch, classes), &Device::Cpu).unwrap();
        Some(Taught { logits, weight, temperature })
    };
    let mixed = |share| Some(Mixed { labels: vec![5, 0, 2, 2, 1], share });
    let labels = [0, 1, 2, 3, 4];
    let plain = Targets::of(&labels);
    for targets in [
        plain.clone(),
        Targets { smoothing: 0.1, ..plain.clone() },
        Targets { mixed: mixed(0.3), ..plain.clone() },
        Targets { teacher: taught(0.9, 4.0), ..plain.clone() },
        Targets { teacher: taught(1.0, 0.5), ..plain.clone() },
        Targets { smoothing: 0.2, mixed: mixed(0.8), teacher: taught(0.5, 2.0), ..plain.clone() },
    ] {
        let found = targets.loss(&logits).unwrap();
        let z: Vec<f64> = values.iter().map(|&z| z.into()).collect();
        let expected = defined(&z, &targets, &teacher, classes);
        assert!((found.sum / batch as f64 - expected).abs() < 1e-6 * expected.abs().max(1.0), "{targets:?}");
        let gradient: Vec<f32> = found.gradient.flatten_all().unwrap().to_vec1().unwrap();
        for at in 0..z.len() {
            let moved = |by: f64| {
                let mut z = z.clone();
                z[at] += by;
                defined(&z, &targets, &teacher, classes)
            };
            let expected = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((f64::from(gradient[at]) - expected).abs() < 1e-6, "{targets:?}, {at}: {expected}");
        }
    }
    let wrong = Targets { mixed: Some(Mixed { labels: vec![0; 4], share: 0.5 }), ..plain.clone() };
    assert!(wrong.loss(&logits).is_err());
    let few = Tensor::zeros((batch, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
    let wrong = Targets { teacher: Some(Taught { logits: few, weight: 0.5, temperature: 1.0 }), ..plain };
    assert!(wrong.loss(&logits).is_err());
}
