//! Labels beside the ends of lines, none upon another.

/// Where labels go that want to be at `wanted` and must be `gap` apart, all from `top` to `bottom`:
/// as near as that can be, in the order of what they want.
pub(super) fn spread(wanted: &[i32], gap: i32, top: i32, bottom: i32) -> Vec<i32> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|&index| wanted[index]);
    // Groups of labels that touch: how many, the sum of where their first would go, and where that
    // is.
    let mut groups: Vec<(i32, i32, i32)> = Vec::new();
    for &index in &order {
        let mut group = (1, wanted[index]);
        loop {
            let (count, sum) = group;
            let first = (sum / count).min(bottom - (count - 1) * gap).max(top);
            match groups.last() {
                Some(&(above, above_sum, above_first)) if above_first + above * gap > first => {
                    groups.pop();
                    group = (above + count, above_sum + sum - above * gap * count);
                }
                _ => {
                    groups.push((count, sum, first));
                    break;
                }
            }
        }
    }
    let places = groups
        .iter()
        .flat_map(|&(count, _, first)| (0..count).map(move |index| first + index * gap));
    let mut found = vec![0; wanted.len()];
    for (index, place) in order.into_iter().zip(places) {
        found[index] = place;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stay_where_there_is_room() {
        assert_eq!(spread(&[500, 100, 300], 150, 0, 1000), [500, 100, 300]);
        assert!(spread(&[], 150, 0, 1000).is_empty());
    }

    #[test]
    fn labels_that_touch_move_apart_evenly() {
        assert_eq!(spread(&[500, 500], 100, 0, 1000), [450, 550]);
        assert_eq!(spread(&[500, 510, 490], 100, 0, 1000), [500, 600, 400]);
    }

    #[test]
    fn labels_stay_within_the_edges() {
        assert_eq!(spread(&[0, 0, 0], 100, 0, 1000), [0, 100, 200]);
        assert_eq!(spread(&[1000, 990], 100, 0, 1000), [1000, 900]);
    }

    #[test]
    fn labels_are_always_apart_and_in_order() {
        for seed in 0..500i32 {
            let wanted: Vec<i32> = (1..5).map(|at| (seed * at * 7919) % 1001).collect();
            let places = spread(&wanted, 150, 0, 1000);
            let mut both: Vec<_> = wanted.iter().zip(&places).collect();
            both.sort();
            for pair in both.windows(2) {
                assert!(
                    pair[1].1 - pair[0].1 >= 150 || pair[0].0 == pair[1].0,
                    "{both:?}"
                );
            }
            let mut places = places;
            places.sort_unstable();
            assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= 150));
            assert!(places[0] >= 0 && places[3] <= 1000, "{places:?}");
        }
    }
}
