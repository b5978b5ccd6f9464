//! Steps beside the definitions in f64.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use lrpet_network::network::Network;
use lrpet_runtime::model::Shape;

use super::*;

const NAME: &str = "fc.weight";

fn parameters() -> Parameters {
    let network = Network::by_name("resnet8", Shape::new(1, 8, 8), 700).unwrap();
    Parameters::new(&network, 1, &Device::Cpu).unwrap()
}

/// The gradient of one step: another at each place and each time.
fn gradient(step: usize, count: usize) -> Vec<f32> {
    (0..count).map(|at| ((at * 31 + step * 17 + 3) % 23) as f32 / 11.0 - 1.0).collect()
}

/// Weight, velocity or mean, square and average of one parameter by PyTorch's definitions.
struct Defined {
    weight: f64,
    first: f64,
    second: f64,
    average: f64,
}

impl Defined {
    fn step(
        &mut self,
        algorithm: Algorithm,
        step: i32,
        gradient: f64,
        rate: f64,
        [mu, lambda, ema]: [f64; 3],
    ) {
        match algorithm {
            Algorithm::Sgd | Algorithm::Nesterov => {
                let slope = gradient + lambda * self.weight;
                self.first = if step == 1 { slope } else { mu * self.first + slope };
                let way = if algorithm == Algorithm::Nesterov { slope + mu * self.first } else { self.first };
                self.weight -= rate * way;
            }
            Algorithm::AdamW => {
                self.weight *= 1.0 - rate * lambda;
                self.first = mu * self.first + (1.0 - mu) * gradient;
                self.second = 0.999 * self.second + 0.001 * gradient * gradient;
                let (mean, square) =
                    (self.first / (1.0 - mu.powi(step)), self.second / (1.0 - 0.999f64.powi(step)));
                self.weight -= rate * mean / (square.sqrt() + 1e-8);
            }
        }
        let decay = ema.min(f64::from(1 + step) / f64::from(10 + step));
        self.average = decay * self.average + (1.0 - decay) * self.weight;
    }
}

#[test]
fn each_algorithm_moves_weights_and_average_as_defined_on_every_way() {
    for algorithm in [Algorithm::Sgd, Algorithm::Nesterov, Algorithm::AdamW] {
        for with_candle in [false, true] {
            let parameters = parameters();
            let start = parameters.values(NAME).unwrap();
            // More than one thread's part, and a rest.
            assert!(start.len() > PART && !start.len().is_multiple_of(PART));
            let mut defined: Vec<Defined> = start
                .iter()
                .map(|&weight| Defined {
                    weight: weight.into(),
                    first: 0.0,
                    second: 0.0,
                    average: weight.into(),
                })
                .collect();
            let numbers = [0.8, 0.05, 0.5];
            let mut optimizer = Optimizer::new(algorithm, numbers[0], numbers[1]).averaging(Some(numbers[2]));
            for step in 1..=12usize {
                let rate = 0.1 / step as f64;
                let values = gradient(step, start.len());
                let tensor = Tensor::from_vec(values.clone(), (700, 64), &Device::Cpu).unwrap();
                let gradients = Gradients::from([(NAME.to_owned(), tensor)]);
                if with_candle {
                    optimizer.prepare(&parameters, &gradients).unwrap();
                    optimizer.step_on_device(&parameters, &gradients, rate).unwrap();
                } else {
                    optimizer.step(&parameters, &gradients, rate).unwrap();
                }
                for (of, gradient) in defined.iter_mut().zip(values) {
                    of.step(algorithm, step as i32, gradient.into(), rate, numbers);
                }
            }
            let averages =
                optimizer.averages().unwrap()[NAME].flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let weights = parameters.values(NAME).unwrap();
            for ((of, weight), average) in defined.iter().zip(weights).zip(averages) {
                assert!(
                    (of.weight - f64::from(weight)).abs() < 2e-6,
                    "{algorithm:?}: {weight} for {}",
                    of.weight
                );
                assert!((of.average - f64::from(average)).abs() < 2e-6, "{algorithm:?}: average {average}");
            }
        }
    }
}

#[test]
fn three_steps_by_hand() {
    let network = Network::by_name("resnet8", Shape::new(1, 8, 8), 2).unwrap();
    let parameters = Parameters::new(&network, 1, &Device::Cpu).unwrap();
    parameters.set("fc.bias", vec![1.0, -2.0]).unwrap();
    let mut sgd = Optimizer::sgd(0.5, 0.1);
    let (mut weights, mut velocity) = ([1.0f64, -2.0], [0.0f64; 2]);
    for step in 0..3 {
        let gradient = [0.25 + step as f64, -1.0];
        let tensor = Tensor::new(&gradient.map(|value| value as f32), &Device::Cpu).unwrap();
        let gradients = Gradients::from([("fc.bias".to_owned(), tensor)]);
        sgd.step(&parameters, &gradients, 0.2).unwrap();
        for i in 0..2 {
            velocity[i] = 0.5 * velocity[i] + gradient[i] + 0.1 * weights[i];
            weights[i] -= 0.2 * velocity[i];
        }
        for (found, expected) in parameters.values("fc.bias").unwrap().iter().zip(weights) {
            assert!((f64::from(*found) - expected).abs() < 1e-6);
        }
    }
}

#[test]
fn what_is_remembered_goes_on_to_the_same_bits_and_is_refused_where_it_does_not_fit() {
    let count = parameters().values(NAME).unwrap().len();
    let step = |optimizer: &mut Optimizer, parameters: &Parameters, number: usize| {
        let tensor = Tensor::from_vec(gradient(number, count), (700, 64), &Device::Cpu).unwrap();
        optimizer.step(parameters, &Gradients::from([(NAME.to_owned(), tensor)]), 0.01).unwrap();
    };
    for algorithm in [Algorithm::Nesterov, Algorithm::AdamW] {
        let fresh = || Optimizer::new(algorithm, 0.9, 1e-2).averaging(Some(0.99));
        let (whole, mut one) = (parameters(), fresh());
        (1..=4).for_each(|number| step(&mut one, &whole, number));
        let (torn, mut before, mut after) = (parameters(), fresh(), fresh());
        (1..=2).for_each(|number| step(&mut before, &torn, number));
        after.set_state(&torn, before.state(), before.steps()).unwrap();
        (3..=4).for_each(|number| step(&mut after, &torn, number));
        assert_eq!(whole.values(NAME).unwrap(), torn.values(NAME).unwrap());
        let bits = |state: BTreeMap<String, Tensor>| -> Vec<(String, Vec<f32>)> {
            let values = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1().unwrap();
            state.into_iter().map(|(name, tensor)| (name, values(tensor))).collect()
        };
        assert_eq!(bits(one.state()), bits(after.state()));

        let mut state = before.state();
        let (average, tensor) = state.pop_last().unwrap();
        assert!(after.set_state(&torn, state.clone(), 2).is_err(), "without {average}");
        state.insert(average, tensor.narrow(0, 0, 3).unwrap());
        assert!(after.set_state(&torn, state, 2).is_err());
    }
    let wrong = Tensor::zeros(3, candle_core::DType::F32, &Device::Cpu).unwrap();
    let gradients = Gradients::from([(NAME.to_owned(), wrong)]);
    assert!(Optimizer::sgd(0.9, 0.0).step(&parameters(), &gradients, 0.1).is_err());
}
