//! The matrices, by the points at which the polynomials are evaluated.

use super::WinogradTile;

/// Most products of a tile.
pub(in crate::kernel) const MOST_PRODUCTS: usize = WinogradTile::Four.products();

/// Most inputs and outputs on a side of a tile.
const SIDE: usize = WinogradTile::Four.inputs();

/// The points of F(4×4) but for 0 and ∞ are these with either sign.
pub(super) const NEAR: f64 = 5.0 / 8.0;
/// See [`NEAR`].
pub(super) const FAR: f64 = 3.0 / 2.0;

/// A matrix; only the entries that a tile has are in use.
pub(super) type Matrix = [[f64; SIDE]; SIDE];

/// Aᵀ: a row for each output of a side, a column for each product.
pub(super) fn outputs(tile: WinogradTile) -> Matrix {
    let mut matrix = [[0.0; SIDE]; SIDE];
    match tile {
        WinogradTile::Two => {
            matrix[0][..4].copy_from_slice(&[1.0, 1.0, 1.0, 0.0]);
            matrix[1][..4].copy_from_slice(&[0.0, 1.0, -1.0, -1.0]);
        }
        WinogradTile::Four => {
            for (power, row) in matrix.iter_mut().enumerate().take(tile.outputs()) {
                let at = |point: f64| point.powi(power as i32);
                *row = [at(0.0), at(NEAR), at(-NEAR), at(FAR), at(-FAR), f64::from(u8::from(power == 3))];
            }
        }
    }
    matrix
}

/// Bᵀ: a row for each product, a column for each input of a side.
pub(super) fn inputs(tile: WinogradTile) -> Matrix {
    let mut matrix = [[0.0; SIDE]; SIDE];
    match tile {
        WinogradTile::Two => {
            let rows =
                [[1.0, 0.0, -1.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, -1.0, 1.0, 0.0], [0.0, 1.0, 0.0, -1.0]];
            for (to, row) in matrix.iter_mut().zip(rows) {
                to[..4].copy_from_slice(&row);
            }
        }
        // The coefficients of Π (x − q) over the other finite points q, for ∞ over all.
        WinogradTile::Four => {
            let (a, b) = (NEAR, FAR);
            let (near, far) = (a * a, b * b);
            matrix = [
                [near * far, 0.0, -near - far, 0.0, 1.0, 0.0],
                [0.0, -a * far, -far, a, 1.0, 0.0],
                [0.0, a * far, -far, -a, 1.0, 0.0],
                [0.0, -b * near, -near, b, 1.0, 0.0],
                [0.0, b * near, -near, -b, 1.0, 0.0],
                [0.0, near * far, 0.0, -near - far, 0.0, 1.0],
            ];
        }
    }
    matrix
}

/// G: a row for each product, a column for each of three weights.
fn weights(tile: WinogradTile) -> [[f64; 3]; SIDE] {
    let mut matrix = [[0.0; 3]; SIDE];
    match tile {
        WinogradTile::Two => {
            let rows = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];
            matrix[..4].copy_from_slice(&rows);
        }
        // The powers of a point p by Π (p − q) over the other finite points q.
        WinogradTile::Four => {
            let points = [0.0, NEAR, -NEAR, FAR, -FAR];
            for (row, p) in matrix.iter_mut().zip(points) {
                let scale: f64 = points.iter().filter(|q| **q != p).map(|q| p - q).product();
                *row = [1.0 / scale, p / scale, p * p / scale];
            }
            matrix[5] = [0.0, 0.0, 1.0];
        }
    }
    matrix
}

/// G·g·Gᵀ of a filter of 3×3 weights, row by row, with which the tile's products are made.
pub(in crate::kernel) fn filter(tile: WinogradTile, weights_of: [f64; 9]) -> [f64; MOST_PRODUCTS] {
    let (g, side) = (weights(tile), tile.inputs());
    let mut products = [0.0; MOST_PRODUCTS];
    for (i, row) in g.iter().enumerate().take(side) {
        // Row i of G·g.
        let line: [f64; 3] = core::array::from_fn(|x| (0..3).map(|y| row[y] * weights_of[3 * y + x]).sum());
        for (j, row) in g.iter().enumerate().take(side) {
            products[i * side + j] = (0..3).map(|x| line[x] * row[x]).sum();
        }
    }
    products
}

/// M·x·Mᵀ of a square of `side` × `side` values, by a matrix of `rows` rows.
pub(super) fn both_sides(matrix: &Matrix, rows: usize, side: usize, x: &[f64]) -> [f64; MOST_PRODUCTS] {
    let mut result = [0.0; MOST_PRODUCTS];
    for i in 0..rows {
        // Row i of M·x.
        let mut line = [0.0; SIDE];
        for (j, to) in line.iter_mut().enumerate().take(side) {
            *to = (0..side).map(|k| matrix[i][k] * x[k * side + j]).sum();
        }
        for j in 0..rows {
            result[i * rows + j] = (0..side).map(|k| line[k] * matrix[j][k]).sum();
        }
    }
    result
}

/// The magnitudes of a matrix.
pub(super) fn magnitudes(matrix: Matrix) -> Matrix {
    matrix.map(|row| row.map(f64::abs))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both tiles give the sums of products that they stand for.
    #[test]
    fn tiles_are_convolutions() {
        for tile in [WinogradTile::Two, WinogradTile::Four] {
            let (side, outputs_of) = (tile.inputs(), tile.outputs());
            let x: std::vec::Vec<f64> =
                (0..side * side).map(|i| ((i * 7919) % 101) as f64 / 50.0 - 1.0).collect();
            let w: [f64; 9] = core::array::from_fn(|i| ((i * 613) % 17) as f64 / 8.0 - 1.0);
            let transformed = both_sides(&inputs(tile), side, side, &x);
            let products = filter(tile, w);
            let products: std::vec::Vec<f64> = transformed.iter().zip(products).map(|(a, b)| a * b).collect();
            let y = both_sides(&outputs(tile), outputs_of, side, &products);
            for i in 0..outputs_of {
                for j in 0..outputs_of {
                    let expected: f64 = (0..9).map(|at| w[at] * x[(i + at / 3) * side + j + at % 3]).sum();
                    let found = y[i * outputs_of + j];
                    assert!((found - expected).abs() < 1e-13, "{tile:?} {i} {j}: {found} and not {expected}");
                }
            }
        }
    }

    /// What the transforms multiply by is exact in f32.
    #[test]
    fn constants_are_exact() {
        for tile in [WinogradTile::Two, WinogradTile::Four] {
            for row in inputs(tile).into_iter().chain(outputs(tile)) {
                assert!(row.iter().all(|x| f64::from(*x as f32) == *x), "{row:?}");
            }
        }
    }

    /// The figures that rule out an overflow.
    #[test]
    fn transforms_stay_in_range() {
        let most = |rows: &[f64]| rows.iter().copied().fold(0.0, f64::max);
        let sums = |matrix: Matrix| most(&magnitudes(matrix).map(|row| row.iter().sum::<f64>()));
        for tile in [WinogradTile::Two, WinogradTile::Four] {
            let g = weights(tile).map(|row| row.iter().map(|x| x.abs()).sum::<f64>());
            let (b, g, a) = (sums(inputs(tile)).powi(2), most(&g).powi(2), sums(outputs(tile)).powi(2));
            assert!(b < 28.0 && g < 3.0 && a < 70.0, "{tile:?}: {b} {g} {a}");
        }
    }
}
