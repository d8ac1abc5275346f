//! A failure, told to people: what was done to the world, who led what, and what was said last.

use crate::report::{Options, run_keeping};
use crate::shrink::shrink;
use base::ShardId;

/// Lines of what happened to the world.
const TOLD_MAX: usize = 80;
/// Lines of what was said last about the shard.
const SAID_MAX: usize = 40;
/// Characters of a line.
const WIDTH: usize = 200;

/// The story of a seed that fails, with no more faults, nodes and clients than it needs. None of one that holds.
pub fn story(seed: u64, options: &Options) -> Option<Vec<String>> {
    let report = crate::run_seed(seed, options);
    let shrunk = shrink(&report, options)?;
    let less = Options { less: shrunk.less.clone(), ..options.clone() };
    let (_, told, said) = run_keeping(seed, &less);
    let shard = shrunk.failure.shard;
    let mut lines = vec![format!("seed {seed}: {shrunk}"), String::new(), "what happened:".to_owned()];
    lines.extend(last(told.iter().filter(|line| concerns(line, shard)), TOLD_MAX));
    let about = shard.map_or("what was said last:".to_owned(), |shard| format!("what was said last about {shard}:"));
    lines.extend([String::new(), about]);
    let named = |line: &&String| shard.is_none_or(|shard| line.contains(&shard.to_string()));
    lines.extend(last(said.iter().filter(named), SAID_MAX));
    lines.extend([String::new(), "and so:".to_owned()]);
    lines.extend(shrunk.failure.text.lines().map(|line| format!("  {}", cut(line))));
    Some(lines)
}

/// Whether a line is about the shard, or about none.
fn concerns(line: &str, shard: Option<ShardId>) -> bool {
    shard.is_none_or(|shard| !line.contains("vol-") || line.contains(&shard.to_string()))
}

fn last<'a>(lines: impl Iterator<Item = &'a String>, most: usize) -> Vec<String> {
    let lines: Vec<&String> = lines.collect();
    let left_out = lines.len().saturating_sub(most);
    let note = (left_out > 0).then(|| format!("  ({left_out} lines before that)"));
    note.into_iter().chain(lines[left_out..].iter().map(|line| format!("  {}", cut(line)))).collect()
}

fn cut(line: &str) -> String {
    let mut short: String = line.chars().take(WIDTH).collect();
    if short.len() < line.len() {
        short.push_str(" ...");
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_tells_what_was_done_and_ends_with_what_is_wrong() {
        let options = Options { lying_disks: true, ..Options::default() };
        let failing = (0..40).find(|seed| crate::run_seed(*seed, &options).failure.is_some()).expect("disks lie");
        let lines = story(failing, &options).expect("it fails");
        assert!(lines[0].starts_with(&format!("seed {failing}: it needs ")), "{lines:#?}");
        assert!(lines.iter().any(|line| line.contains("loses power")), "{lines:#?}");
        assert!(lines.iter().any(|line| line.contains(" leads [")), "{lines:#?}");
        assert_eq!(story(0, &Options { faults: false, ..Options::default() }), None);
    }

    #[test]
    fn long_rows_of_long_lines_are_cut_and_say_so() {
        let lines: Vec<String> = (0..5).map(|n| format!("{n} {}", "x".repeat(300))).collect();
        let kept = last(lines.iter(), 2);
        assert_eq!((kept.len(), &kept[0][..]), (3, "  (3 lines before that)"));
        assert!(kept[1].starts_with("  3 x") && kept[1].ends_with("x ..."));
    }
}
