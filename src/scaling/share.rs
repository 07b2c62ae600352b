//! Who gets how many, where all services together want more than there may be.

/// What a service wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// Workers that it wants.
    pub desired: u32,
    /// Workers that it cannot do without: they are busy.
    pub busy: u32,
}

/// Shares `total` workers. Nobody gets more than it wants. Busy workers stay, even if they are too many together; what
/// is left is dealt out one by one to whoever has the smallest part of its wish, so that every service that wants any
/// gets one as long as there are that many.
pub fn share(wishes: &[Wish], total: u32) -> Vec<u32> {
    let wanted: u64 = wishes.iter().map(|wish| u64::from(wish.desired)).sum();
    if wanted <= u64::from(total) {
        return wishes.iter().map(|wish| wish.desired).collect();
    }
    let mut given: Vec<u32> = wishes.iter().map(|wish| wish.busy.min(wish.desired)).collect();
    let taken: u64 = given.iter().map(|number| u64::from(*number)).sum();
    // Less than was wanted: so every round finds somebody.
    for _ in taken..u64::from(total) {
        let part = |at: &usize| f64::from(given[*at]) / f64::from(wishes[*at].desired);
        let open = (0..wishes.len()).filter(|at| given[*at] < wishes[*at].desired);
        let Some(next) = open.min_by(|one, other| part(one).total_cmp(&part(other))) else { break };
        given[next] += 1;
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wish(desired: u32, busy: u32) -> Wish {
        Wish { desired, busy }
    }

    #[test]
    fn a_large_wish_does_not_starve_a_small_one() {
        assert_eq!(share(&[wish(100, 0), wish(1, 0), wish(10, 0)], 12), [10, 1, 1]);
        assert_eq!(share(&[wish(4, 0), wish(4, 0)], 10), [4, 4]);
        assert_eq!(share(&[wish(10, 8), wish(10, 0)], 10), [8, 2], "busy workers stay");
        assert_eq!(share(&[wish(10, 8), wish(10, 8)], 10), [8, 8], "even if they are too many");
        assert_eq!(share(&[], 3), []);
    }

    proptest! {
        #[test]
        fn shares_are_bounded(wishes in proptest::collection::vec((0..60_u32, 0..60_u32), 0..8), total in 0..200_u32) {
            let wishes: Vec<_> = wishes.into_iter().map(|(desired, busy)| wish(desired, busy)).collect();
            let given = share(&wishes, total);
            let sum: u32 = given.iter().sum();
            let busy: u32 = wishes.iter().map(|wish| wish.busy.min(wish.desired)).sum();
            let wanted: u32 = wishes.iter().map(|wish| wish.desired).sum();
            prop_assert_eq!(sum, wanted.min(total.max(busy)), "nothing is wasted and nothing exceeded");
            for (given, wish) in given.iter().zip(&wishes) {
                prop_assert!(*given <= wish.desired && *given >= wish.busy.min(wish.desired));
            }
        }
    }
}
