//! As much of Rust as the rules need: words without comments and literals, and the paths that
//! they spell.

/// A word or a sign of the code.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) line: usize,
    /// Inside `mod tests { ... }`.
    pub(super) in_tests: bool,
    /// The inline modules around it.
    modules: Vec<String>,
}

/// A path that starts at a crate, with every group of braces written out.
#[derive(Debug, PartialEq)]
pub(super) struct Path {
    pub(super) segments: Vec<String>,
    pub(super) line: usize,
}

/// The tokens of `text`. Comments, literals and lifetimes are left out; a literal leaves `""`.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let characters: Vec<char> = text.chars().collect();
    let mut words = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < characters.len() {
        let end = end_of_token(&characters, at);
        let token: String = characters[at..end].iter().collect();
        if let Some(word) = word(&token) {
            words.push((word, line));
        }
        line += token.matches('\n').count();
        at = end;
    }
    in_modules(words)
}

/// What a token contributes: nothing for space, comments and lifetimes.
fn word(token: &str) -> Option<String> {
    let first = token.chars().next()?;
    if first.is_whitespace() || token.starts_with("//") || token.starts_with("/*") {
        return None;
    }
    if token.ends_with(['"', '#']) && token.contains('"') || first == '\'' && token.len() > 1 && token.ends_with('\'') {
        return Some("\"\"".to_owned());
    }
    (first != '\'').then(|| token.to_owned())
}

fn end_of_token(text: &[char], at: usize) -> usize {
    let next = |offset: usize| text.get(at + offset).copied().unwrap_or('\0');
    match text[at] {
        '/' if next(1) == '/' => find(text, at, |rest| rest[0] == '\n'),
        '/' if next(1) == '*' => end_of_comment(text, at),
        '"' => end_of_string(text, at + 1),
        'b' | 'c' if next(1) == '"' => end_of_string(text, at + 2),
        'r' if matches!(next(1), '"' | '#') && next(2) != ' ' && is_raw(text, at + 1) => end_of_raw(text, at + 1),
        'b' | 'c' if next(1) == 'r' && is_raw(text, at + 2) => end_of_raw(text, at + 2),
        '\'' if next(1) == '\\' => find(text, at + 3, |rest| rest[0] == '\'') + 1,
        '\'' if next(2) == '\'' => at + 3,
        '\'' => find(text, at + 1, |rest| !is_word(rest[0])),
        ':' if next(1) == ':' => at + 2,
        first if is_word(first) => find(text, at, |rest| !is_word(rest[0])),
        _ => at + 1,
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn find(text: &[char], from: usize, is_end: impl Fn(&[char]) -> bool) -> usize {
    (from..text.len()).find(|at| is_end(&text[*at..])).unwrap_or(text.len())
}

fn end_of_comment(text: &[char], from: usize) -> usize {
    let (mut depth, mut at) = (0, from);
    while at < text.len() {
        match text[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

fn end_of_string(text: &[char], from: usize) -> usize {
    let mut at = from;
    while at < text.len() && text[at] != '"' {
        at += if text[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(text.len())
}

fn is_raw(text: &[char], from: usize) -> bool {
    text.get(find(text, from, |rest| rest[0] != '#')) == Some(&'"')
}

fn end_of_raw(text: &[char], from: usize) -> usize {
    let hashes = find(text, from, |rest| rest[0] != '#') - from;
    let closes =
        |rest: &[char]| rest[0] == '"' && rest.len() > hashes && rest[1..=hashes].iter().all(|sign| *sign == '#');
    (find(text, from + hashes + 1, closes) + 1 + hashes).min(text.len())
}

/// Gives each word the inline modules that it stands in.
fn in_modules(words: Vec<(String, usize)>) -> Vec<Token> {
    let mut depth = 0_usize;
    let mut open: Vec<(String, usize)> = Vec::new();
    let mut tokens: Vec<Token> = Vec::with_capacity(words.len());
    for (text, line) in words {
        if text == "{" {
            if let [.., before, name] = tokens.as_slice()
                && before.text == "mod"
            {
                open.push((name.text.clone(), depth));
            }
            depth += 1;
        } else if text == "}" {
            depth = depth.saturating_sub(1);
            open.retain(|(_, opened)| *opened < depth);
        }
        let modules: Vec<String> = open.iter().map(|(name, _)| name.clone()).collect();
        tokens.push(Token { text, line, in_tests: modules.iter().any(|name| name == "tests"), modules });
    }
    tokens
}

/// Every path in `tokens` that starts with one of `crates`, `crate` or `super`. `module` is where
/// the file stands in its crate; what starts with `super` is written out from `crate`.
pub(super) fn paths(tokens: &[Token], module: &[String], crates: &[&str]) -> Vec<Path> {
    let mut paths = Vec::new();
    for at in 0..tokens.len() {
        let inside = at > 0 && tokens[at - 1].text == "::";
        if inside || tokens.get(at + 1).is_none_or(|next| next.text != "::") {
            continue;
        }
        let root = tokens[at].text.as_str();
        if root == "super" {
            let mut from: Vec<String> = module.iter().chain(&tokens[at].modules).cloned().collect();
            from.pop();
            from.insert(0, "crate".to_owned());
            follow(tokens, at + 2, from, &mut paths);
        } else if root == "crate" || crates.contains(&root) {
            follow(tokens, at + 2, vec![root.to_owned()], &mut paths);
        }
    }
    paths
}

/// Reads what follows `so_far ::`; gives back where it ends.
fn follow(tokens: &[Token], at: usize, mut so_far: Vec<String>, paths: &mut Vec<Path>) -> usize {
    let Some(token) = tokens.get(at) else { return at };
    if token.text == "{" {
        let mut at = at + 1;
        while tokens.get(at).is_some_and(|token| token.text != "}") {
            at = if tokens[at].text == "," { at + 1 } else { follow(tokens, at, so_far.clone(), paths) };
        }
        return at + 1;
    }
    if token.text == "super" {
        so_far.pop();
    } else if token.text != "self" {
        so_far.push(token.text.clone());
    }
    if tokens.get(at + 1).is_some_and(|next| next.text == "::") {
        return follow(tokens, at + 2, so_far, paths);
    }
    paths.push(Path { segments: so_far, line: token.line });
    let mut at = at + 1;
    if tokens.get(at).is_some_and(|next| next.text == "as") {
        at += 2;
    }
    at
}
