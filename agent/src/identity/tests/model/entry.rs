//! Entries in plain words: what they say, what they allow, and their text for the agent.

use std::fmt::Write as _;

use countersign_common::clock::Timestamp;
use countersign_common::entry::ImageRule;

use super::super::NOON;
use super::step::Dice;

const DAY: u64 = 24 * 3600;

/// No document lives longer, and those whose entry says nothing as long.
const LONGEST: u64 = 3600;

/// Names of entries.
pub(super) const IDS: [&str; 4] = ["a", "b", "c", "d"];

/// Other trust domains.
pub(super) const DOMAINS: [&str; 2] = ["one.example", "two.example"];

/// What may be asked for.
pub(super) const AUDIENCES: [&str; 8] =
    ["billing", "billing", "billing", "stock/a", "stock/a", "stock/a/b", "stock/", "stocks/a"];

/// Whom an entry means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Everybody,
    /// Processes that run `sleep`.
    Sleepers,
    Nobody,
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) id: &'static str,
    pub(super) spiffe_id: &'static str,
    pub(super) whose: Whose,
    audiences: Vec<&'static str>,
    max_audiences: usize,
    ttl: Option<u64>,
    stock_ttl: Option<u64>,
    x509_ttl: Option<u64>,
    pub(super) dns_names: Vec<&'static str>,
    pub(super) federates_with: Vec<&'static str>,
    /// The second from which on it grants nothing: midnight.
    pub(super) expires: Option<u64>,
}

/// The identity that the entry of this name grants. Two entries grant the same one.
pub(super) fn spiffe_id(entry: &'static str) -> &'static str {
    match entry {
        "a" | "c" => "spiffe://example.org/a",
        "b" => "spiffe://example.org/b",
        _ => "spiffe://example.org/d",
    }
}

impl Terms {
    pub(super) fn draw(id: &'static str, dice: &mut Dice) -> Self {
        let audiences =
            dice.one_of(&[&[][..], &["billing"], &["stock/*"], &["billing", "stock/*"], &["billing", "stock/*"]]);
        let stock = audiences.contains(&"stock/*");
        let midnight = NOON - NOON % DAY;
        Self {
            id,
            spiffe_id: spiffe_id(id),
            whose: dice.one_of(&[Whose::Everybody, Whose::Everybody, Whose::Everybody, Whose::Sleepers, Whose::Nobody]),
            audiences: audiences.to_vec(),
            max_audiences: dice.one_of(&[1, 1, 2]),
            ttl: dice.one_of(&[None, None, Some(60), Some(900), Some(2 * LONGEST)]),
            stock_ttl: dice.one_of(&[None, Some(30), Some(1800)]).filter(|_| stock),
            x509_ttl: dice.one_of(&[None, None, Some(60), Some(900), Some(2 * LONGEST)]),
            dns_names: dice.one_of(&[&[][..], &["orders.internal"], &["b.internal", "a.internal"]]).to_vec(),
            federates_with: dice.one_of(&[&[][..], &["one.example"], &DOMAINS]).to_vec(),
            expires: dice.is_one_in(6).then(|| midnight + DAY * dice.below(6)),
        }
    }

    pub(super) fn is_in_force(&self, now: u64) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    /// Whether a token for exactly these audiences may be had, and for how long.
    pub(super) fn life_for(&self, audiences: &[&str]) -> Option<u64> {
        let allows = |audience: &str| self.audiences.iter().any(|pattern| is_allowed(pattern, audience));
        let asked = !audiences.is_empty() && audiences.len() <= self.max_audiences;
        let life = |audience: &&str| match self.stock_ttl {
            Some(stock) if is_allowed("stock/*", audience) => stock,
            _ => self.ttl.unwrap_or(LONGEST),
        };
        let shortest = audiences.iter().map(life).min()?;
        (asked && audiences.iter().all(|audience| allows(audience))).then_some(shortest.min(LONGEST))
    }

    pub(super) fn x509_life(&self) -> u64 {
        self.x509_ttl.unwrap_or(LONGEST).min(LONGEST)
    }

    /// The document that an operator applies.
    pub(super) fn yaml(&self) -> String {
        let selector = match self.whose {
            Whose::Everybody => format!("unix:uid:{}", nix::unistd::geteuid()),
            Whose::Sleepers => format!("unix:path:{}", super::world::sleeping_program().display()),
            Whose::Nobody => "unix:uid:4242424".to_owned(),
        };
        let allow = ImageRule::ALL.map(ImageRule::word).join(", ");
        let (id, spiffe_id) = (self.id, self.spiffe_id);
        let mut text =
            format!("---\nid: {id}\nspiffe_id: {spiffe_id}\nselectors: [\"{selector}\"]\nallow: [{allow}]\n");
        let lives = [("default", self.ttl), ("\"stock/*\"", self.stock_ttl)];
        let lives = lives.iter().filter_map(|(name, ttl)| ttl.map(|ttl| format!("{name}: {ttl}s")));
        let lives = lives.collect::<Vec<_>>().join(", ");
        let lives = if lives.is_empty() { String::new() } else { format!(", ttl: {{{lives}}}") };
        let _ =
            writeln!(text, "jwt: {{audiences: {:?}, max_audiences: {}{lives}}}", self.audiences, self.max_audiences);
        let life = self.x509_ttl.map(|ttl| format!("ttl: {ttl}s, ")).unwrap_or_default();
        let _ = writeln!(text, "x509: {{{life}dns_names: {:?}}}", self.dns_names);
        let _ = writeln!(text, "federates_with: {:?}", self.federates_with);
        if let Some(expires) = self.expires {
            let _ = writeln!(text, "expires: {}", &Timestamp::from_seconds(expires).to_string()[..10]);
        }
        text
    }
}

/// `stock/*` means whole, non-empty segments behind `stock/`.
fn is_allowed(pattern: &str, audience: &str) -> bool {
    match pattern.strip_suffix('*') {
        None => pattern == audience,
        Some(prefix) => audience.strip_prefix(prefix).is_some_and(|rest| !rest.split('/').any(str::is_empty)),
    }
}
