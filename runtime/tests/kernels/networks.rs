//! Convolutions of the sizes that networks have.

use super::*;

#[test]
fn ranks_beyond_one_pass_of_the_expanding_half() {
    let window = Window::square(3, 1, 1);
    for (i, rank) in [33, 64, 65, 100].into_iter().enumerate() {
        for scale in [0.0, 1.0] {
            let (place, activation) = ([Place::Other, Place::Logits][i % 2], Activation::Relu);
            let (shape, seed) = ((5, 7, 9, 16), rank.into());
            convolution(Case { shape, window, form: 1, rank, activation, place, scale, seed });
            convolution(Case {
                shape,
                window,
                form: 1,
                rank,
                activation,
                place: Place::NoSecond,
                scale,
                seed,
            });
        }
    }
}

#[test]
fn layers_of_common_networks() {
    let three = |stride| Window::square(3, stride, 1);
    let one = Window::square(1, 2, 0);
    let shapes = [
        ((3, 32, 32, 16), three(1)),
        ((16, 32, 32, 16), three(1)),
        ((16, 32, 32, 32), three(2)),
        ((16, 32, 32, 32), one),
        ((32, 16, 16, 32), three(1)),
        ((32, 16, 16, 64), three(2)),
        ((64, 8, 8, 64), three(1)),
        ((24, 14, 14, 40), three(1)),
        ((50, 7, 7, 13), three(1)),
        ((3, 56, 56, 20), Window::square(7, 2, 3)),
    ];
    let places = [Place::NoSecond, Place::Other, Place::Overwritten];
    let activations = [Activation::None, Activation::Relu, Activation::Relu6];
    for (i, (shape, window)) in shapes.into_iter().enumerate() {
        // At most half of the ranks for each: the reference takes its time.
        for (j, rank) in [0, 3, 25, 1, 13, 6].into_iter().enumerate().skip(3 * (i % 2)).take(RANKS) {
            let (form, rank) = (usize::from(rank > 0), rank.max(1));
            let (activation, place) = (activations[(i + j) % 3], places[j % 3]);
            convolution(Case { shape, window, form, rank, activation, place, scale: 1.0, seed: i as u64 });
        }
    }
}
