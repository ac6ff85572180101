//! The cheapest path. Pure; nodes are small numbers.
//!
//! The fee of a node depends on what it passes on, so the search goes from the receiver to the sender, a hop a round: after round h the best
//! label of each node over at most h hops is known. A dearer or more doubtful way is never more feasible, and no node asks less for
//! passing on more, so the best label of a node is enough, and a walk that visits a node twice never wins.

/// A channel in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edge {
    /// Who pays.
    pub from: usize,
    /// Who is paid.
    pub to: usize,
    /// The most that can pass, fee included; nano.
    pub capacity: u128,
    /// How unlikely it is to work: 0 when nothing speaks against it.
    pub doubt: u32,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub from: usize,
    pub to: usize,
    /// What must arrive, nano.
    pub amount: u128,
    /// Edges at most.
    pub max_hops: usize,
}

/// What the hop that pays a node must carry beyond the amount. The less doubtful one is the better, then the cheaper one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Label {
    doubt: u32,
    fee: u128,
}

#[derive(Debug, Clone, Copy)]
struct Step {
    label: Label,
    /// Index of the edge that is taken, and the round in which its end had its label.
    edge: usize,
    round: usize,
}

/// Indices of the edges from `from` to `to` in order; `None` when there is no way. `toll(node, next)` is what a node keeps for passing on
/// `next` nano (next capacity and next fee), `None` when it does not; it must not fall when `next` rises.
pub(crate) fn best(
    nodes: usize,
    edges: &[Edge],
    wanted: Wanted,
    toll: impl Fn(usize, u128) -> Option<u128>,
) -> Option<Vec<usize>> {
    let certain: Vec<Edge> = edges.iter().map(|edge| Edge { doubt: 0, ..*edge }).collect();
    // The less doubtful way may be the dearer one, and so be barred further up where the cheaper one would pass.
    by_label(nodes, edges, wanted, &toll).or_else(|| by_label(nodes, &certain, wanted, &toll))
}

fn by_label(nodes: usize, edges: &[Edge], wanted: Wanted, toll: &impl Fn(usize, u128) -> Option<u128>) -> Option<Vec<usize>> {
    // rounds[h][node]: the step that a node takes towards the receiver when at most h + 1 edges are left.
    let mut rounds: Vec<Vec<Option<Step>>> = Vec::with_capacity(wanted.max_hops);
    for round in 0..wanted.max_hops {
        let mut next = rounds.last().cloned().unwrap_or_else(|| vec![None; nodes]);
        let before = rounds.last();
        let mut changed = false;
        for (index, edge) in edges.iter().enumerate() {
            if edge.to == wanted.from || edge.from == wanted.to {
                continue;
            }
            let end = match before {
                _ if edge.to == wanted.to => Some(Label { doubt: 0, fee: 0 }),
                Some(before) => before[edge.to].map(|step| step.label),
                None => None,
            };
            let Some(label) = end.and_then(|end| cross(edge, end, wanted, toll)) else { continue };
            if next[edge.from].is_none_or(|step| label < step.label) {
                next[edge.from] = Some(Step { label, edge: index, round });
                changed = true;
            }
        }
        rounds.push(next);
        if !changed {
            break;
        }
    }
    path(edges, wanted, &rounds)
}

/// The label of an edge's payer, when the edge carries what its end needs.
fn cross(edge: &Edge, end: Label, wanted: Wanted, toll: &impl Fn(usize, u128) -> Option<u128>) -> Option<Label> {
    let carried = wanted.amount.checked_add(end.fee)?;
    if carried > edge.capacity {
        return None;
    }
    let toll = if edge.from == wanted.from { 0 } else { toll(edge.from, carried)? };
    Some(Label { doubt: end.doubt.saturating_add(edge.doubt), fee: end.fee.checked_add(toll)? })
}

