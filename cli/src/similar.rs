//! Suggestions for names with a typing error.

use std::fmt;

/// Least similarity of a suggestion; clap takes the same measure and value for commands and options.
const LEAST: f64 = 0.7;

/// A name that isn't there, and those that are: `available: active, passive; did you mean "active"?`
pub(crate) struct Available<'a, S>(pub(crate) &'a str, pub(crate) &'a [S]);

impl<S: AsRef<str>> fmt::Display for Available<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known: Vec<&str> = self.1.iter().map(AsRef::as_ref).collect();
        write!(f, "available: {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") })?;
        closest(self.0, &known).map_or(Ok(()), |name| write!(f, "; did you mean {name:?}?"))
    }
}

/// The name that is most similar to `wanted`, if one is similar enough.
fn closest<'a>(wanted: &str, known: &[&'a str]) -> Option<&'a str> {
    let similarity = |name: &str| strsim::jaro(&wanted.to_lowercase(), &name.to_lowercase());
    let rated = known.iter().map(|name| (similarity(name), *name));
    rated.filter(|(rate, _)| *rate > LEAST).max_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_similar_name_is_suggested_and_nothing_for_another_word() {
        let text = |wanted, known: &[&str]| Available(wanted, known).to_string();
        assert_eq!(text("actve", &["active", "passive"]), "available: active, passive; did you mean \"active\"?");
        assert_eq!(text("k3s_1.32", &["tools", "k3s_1.31"]), "available: tools, k3s_1.31; did you mean \"k3s_1.31\"?");
        assert_eq!(text("recovery", &["active", "passive"]), "available: active, passive");
        assert_eq!(text("active", &[]), "available: none");
    }
}
