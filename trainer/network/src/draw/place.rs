//! Where the nodes of a graph stand, and by which way an edge gets from one to another.

use super::Node;

/// How an edge goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Down the column of the upper node, then across.
    Above,
    /// Across, then down the column of the lower node.
    Below,
    /// Through a lane to the right of so many columns.
    Lane { lane: usize, columns: usize },
}

/// Places of nodes and ways of edges.
#[derive(Debug)]
pub(super) struct Placed {
    /// Row and column of each node.
    pub places: Vec<(usize, usize)>,
    /// Upper node, lower node, way.
    pub edges: Vec<(usize, usize, Way)>,
    pub rows: usize,
    pub columns: usize,
    pub lanes: usize,
}

impl Placed {
    /// A node stands below all that it reads, in the leftmost of their columns or right of it.
    pub fn new(nodes: &[Node]) -> Placed {
        let mut places: Vec<(usize, usize)> = Vec::with_capacity(nodes.len());
        // Columns that are taken, by row.
        let mut taken: Vec<Vec<usize>> = Vec::new();
        for node in nodes {
            let row = node.inputs.iter().map(|&input| places[input].0 + 1).max().unwrap_or(0);
            if taken.len() <= row {
                taken.resize(row + 1, Vec::new());
            }
            // Where branches meet, the picture goes back to the left.
            let wanted = node.inputs.iter().map(|&input| places[input].1).min().unwrap_or(0);
            let free = (wanted..).find(|column| !taken[row].contains(column)).unwrap_or(wanted);
            taken[row].push(free);
            places.push((row, free));
        }
        let mut placed = Placed {
            rows: taken.len(),
            columns: taken.iter().flatten().max().map_or(1, |column| column + 1),
            places,
            edges: Vec::new(),
            lanes: 0,
        };
        placed.route(nodes, &taken);
        placed
    }

    fn route(&mut self, nodes: &[Node], taken: &[Vec<usize>]) {
        // Row from which each lane is free.
        let mut lanes: Vec<usize> = Vec::new();
        for (lower, node) in nodes.iter().enumerate() {
            for &upper in &node.inputs {
                let ((from, above), (to, below)) = (self.places[upper], self.places[lower]);
                let free = |column: usize| (from + 1..to).all(|row| !taken[row].contains(&column));
                let way = if free(above) {
                    Way::Above
                } else if free(below) {
                    Way::Below
                } else {
                    let lane = lanes.iter().position(|&until| until <= from).unwrap_or(lanes.len());
                    if lane == lanes.len() {
                        lanes.push(0);
                    }
                    lanes[lane] = to;
                    let columns = taken[from..=to].iter().flatten().max().map_or(1, |column| column + 1);
                    Way::Lane { lane, columns }
                };
                self.edges.push((upper, lower, way));
            }
        }
        self.lanes = lanes.len();
    }
}