fn path(edges: &[Edge], wanted: Wanted, rounds: &[Vec<Option<Step>>]) -> Option<Vec<usize>> {
    let mut step = rounds.last()?[wanted.from]?;
    let mut path = vec![step.edge];
    while edges[step.edge].to != wanted.to {
        step = rounds[step.round.checked_sub(1)?][edges[step.edge].to]?;
        path.push(step.edge);
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Least fee and share of what is passed on, in thousandths; `None`: does not forward.
    type Tolls = Vec<Option<(u128, u128)>>;

    fn toll_of(tolls: &Tolls) -> impl Fn(usize, u128) -> Option<u128> + '_ {
        |node, next| tolls[node].map(|(least, share)| least.max(next * share / 1000))
    }

    /// The fee of a path by the rule of payments 5.2 and 5.5.6; `None` when it does not carry the amount.
    fn fee_of(edges: &[Edge], path: &[usize], wanted: Wanted, tolls: &Tolls) -> Option<u128> {
        let mut fee = 0;
        for (i, index) in path.iter().enumerate().rev() {
            if wanted.amount + fee > edges[*index].capacity {
                return None;
            }
            if i > 0 {
                fee += toll_of(tolls)(edges[*index].from, wanted.amount + fee)?;
            }
        }
        Some(fee)
    }

    /// Every simple path.
    fn all_paths(edges: &[Edge], wanted: Wanted) -> Vec<Vec<usize>> {
        let (mut found, mut open) = (Vec::new(), vec![(wanted.from, Vec::<usize>::new())]);
        while let Some((node, path)) = open.pop() {
            if node == wanted.to {
                found.push(path);
                continue;
            }
            if path.len() == wanted.max_hops {
                continue;
            }
            for (index, edge) in edges.iter().enumerate().filter(|(_, edge)| edge.from == node) {
                let seen = edge.to == wanted.from || path.iter().any(|i| edges[*i].to == edge.to);
                if !seen {
                    open.push((edge.to, [path.clone(), vec![index]].concat()));
                }
            }
        }
        found
    }

    fn edge(from: usize, to: usize, capacity: u128, doubt: u32) -> Edge {
        Edge { from, to, capacity, doubt }
    }

    #[test]
    fn a_neighbour_is_paid_directly_whatever_others_ask() {
        let edges = [edge(0, 2, 100, 0), edge(2, 1, 100, 0), edge(0, 1, 100, 0)];
        let wanted = Wanted { from: 0, to: 1, amount: 100, max_hops: 5 };
        assert_eq!(best(3, &edges, wanted, |_, _| Some(0)), Some(vec![2]));
        assert_eq!(best(3, &edges, Wanted { amount: 101, ..wanted }, |_, _| Some(0)), None);
    }

    #[test]
    fn fees_of_fees_count_and_fill_capacity() {
        // 0 → 2 → 3 → 1: 3 asks 10 % of 100, 2 asks 10 % of 110.
        let edges = [edge(0, 2, 121, 0), edge(2, 3, 110, 0), edge(3, 1, 100, 0)];
        let wanted = Wanted { from: 0, to: 1, amount: 100, max_hops: 3 };
        let toll = |_, next: u128| Some(next / 10);
        assert_eq!(best(4, &edges, wanted, toll), Some(vec![0, 1, 2]));
        assert_eq!(best(4, &[Edge { capacity: 120, ..edges[0] }, edges[1], edges[2]], wanted, toll), None);
        assert_eq!(best(4, &edges, Wanted { max_hops: 2, ..wanted }, toll), None);
    }

    #[test]
    fn a_doubtful_channel_is_the_last_choice_but_one() {
        let edges = [edge(0, 1, 100, 3), edge(0, 2, 105, 0), edge(2, 1, 100, 0)];
        let wanted = Wanted { from: 0, to: 1, amount: 100, max_hops: 2 };
        assert_eq!(best(3, &edges, wanted, |_, _| Some(5)), Some(vec![1, 2]));
        assert_eq!(best(3, &edges, wanted, |_, _| Some(6)), Some(vec![0]), "the dearer way does not fit");
        assert_eq!(best(3, &edges, wanted, |_, _| None), Some(vec![0]));
    }

    const NODES: usize = 6;

    fn graphs() -> impl Strategy<Value = (Vec<Edge>, Tolls, Wanted)> {
        let edges = prop::collection::vec((0..NODES, 0..NODES, 0u128..2000, 0u32..3), 0..16);
        let tolls = prop::collection::vec(prop::option::weighted(0.9, (0u128..50, 0u128..200)), NODES);
        (edges, tolls, 1u128..1000, 1usize..6).prop_map(|(edges, tolls, amount, max_hops)| {
            let edges = edges.into_iter().filter(|e| e.0 != e.1).map(|(from, to, cap, doubt)| edge(from, to, cap, doubt));
            (edges.collect(), tolls, Wanted { from: 0, to: 1, amount, max_hops })
        })
    }

    fn check(edges: &[Edge], tolls: &Tolls, wanted: Wanted) -> Result<(), TestCaseError> {
        let cheapest = all_paths(edges, wanted).iter().filter_map(|path| fee_of(edges, path, wanted, tolls)).min();
        let found = best(NODES, edges, wanted, toll_of(tolls));
        prop_assert_eq!(found.is_some(), cheapest.is_some(), "a way is found when there is one");
        let Some(path) = found else { return Ok(()) };
        prop_assert!(all_paths(edges, wanted).contains(&path), "joined, without a loop, within the limit");
        let fee = fee_of(edges, &path, wanted, tolls);
        prop_assert!(fee.is_some(), "it carries the amount");
        if edges.iter().all(|edge| edge.doubt == 0) {
            prop_assert_eq!(fee, cheapest, "nothing is cheaper");
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn no_path_is_cheaper((edges, tolls, wanted) in graphs()) {
            let certain: Vec<Edge> = edges.into_iter().map(|edge| Edge { doubt: 0, ..edge }).collect();
            check(&certain, &tolls, wanted)?;
        }

        #[test]
        fn doubt_changes_the_choice_and_never_the_rules((edges, tolls, wanted) in graphs()) {
            check(&edges, &tolls, wanted)?;
        }
    }
}
